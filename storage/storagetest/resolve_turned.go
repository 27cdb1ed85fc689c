package storagetest

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// resolveObserved: the change shows only after the task was parked, and a look takes it for somebody else's.
func resolveObserved(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, tasks := f.running("quarterly", u)
	f.park(tasks[0].ID)
	f.clock.Advance(time.Minute)
	seen, err := f.Observe(f.ctx(), []keyturn.Observation{{Unit: u.ID, Known: "a", KeyID: "b"}})
	f.ok(err)
	if seen[0] != keyturn.ObservedChanged {
		t.Fatalf("the look is %s", seen[0])
	}
	since := f.unit(u.ID).KeySince
	f.clock.Advance(time.Minute)
	out := f.mustDecide(tasks[0].ID, keyturn.TaskSucceeded, "b")
	if out.Task.State != keyturn.TaskSucceeded || out.Task.KeyAfter != "b" {
		t.Errorf("task is %+v", out.Task)
	}
	records := f.history(keyturn.HistoryFilter{Unit: u.ID})
	if len(records) != 2 || records[1].KeyID != "b" || records[1].PreviousKeyID != "a" || records[1].Origin != keyturn.OriginObserved {
		t.Errorf("history is %+v, want one record of b", records)
	}
	if got := f.unit(u.ID); got.KeyID != "b" || !got.KeySince.Equal(*since) {
		t.Errorf("unit has key %s since %v, want it as it was seen", got.KeyID, got.KeySince)
	}
}

// resolveMinInterval: a unit that was turned, as a person found out, counts as turned when the task was
// parked: then the change was over.
func resolveMinInterval(t *testing.T, newStore New) {
	for name, look := range map[string]bool{"unseen": false, "seen by a look": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, newStore)
			f.estate()
			f.applySchedule("strict", keyturn.Schedule{MinInterval: keyturn.Duration(time.Hour)}, nil)
			u := makeUnit("om", "p1", 1)
			_, tasks := f.running("quarterly", u)
			f.park(tasks[0].ID)
			f.clock.Advance(10 * time.Minute)
			if look {
				_, err := f.Observe(f.ctx(), []keyturn.Observation{{Unit: u.ID, Known: "a", KeyID: "b"}})
				f.ok(err)
			}
			f.mustDecide(tasks[0].ID, keyturn.TaskSucceeded, "b")
			f.clock.Advance(45 * time.Minute)
			r, _ := f.running("strict", u)
			if task := f.task(r.ID); task.State != keyturn.TaskSkipped || task.Reason != keyturn.TooSoon {
				t.Errorf("55 minutes after it was parked the task is %s (%s), want it skipped as too soon", task.State, task.Reason)
			}
			f.clock.Advance(10 * time.Minute)
			r, _ = f.running("strict", u)
			if task := f.task(r.ID); task.State != keyturn.TaskPending {
				t.Errorf("65 minutes after it was parked the task is %s (%s)", task.State, task.Reason)
			}
		})
	}
}
