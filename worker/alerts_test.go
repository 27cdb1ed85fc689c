package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
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

// TestThatAWebhookFailsReachesAnotherOne goes the whole way: a receiver is away, another one is told so, and
// is told that it is over when the receiver is back.
func TestThatAWebhookFailsReachesAnotherOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		defer b.close()
		h := &hooked{bundle: b, deliveries: b.store, receivers: &receivers{got: map[string][]keyturn.Delivery{}, tries: map[string]int{}}}
		h.webhooks(keyturn.Webhook{Name: "chat", URL: "https://a", Events: []string{"rotation.*"}, Fallback: "mail"},
			keyturn.Webhook{Name: "mail", URL: "https://b", Events: []string{"task.parked"}}, keyturn.Webhook{Name: "audit", URL: "https://c", Events: []string{"key.*"}})
		away := true
		h.receivers.answer = func(_ context.Context, hook string, _ keyturn.Delivery) keyturn.SendResult {
			h.receivers.mu.Lock()
			defer h.receivers.mu.Unlock()
			if hook == "chat" && away {
				return down()
			}
			return keyturn.SendResult{Status: 200}
		}
		defer h.run("w1")()
		h.await(h.request("a").ID, time.Minute)
		e := alerts.New(alerts.Config{Owner: "w1", Store: b.store})
		look := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); pass(10 * time.Second) {
				if err := e.Pass(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		look(14 * time.Minute)
		if got := h.receivers.tried("mail"); got != 0 {
			t.Fatalf("after 14 minutes %d messages were sent to the other one", got)
		}
		look(3 * time.Minute)
		h.receivers.mu.Lock()
		away = false
		h.receivers.mu.Unlock()
		look(12 * time.Minute) // it is tried again within seven and a half
		var got []string
		for _, d := range h.receivers.taken("mail") {
			got = append(got, d.Event+" "+d.Order)
		}
		if want := []string{"alert.firing alert:webhook.failing/chat/", "alert.resolved alert:webhook.failing/chat/"}; !slices.Equal(got, want) {
			t.Errorf("the other one was told %v, want %v", got, want)
		}
		if n := len(h.receivers.taken("chat")); n != 3 {
			t.Errorf("the one that was away took %d messages, want 3", n)
		}
	})
}

// TestWhatALookFindsIsTold goes the whole way of what nobody's rotation would notice: somebody else turns a
// key, and then the target is away for a while.
func TestWhatALookFindsIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 3)
		defer b.close()
		h := &hooked{bundle: b, deliveries: b.store, receivers: &receivers{got: map[string][]keyturn.Delivery{}, tries: map[string]int{}}}
		h.webhooks(keyturn.Webhook{Name: "chat", URL: "https://a", Events: []string{"alert.*", "key.observed"}})
		defer h.run("w1")()
		h.await(h.request("a").ID, time.Minute)
		pass(time.Minute)
		told := func() (out []string) {
			pass(2 * time.Second)
			for _, d := range h.receivers.taken("chat") {
				what := d.Event
				if d.Order != "" {
					what += " " + d.Order
				}
				out = append(out, what)
			}
			h.receivers.mu.Lock()
			h.receivers.got["chat"] = nil
			h.receivers.mu.Unlock()
			return out
		}
		e := alerts.New(alerts.Config{Owner: "w1", Store: b.store})
		look := func(d time.Duration) {
			t.Helper()
			if err := b.store.AskLook(t.Context(), "om"); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(d); time.Now().Before(end); pass(5 * time.Second) {
				if err := e.Pass(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		told()
		b.system.mu.Lock()
		b.system.keys[b.system.units[1].ID] = "somebody-else-1"
		b.system.mu.Unlock()
		look(time.Minute)
		if got, want := told(), []string{"key.observed", "alert.firing alert:key.drift/quarterly/om"}; !slices.Equal(got, want) {
			t.Errorf("of a key that somebody else turned %q is told, want %q", got, want)
		}
		last := b.records(keyturn.OriginObserved)
		if k := last[len(last)-1]; k.KeyID != "somebody-else-1" || k.PreviousKeyID != "key-1" {
			t.Errorf("the last observed key is %+v", k)
		}

		away := func(is bool) {
			b.system.mu.Lock()
			defer b.system.mu.Unlock()
			b.system.current = nil
			if is {
				b.system.current = func(string, string) (string, error) {
					return "", &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "timeout", Err: errors.New("no answer")}
				}
			}
		}
		away(true)
		look(5 * time.Minute)
		if got, want := told(), []string{"alert.firing alert:target.unreachable//om"}; !slices.Equal(got, want) {
			t.Errorf("of a target that is away %q is told, want %q", got, want)
		}
		away(false)
		for range 150 { // 12 minutes, in which nobody asks for a look
			pass(5 * time.Second)
			if err := e.Pass(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := told(), []string{"alert.resolved alert:target.unreachable//om"}; !slices.Equal(got, want) {
			t.Errorf("of a target that is back %q is told, want %q", got, want)
		}
	})
}
