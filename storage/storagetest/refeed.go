package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func refeedTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"WhatIsLeftOfEarlierHandOutsIsFound":   refeedLeftOver,
		"ReopenedAmongEndedIsFound":            refeedReopened,
		"ReopenedThatNobodyHandedOutIsFound":   refeedReopenedUnfed,
		"ReopenedAmongEndedIsStopped":          refeedReopenedStopped,
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
					_, err = f.Intend(f.ctx(), []keyturn.IntentWrite{write(task.ID, "a")})
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

// refeedLeftOver hands out in threes: of the first nothing is left, of the second one, and the third is untouched.
func refeedLeftOver(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 12)...)
	f.feed("om", 3)
	f.turnAll(tasks[:3])
	f.feed("om", 3)
	f.turnAll([]keyturn.Task{tasks[3], tasks[5]})
	f.fedIs(4, tasks[6].ID, tasks[7].ID, tasks[8].ID)
	f.fedIs(4)
	f.clock.Advance(2 * time.Minute)
	f.requeue(time.Minute)
	f.fedIs(4, tasks[4].ID, tasks[6].ID, tasks[7].ID, tasks[8].ID)
	f.turnAll(tasks[6:9])
	f.fedIs(4, tasks[9].ID, tasks[10].ID, tasks[11].ID)
	f.turnAll(tasks[9:])
	f.fedIs(4)
	f.noneEnded()
	f.clock.Advance(2 * time.Minute)
	f.requeue(time.Minute)
	f.fedIs(4, tasks[4].ID)
	f.turnAll(tasks[4:5])
	if got := f.ended(); got.State != keyturn.RotationSucceeded {
		t.Errorf("rotation is %s", got.State)
	}
}

// refeedReopened opens a task again when all that was handed out with it has ended, and later things were.
func refeedReopened(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 6)...)
	f.feed("om", 3)
	f.park(tasks[1].ID)
	f.turnAll([]keyturn.Task{tasks[0], tasks[2]})
	f.fedIs(2, tasks[3].ID, tasks[4].ID)
	f.turnAll(tasks[3:5])
	f.fedIs(1, tasks[5].ID)
	f.mustDecide(tasks[1].ID, keyturn.TaskPending, "")
	f.turnAll(tasks[5:])
	f.noneEnded()
	f.fedIs(2, tasks[1].ID)
	f.noneEnded()
	epoch := f.mustIntend(tasks[1].ID, "a")
	f.clock.Advance(lease + time.Minute)
	f.requeue(time.Minute)
	f.fedIs(2, tasks[1].ID)
	f.noneEnded()
	f.mustFinish(succeeded(tasks[1].ID, epoch, "b"))
	if got := f.ended(); got.ID != r.ID || got.State != keyturn.RotationSucceeded || got.Counts.Succeeded != 6 {
		t.Errorf("rotation is %+v", got)
	}
}

// refeedReopenedUnfed opens a task again that was never handed out, while those before it wait to be.
func refeedReopenedUnfed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 4)...)
	f.fedIs(1, tasks[0].ID)
	f.park(tasks[3].ID)
	f.mustDecide(tasks[3].ID, keyturn.TaskPending, "")
	f.fedIs(4, tasks[1].ID, tasks[2].ID, tasks[3].ID)
	f.turnAll(tasks[:3])
	f.noneEnded()
	f.turn(tasks[3].ID, "a", "b")
	f.ended()
}

func refeedReopenedStopped(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 4)...)
	f.feed("om", 2)
	f.park(tasks[0].ID)
	f.turnAll(tasks[1:2])
	f.fedIs(2, tasks[2].ID, tasks[3].ID)
	f.turnAll(tasks[2:3])
	f.feed("om", 2)
	f.mustDecide(tasks[0].ID, keyturn.TaskPending, "")
	f.cancel(r.ID, "no more")
	if got := f.ended(); got.Counts.Skipped != 2 || got.Counts.Succeeded != 2 {
		t.Errorf("counts are %+v, want two turned and two stopped", got.Counts)
	}
}
