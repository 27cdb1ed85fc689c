package storagetest

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
)

func (f *fixture) raise(subject string) keyturn.ID {
	f.t.Helper()
	f.ok(f.RaiseAlert(f.ctx(), keyturn.AlertFact{Kind: keyturn.AlertExternal, Subject: subject, Severity: keyturn.SeverityInfo, Message: "m"}))
	for _, a := range f.open(keyturn.AlertExternal) {
		if a.Subject == subject {
			return a.ID
		}
	}
	f.t.Fatalf("there is no alert of %s", subject)
	return keyturn.ID{}
}

func (f *fixture) resolve(subjects ...string) {
	f.t.Helper()
	for _, subject := range subjects {
		f.ok(f.ResolveAlert(f.ctx(), keyturn.AlertExternal, subject))
	}
}

func alertPruned(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	long := map[string]keyturn.ID{}
	for _, subject := range []string{"open", "late", "a", "b", "c"} {
		long[subject] = f.raise(subject)
	}
	f.clock.Advance(time.Hour)
	f.resolve("a", "b", "c")
	f.clock.Advance(day)
	f.resolve("late") // it began with the others, and ended now
	again := f.raise("a")
	f.clock.Advance(time.Millisecond)
	for _, want := range []int{2, 1, 0} {
		if n, err := f.PruneAlerts(f.ctx(), day, 2); err != nil || n != want {
			t.Errorf("removed %d, %v, want %d", n, err, want)
		}
	}
	for subject, id := range long {
		gone := subject == "a" || subject == "b" || subject == "c"
		if _, _, err := f.Alert(f.ctx(), id); errors.Is(err, keyturn.ErrNotFound) != gone {
			t.Errorf("%s: %v, removed: %v", subject, err, gone)
		}
	}
	if got := f.states(long["late"]); got != "firing/info resolved/info" {
		t.Errorf("the history of one that ended later is %s", got)
	}
	if got := f.states(again); got != "firing/info" {
		t.Errorf("the history of one that began again is %s", got)
	}
}

func alertNoticesPruned(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.raise("a")
	first := f.after(0) // somebody is told
	f.resolve("a")
	f.clock.Advance(keyturn.GroupWait)
	f.evaluate()
	second, err := f.Unannounced(f.ctx(), 10, lease)
	f.ok(err)
	if len(first) != 1 || len(second) != 1 {
		t.Fatalf("there are %d and %d notices", len(first), len(second))
	}
	f.clock.Advance(day + time.Millisecond)
	for _, want := range []int{1, 0} {
		if n, err := f.PruneNotices(f.ctx(), day, 5); err != nil || n != want {
			t.Errorf("removed %d, %v, want %d", n, err, want)
		}
	}
	_, err = f.Notice(f.ctx(), first[0].ID)
	f.is(err, keyturn.ErrNotFound)
	if _, err := f.Notice(f.ctx(), second[0].Notice); err != nil {
		t.Errorf("one that nobody was told of is gone: %v", err)
	}
	f.told()
	if n, err := f.PruneNotices(f.ctx(), day, 5); err != nil || n != 1 {
		t.Errorf("removed %d, %v, when it was told", n, err)
	}
}

// alertPrunes: nothing is removed before it is more than a year over, and then without being asked.
func alertPrunes(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	id := f.raise("a")
	f.resolve("a")
	e := alerts.New(alerts.Config{Owner: "sweeper-1", Store: f.Store})
	for _, step := range []struct {
		after time.Duration
		gone  bool
	}{{366 * day, false}, {35 * day, true}} {
		f.clock.Advance(step.after)
		f.ok(e.Pass(f.ctx()))
		if _, _, err := f.Alert(f.ctx(), id); errors.Is(err, keyturn.ErrNotFound) != step.gone {
			t.Errorf("after %s: %v, removed: %v", step.after, err, step.gone)
		}
	}
}
