package worker_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
)

// TestOldKeyIsToldAndEndsWithItsRotation goes the whole way: a key gets old, an event tells so, a
// rotation turns it, and another event tells that it is over.
func TestOldKeyIsToldAndEndsWithItsRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 3)
		defer b.close()
		stop := b.start("w1")
		e := alerts.New(alerts.Config{Owner: "w1", Store: b.store})
		look := func(d time.Duration) {
			t.Helper()
			for _, wait := range []time.Duration{d, keyturn.GroupWait, 2 * time.Second} {
				pass(wait)
				if err := e.Pass(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		rotate := func() {
			t.Helper()
			r, _, err := b.store.Request(t.Context(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual})
			if err != nil {
				t.Fatal(err)
			}
			pass(30 * time.Second)
			if r, err = b.store.Rotation(t.Context(), r.ID); err != nil || r.State != keyturn.RotationSucceeded {
				t.Fatalf("rotation is %s, %v", r.State, err)
			}
		}
		rotate()
		if err := b.store.ApplyResources(t.Context(), []keyturn.ResourceChange{{
			Kind: keyturn.KindPolicy, Name: "quarterly", Expect: 1, Spec: json.RawMessage(`{"target":"om","alerts":{"warnAfter":"1h"}}`),
		}}); err != nil {
			t.Fatal(err)
		}
		stop() // an hour of a worker's looks costs much, and changes nothing
		look(time.Hour)
		defer b.start("w1")()
		rotate()
		look(time.Second)
		var told []string
		b.queue.mu.Lock()
		defer b.queue.mu.Unlock()
		for _, event := range b.queue.events {
			var body struct {
				ID   string         `json:"id"`
				Type string         `json:"type"`
				Data keyturn.Notice `json:"data"`
			}
			if !strings.HasPrefix(event.Type, "alert.") {
				continue
			}
			if err := json.Unmarshal(event.Data, &body); err != nil {
				t.Fatal(err)
			}
			told = append(told, event.Type+" "+body.Data.Group+" "+body.Data.Message)
			if body.Type != "keyturn."+event.Type || body.ID != event.ID || !strings.HasSuffix(event.ID, body.Data.ID.String()) {
				t.Errorf("event is %s", event.Data)
			}
		}
		if len(told) != 2 || !strings.HasPrefix(told[0], "alert.firing key.age/quarterly/om 3 of 3 keys") ||
			!strings.HasPrefix(told[1], "alert.resolved key.age/quarterly/om resolved: ") {
			t.Errorf("told %q", told)
		}
	})
}
