package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func refeedTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"PutBackLeavesTheWindowUntilItIsDue":   refeedPutBack,
		"PutBackBeforeItsTurnIsFedOnce":        refeedEarly,
		"RequeueAtOnceBringsBackEverything":    refeedAll,
		"RequeueTellsFeedsApartByTheirAge":     refeedAges,
		"RequeueFindsIntentsOfWorkersThatDied": refeedCancelled,
		"RotationEndsOnlyWithWhatWasPutBack":   refeedEnd,
		"LostRaceLeavesTheUnitFree":            refeedRace,
	}
}

func (f *fixture) requeue(age time.Duration) {
	f.t.Helper()
	_, err := f.Requeue(f.ctx(), age, nil)
	f.ok(err)
}

// fedIs feeds and fails the test unless exactly the tasks are handed out, in their order.
func (f *fixture) fedIs(window int, want ...keyturn.ID) {
	f.t.Helper()
	var got []keyturn.ID
	for _, task := range f.feed("om", window) {
		got = append(got, task.Task)
	}
	if !slices.Equal(got, want) {
		f.t.Fatalf("fed %v, want %v", got, want)
	}
}

func putBack(task keyturn.ID, after time.Duration) keyturn.TaskResult {
	return keyturn.TaskResult{Task: task, From: keyturn.TaskPending, State: keyturn.TaskPending, Reason: "503", After: after}
}

func refeedPutBack(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 6)...)
	f.fedIs(3, tasks[0].ID, tasks[1].ID, tasks[2].ID)
	f.mustFinish(putBack(tasks[1].ID, time.Minute))
	f.fedIs(3, tasks[3].ID)
	f.clock.Advance(time.Minute)
	f.fedIs(3)
	f.turn(tasks[0].ID, "a", "b")
	f.fedIs(3, tasks[1].ID)
	f.fedIs(3)
	f.turn(tasks[1].ID, "a", "b")
	f.fedIs(9, tasks[4].ID, tasks[5].ID)
}

func refeedEarly(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.mustFinish(putBack(tasks[2].ID, 0)) // by a message from long ago, say
	f.fedIs(1, tasks[0].ID)
	f.fedIs(3, tasks[1].ID, tasks[2].ID)
	f.fedIs(9)
	f.mustFinish(putBack(tasks[1].ID, 0))
	f.mustFinish(putBack(tasks[2].ID, 0))
	f.fedIs(9, tasks[1].ID, tasks[2].ID)
	f.fedIs(9)
}

func refeedAll(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 6)...)
	f.fedIs(2, tasks[0].ID, tasks[1].ID)
	f.turn(tasks[0].ID, "a", "b")
	f.mustIntend(tasks[1].ID, "a")
	f.fedIs(4, tasks[2].ID, tasks[3].ID, tasks[4].ID)
	f.mustFinish(putBack(tasks[2].ID, 0))
	f.fedIs(4, tasks[2].ID)
	f.clock.Advance(time.Millisecond)
	f.requeue(0)
	f.fedIs(4, tasks[2].ID, tasks[3].ID, tasks[4].ID) // tasks[1] is held and counts
	f.clock.Advance(lease + time.Second)
	f.requeue(0)
	f.fedIs(9, tasks[1].ID, tasks[2].ID, tasks[3].ID, tasks[4].ID, tasks[5].ID)
}

func refeedAges(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 6)...)
	f.fedIs(2, tasks[0].ID, tasks[1].ID)
	f.clock.Advance(40 * time.Second)
	f.fedIs(4, tasks[2].ID, tasks[3].ID)
	f.clock.Advance(40 * time.Second)
	f.requeue(time.Minute)
	f.fedIs(4, tasks[0].ID, tasks[1].ID)
	f.clock.Advance(40 * time.Second)
	f.requeue(time.Minute)
	f.fedIs(4, tasks[2].ID, tasks[3].ID)
	f.clock.Advance(40 * time.Second)
	f.requeue(time.Minute)
	f.fedIs(4, tasks[0].ID, tasks[1].ID)
}

func refeedCancelled(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.fedIs(2, tasks[0].ID, tasks[1].ID)
	f.mustIntend(tasks[1].ID, "a")
	f.ok(f.Exec(f.ctx(), `UPDATE rotations SET state = 'cancelled', finished_at = requested_at`))
	f.clock.Advance(lease + time.Second)
	f.requeue(lease)
	f.fedIs(9, tasks[1].ID)
}

func refeedEnd(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.fedIs(2, tasks[0].ID, tasks[1].ID)
	f.mustFinish(putBack(tasks[0].ID, 0))
	f.turn(tasks[1].ID, "a", "b")
	for _, step := range []func(){
		func() {},
		func() { f.fedIs(2, tasks[0].ID) },
		func() { f.mustIntend(tasks[0].ID, "a"); f.clock.Advance(lease + time.Second); f.requeue(0) },
	} {
		step()
		ended, err := f.FinishRotations(f.ctx())
		f.ok(err)
		if len(ended) != 0 {
			t.Fatalf("ended %+v with an open task", ended)
		}
	}
	taken, err := f.Take(f.ctx(), tasks[0].ID, owner, lease, settle)
	f.ok(err)
	f.mustFinish(succeeded(tasks[0].ID, taken.Epoch, "b"))
	ended, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if len(ended) != 1 || ended[0].ID != r.ID {
		t.Errorf("ended %+v, want the rotation", ended)
	}
}

// A task that ends while its intent is written must not leave the intent on its unit.
func refeedRace(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	for range 10 {
		_, tasks := f.running("quarterly", makeUnits("om", "p1", 20)...)
		together(2, func(i int) {
			for _, task := range tasks {
				var err error
				if i == 0 {
					_, err = f.Intend(f.ctx(), []keyturn.IntentWrite{f.write(task.ID, "a")})
				} else {
					_, err = f.Finish(f.ctx(), []keyturn.TaskResult{{Task: task.ID, From: keyturn.TaskPending, State: keyturn.TaskFailed, Reason: "401"}})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
		for _, task := range tasks {
			f.finish(keyturn.TaskResult{Task: task.ID, From: keyturn.TaskIntended, Epoch: 1, State: keyturn.TaskFailed, Reason: "400"})
		}
	}
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 20)...)
	for _, task := range tasks {
		f.mustIntend(task.ID, "a")
	}
}

// requeueBusy: what still waits in the queue of a slow target is not lost; an intent whose holder died is.
func requeueBusy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	if got := f.feed("om", 10); len(got) != 3 {
		t.Fatalf("fed %d, want 3", len(got))
	}
	f.mustIntend(tasks[0].ID, "a")
	f.clock.Advance(time.Hour)
	_, err := f.Requeue(f.ctx(), time.Minute, []string{"other", "om"})
	f.ok(err)
	if got := f.feed("om", 10); len(got) != 1 || got[0].Task != tasks[0].ID {
		t.Errorf("fed %+v of a busy target, want only the open intent", got)
	}
	_, err = f.Requeue(f.ctx(), time.Minute, []string{"other"})
	f.ok(err)
	if got := f.feed("om", 10); len(got) != 2 {
		t.Errorf("fed %d, want the 2 that wait nowhere", len(got))
	}
}
