package storagetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// alertWebhook goes the way of a receiver that takes nothing, and then takes everything again.
func alertWebhook(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.webhook("b")
	f.enqueue("a", "e1", "")
	f.result(f.wantClaim("e1")[0], deliveryFailed)
	f.quiet(f.after(14 * time.Minute))
	told := f.tell(f.after(2*time.Minute), keyturn.AlertWebhookFailing, keyturn.AlertFiring)
	a := f.oneOpen(keyturn.AlertWebhookFailing)
	if a.Subject != "a" || a.Severity != keyturn.SeverityWarning || told.Group != "webhook.failing/a/" || told.Policy != "" ||
		!strings.Contains(told.Message, "webhook a takes nothing since 2026-03-01T12:00:00Z: it answered 503") {
		t.Errorf("alert is %+v, told %q", a, told.Message)
	}
	spec := keyturn.Webhook{URL: "https://a.example.com", Paused: true}
	f.apply(keyturn.KindWebhook, "a", spec)
	f.after(10 * time.Second)
	f.tell(f.after(time.Minute), keyturn.AlertWebhookFailing, keyturn.AlertResolved) // what is paused does not fail
	spec.Paused = false
	f.apply(keyturn.KindWebhook, "a", spec)
	f.tell(f.after(10*time.Second), keyturn.AlertWebhookFailing, keyturn.AlertFiring)
	f.clock.Advance(time.Hour)
	f.result(f.wantClaim("e1")[0], nil)
	f.after(10 * time.Second)
	f.tell(f.after(time.Minute), keyturn.AlertWebhookFailing, keyturn.AlertResolved)
}

// alertWebhookParked is about what was given up: it is an alert until it was replayed or overtaken.
func alertWebhookParked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.enqueue("a", "e1", "g")
	f.result(f.wantClaim("e1")[0], parked)
	told := f.tell(f.after(10*time.Second), keyturn.AlertWebhookFailing, keyturn.AlertFiring)
	if want := "webhook a did not take everything; 1 delivery was given up, replay with: keyturn webhooks replay --failed a"; told.Message != want {
		t.Errorf("told %q, want %q", told.Message, want)
	}
	f.enqueue("a", "e2", "g")
	f.result(f.wantClaim("e2")[0], nil)
	f.after(10 * time.Second)
	f.tell(f.after(time.Minute), keyturn.AlertWebhookFailing, keyturn.AlertResolved)
	if s := f.state("a"); s.Parked != 1 {
		t.Errorf("state is %+v: what was overtaken stays parked", s)
	}
}

func alertWebhookGone(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.enqueue("a", "e1", "")
	f.result(f.wantClaim("e1")[0], gone)
	told := f.tell(f.after(10*time.Second), keyturn.AlertWebhookFailing, keyturn.AlertFiring)
	if told.Severity != keyturn.SeverityCritical || !strings.Contains(told.Message, "wants nothing any more") {
		t.Errorf("told %+v", told)
	}
	f.apply(keyturn.KindWebhook, "a", nil)
	_, err := f.EndDeliveries(f.ctx())
	f.ok(err)
	f.after(10 * time.Second)
	f.tell(f.after(time.Minute), keyturn.AlertWebhookFailing, keyturn.AlertResolved)
}

// alertWebhooks: that one webhook is back is told, whatever becomes of another; alerts of one hook say nothing of another's.
func alertWebhooks(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	for _, name := range []string{"a", "b"} {
		f.webhook(name)
		f.enqueue(name, "e-"+name, "")
		f.result(f.claimDeliveries(name)[0], gone)
	}
	groups := func(told []keyturn.Notice, kind keyturn.AlertKind, state keyturn.AlertState) (out []string) {
		t.Helper()
		for _, n := range told {
			if n.Kind != kind || n.State != state || n.Policy != "" || n.Target != "" {
				t.Errorf("told %s", show([]keyturn.Notice{n}))
			}
			out = append(out, n.Group)
		}
		slices.Sort(out)
		return out
	}
	told := groups(f.after(10*time.Second), keyturn.AlertWebhookFailing, keyturn.AlertFiring)
	if want := []string{"webhook.failing/a/", "webhook.failing/b/"}; !slices.Equal(told, want) {
		t.Fatalf("told %v, want %v", told, want)
	}
	f.apply(keyturn.KindWebhook, "a", nil)
	f.after(10 * time.Second)
	if n := f.tell(f.after(time.Minute), keyturn.AlertWebhookFailing, keyturn.AlertResolved); n.Group != told[0] || n.Message != "resolved: webhook a does not fail any more" {
		t.Errorf("told %s", show([]keyturn.Notice{n}))
	}
	for _, subject := range []string{"x/1", "x/2", "y/1"} {
		f.raise(subject)
	}
	told = groups(f.after(0), keyturn.AlertExternal, keyturn.AlertFiring)
	if want := []string{"external/x/", "external/y/"}; !slices.Equal(told, want) {
		t.Fatalf("told %v, want %v", told, want)
	}
	f.resolve("y/1")
	f.resolve("x/1") // another one of x goes on
	if n := f.tell(f.after(0), keyturn.AlertExternal, keyturn.AlertResolved); n.Group != told[1] || n.Message != "resolved: no alert of hook y is open any more" {
		t.Errorf("told %s", show([]keyturn.Notice{n}))
	}
}
