package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator/atlas"
	"github.com/keyturn/keyturn/internal/simulator/cloud"
	"github.com/keyturn/keyturn/worker/webhook/webhooktest"
)

// told is all that Keyturn has said to anybody.
type told struct {
	mu   sync.Mutex
	said strings.Builder
	n    map[string]int
}

func (s *told) add(where string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.said, "%s %s\n", where, body)
	s.n[where]++
}

func (s *told) count(where string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n[where]
}

func (s *told) has(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.said.String(), what)
}

// receive is a receiver of webhooks; it returns where it listens.
func (s *told) receive(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.add("webhook", append([]byte(fmt.Sprint(r.Header)), body...))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// retiresAtlas: keys are turned, fail to be turned, and are retired, and no secret is in anything that is said of it.
func (w *world) retiresAtlas(t *testing.T) {
	const project = "5f1000000000000000000001"
	c := startCloud(t, cloud.Config{Projects: 1, Clusters: []atlas.Cluster{{Name: "more-1", Provider: atlas.AWS}, {Name: "more-2", Provider: atlas.AWS}}})
	core, logs := observer.New(zapcore.DebugLevel)
	r := startWith(t, w.settings(t, "embedded"), zap.New(core))
	said := &told{n: map[string]int{}}
	nc, err := nats.Connect("nats://"+r.NATSAddr(), nats.UserInfo("outside", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("keyturn.event.>", func(m *nats.Msg) { said.add("event", append([]byte(fmt.Sprint(m.Header)), m.Data...)) }); err != nil {
		t.Fatal(err)
	}
	signing := webhooktest.NewSecret()
	file := filepath.Join(t.TempDir(), "signing")
	if err := os.WriteFile(file, []byte(signing), 0o600); err != nil {
		t.Fatal(err)
	}
	hook := fmt.Sprintf("apiVersion: keyturn/v1\nkind: Webhook\nname: all\nspec: {url: %q, secret: \"file:%s\"}\n", said.receive(t), file)
	if _, err := r.client.Apply(t.Context(), client.ApplyRequest{Documents: []client.Document{{Name: "hook.yaml", Content: hook}}}); err != nil {
		t.Fatal(err)
	}
	r.applyCloud(t, c, func(target string) string { return target })

	old := map[string]string{}
	for _, provider := range []string{"aws", "gcp", "azure"} {
		old[provider] = c.Atlas.Key(project, provider)
	}
	last := time.Now().Add(80 * keyturn.Day)
	for n := range 14 {
		expires := last.Add(-time.Duration(n) * time.Hour)
		if err := c.Atlas.AddSnapshot(project, []string{"payments-a", "more-1", "more-2"}[n%3], atlas.Snapshot{ID: fmt.Sprintf("%024x", n), ExpiresAt: &expires}); err != nil {
			t.Fatal(err)
		}
	}
	r.wantAges(t, c)
	// A look at the snapshots from right before the rotation must not keep the keys from being judged after it.
	for _, key := range old {
		if _, err := r.client.Retire(t.Context(), keyturn.RetireQuery{Target: "atlas", Name: key}, false); err != nil {
			t.Fatal(err)
		}
	}
	r.turnsAll(t, "one", keyturn.RotationSucceeded)

	words := "needed by 14 snapshots of 3 clusters until " + last.UTC().Format(time.DateOnly)
	judged, err := r.client.Retire(t.Context(), keyturn.RetireQuery{Target: "atlas", Name: old["aws"]}, false)
	if err != nil || len(judged) != 1 || judged[0].Message != words || judged[0].Allowed(true) {
		t.Errorf("the old key of AWS: %+v, %v\nwant %s", judged, err, words)
	}
	for key, want := range map[string]string{old["aws"]: words, c.Atlas.Key(project, "aws"): "it is in use by"} {
		_, err := r.client.Retire(t.Context(), keyturn.RetireQuery{Target: "atlas", Name: key, AcceptUnknown: true}, true)
		if ok, _ := c.AWS.Usable(key); err == nil || !strings.Contains(err.Error(), want) || !ok {
			t.Errorf("retiring %s: %v, usable %v\nwant %s", key, err, ok, want)
		}
	}
	for provider, usable := range map[string]func(string) (bool, string){"gcp": c.GCP.Usable, "azure": c.Azure.Usable} {
		done, err := r.client.Retire(t.Context(), keyturn.RetireQuery{Target: "atlas", Name: old[provider], Reason: "not needed"}, true)
		if err != nil || len(done) != 1 || done[0].DisabledAt == nil {
			t.Errorf("the old key of %s: %+v, %v", provider, done, err)
		}
		if ok, state := usable(old[provider]); ok || strings.Contains(state, "DESTROY") || strings.Contains(state, "NotFound") {
			t.Errorf("the old key of %s is usable: %v, %s", provider, ok, state)
		}
	}
	c.Atlas.SetFaults(atlas.Faults{Codes: []string{"ENCRYPTION_AT_REST_SETTINGS_INVALID", "INVALID_AZURE_CREDENTIALS", "INVALID_GOOGLE_CLOUD_CREDENTIALS"}})
	r.turnsAll(t, "two", keyturn.RotationFailed)
	until(t, "both rotations and both keys to be told of", func() bool {
		return said.count("event") >= 12 && said.count("webhook") >= 12 && said.has("key.retired") && said.has("SETTINGS_INVALID")
	})
	r.asks(t, said)
	for _, e := range logs.All() {
		said.add("log", fmt.Append(nil, e.Message, e.ContextMap()))
	}
	secrets := map[string]string{"of signatures": signing, "of a token": "eyJ", "of a header": "Bearer "}
	for name, secret := range c.Secrets() {
		if !strings.HasSuffix(name, "_ID") {
			secrets[name] = secret
		}
	}
	for name, secret := range secrets {
		if said.has(secret) {
			t.Errorf("the secret %s got out", name)
		}
	}
	for _, where := range []string{"event", "webhook", "log", "api audit", "api history"} {
		if said.count(where) == 0 {
			t.Errorf("%s said nothing: the test looks at the wrong place", where)
		}
	}
}

func (r *running) turnsAll(t *testing.T, id string, want keyturn.RotationState) {
	t.Helper()
	rotation, err := r.client.Rotate(t.Context(), client.RotationRequest{Policy: "keys", ID: id})
	if err != nil {
		t.Fatal(err)
	}
	if last := r.await(t, rotation.ID); last.State != want {
		t.Errorf("rotation %s: %+v", last.State, last)
	}
}

// asks asks the API for all that it tells.
func (r *running) asks(t *testing.T, said *told) {
	t.Helper()
	ask := func(what string, answer any, err error) {
		t.Helper()
		body, jsonErr := json.Marshal(answer)
		if err != nil || jsonErr != nil {
			t.Fatal(what, err, jsonErr)
		}
		said.add("api "+what, body)
	}
	of := func(ctx context.Context) {
		rotations, err := r.client.Rotations(ctx, "keys", "", 100)
		ask("rotations", rotations, err)
		for _, one := range rotations {
			tasks, err := r.client.Tasks(ctx, one.ID.String())
			ask("tasks", tasks, err)
			for _, task := range tasks {
				detail, err := r.client.Task(ctx, task.ID.String())
				ask("task", detail, err)
			}
		}
		units, err := r.client.Units(ctx, keyturn.UnitFilter{})
		ask("units", units, err)
		history, err := r.client.History(ctx, keyturn.HistoryFilter{})
		ask("history", history, err)
		audit, err := r.client.Audit(ctx, 100)
		ask("audit", audit, err)
		alerts, err := r.client.Alerts(ctx, keyturn.AlertFilter{}, 100)
		ask("alerts", alerts, err)
		keys, err := r.client.Keys(ctx, keyturn.KeyFilter{})
		ask("keys", keys, err)
		deliveries, err := r.client.Deliveries(ctx, "all", "", 100)
		ask("deliveries", deliveries, err)
		diagnosis, err := r.client.Diagnose(ctx, "atlas")
		ask("doctor", diagnosis, err)
		for _, plural := range []string{"targets", "policies", "webhooks"} {
			resources, err := r.client.Resources(ctx, plural)
			ask(plural, resources, err)
		}
	}
	of(t.Context())
}
