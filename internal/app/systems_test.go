package app

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// oneTarget is a store with one target, or none.
type oneTarget struct{ resource *keyturn.Resource }

func (o *oneTarget) Resource(context.Context, keyturn.ResourceKind, string) (keyturn.Resource, error) {
	if o.resource == nil {
		return keyturn.Resource{}, keyturn.ErrNotFound
	}
	return *o.resource, nil
}

func (o *oneTarget) ResourcesOf(context.Context, keyturn.ResourceKind) ([]keyturn.Resource, error) {
	if o.resource == nil {
		return nil, nil
	}
	return []keyturn.Resource{*o.resource}, nil
}

func TestSystemsForgetATargetThatWasMadeAgain(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("k"), 0o600); err != nil {
		t.Fatal(err)
	}
	made := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	at := func(url string, created time.Time) *keyturn.Resource {
		spec := fmt.Sprintf(`{"system":"ops-manager","url":%q,"credentials":{"publicKey":"file:%s","privateKey":"file:%s"}}`, url, key, key)
		return &keyturn.Resource{Kind: keyturn.KindTarget, Name: "om", Generation: 1, Spec: json.RawMessage(spec), CreatedAt: created}
	}
	store := &oneTarget{resource: at("https://old.example.com", made)}
	s := newSystems(store, "test", zap.NewNop())
	url := func() string {
		t.Helper()
		if _, err := s.Targets(t.Context()); err != nil { // as every worker does every two seconds
			t.Fatal(err)
		}
		_, target, err := s.System(t.Context(), "om", 1)
		if err != nil {
			t.Fatal(err)
		}
		return target.URL
	}
	if got := url(); got != "https://old.example.com" {
		t.Fatalf("the target is at %s", got)
	}
	first, _, _ := s.System(t.Context(), "om", 1)
	if again, _, _ := s.System(t.Context(), "om", 1); again != first {
		t.Error("an unchanged target got another client: its connections and nonces are lost")
	}
	store.resource = at("https://new.example.com", made.Add(time.Hour))
	if got := url(); got != "https://new.example.com" {
		t.Errorf("the target that was made again is called at %s", got)
	}
}
