package opsmanager_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// stopped is the context of a process that was stopped until after the
// deadline and goes on: its timers have not fired yet.
type stopped struct {
	context.Context
	deadline time.Time
}

func (s stopped) Deadline() (time.Time, bool) { return s.deadline, true }

func TestApply_WritesNothingAfterItsDeadline(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("GET "+keyPath, http.StatusOK, keyBody)
	f.on("PUT "+keyPath, http.StatusOK, keyBody)
	c := f.client(t)
	if _, err := c.Prepare(t.Context(), unitID, keyturn.ID{}); err != nil { // now there is a connection, and a nonce
		t.Fatal(err)
	}
	for name, late := range map[string]time.Time{
		"both clocks":                     time.Now().Add(-time.Millisecond),
		"the wall clock, after a suspend": time.Now().Round(0).Add(-time.Millisecond),
	} {
		err := c.Apply(stopped{t.Context(), late}, unitID, keyturn.Intent{})
		if failure := keyturn.AsSystemError(err, keyturn.KindPermanent); err == nil || failure.Kind != keyturn.KindAmbiguous {
			t.Errorf("after the deadline by %s: Apply = %v: what has had a connection may have been sent", name, err)
		}
	}
	for range 3 { // other requests are not held to it
		if _, err := c.Current(t.Context(), unitID); err != nil {
			t.Error(err)
		}
	}
	if n := f.seen()["PUT "+keyPath]; n != 0 {
		t.Errorf("%d PUTs were sent after the deadline", n)
	}
	if err := c.Apply(t.Context(), unitID, keyturn.Intent{}); err != nil {
		t.Error(err)
	}
	if n := f.seen()["PUT "+keyPath]; n != 1 {
		t.Errorf("%d PUTs, want the one that was in time", n)
	}
}
