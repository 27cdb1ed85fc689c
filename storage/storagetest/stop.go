package storagetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func stopTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"RequestedIsCancelledAtOnce":            stopRequested,
		"PlannerOfACancelledRotationSavesNone":  stopPlanning,
		"RunningSkipsWhatHasNotBegun":           stopRunning,
		"OpenIntentGoesOnUntilItsOutcome":       stopIntended,
		"PutBackAfterwardsIsSkippedAtTheEnd":    stopPutBack,
		"StoppedIsNotHandedOutOrIntended":       stopHolds,
		"StoppedIntentIsNotSentAgain":           stopReintend,
		"HaltedEndsAsPartialAndSaysWhatIsMixed": stopHalted,
		"HaltedWithNothingLeftIsNoHalt":         stopHaltedTooLate,
		"HaltedCanBeCancelled":                  stopHaltedThenCancelled,
		"TwiceChangesNothing":                   stopTwice,
		"EndedIsConflict":                       stopEnded,
		"PausedCanBeCancelled":                  stopPaused,
		"StopsManyAtOnce":                       stopMany,
	}
}

func (f *fixture) cancel(id keyturn.ID, reason string) keyturn.Rotation {
	f.t.Helper()
	r, err := f.StopRotation(f.ctx(), id, "ann", reason, true)
	f.ok(err)
	return r
}

// ended calls FinishRotations and returns the one rotation that it ended.
func (f *fixture) ended() keyturn.Rotation {
	f.t.Helper()
	ended, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if len(ended) != 1 {
		f.t.Fatalf("ended %+v, want one rotation", ended)
	}
	return ended[0]
}

func (f *fixture) noneEnded() {
	f.t.Helper()
	ended, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if len(ended) != 0 {
		f.t.Fatalf("ended %+v, want none", ended)
	}
}

// inCluster makes the units one cluster of the given name.
func inCluster(name string, units ...keyturn.Unit) []keyturn.Unit {
	for i := range units {
		units[i].ClusterName = name
	}
	return units
}

func stopRequested(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	f.drain()
	got := f.cancel(r.ID, "wrong policy")
	if got.State != keyturn.RotationCancelled || got.CancelledBy != "ann" || got.CancelledAt == nil || !got.CancelledAt.Equal(f.clock.Now()) ||
		got.FinishedAt == nil || got.Reason != "cancelled by ann: wrong policy" || !got.Halted {
		t.Errorf("rotation is %+v", got)
	}
	if notes := types(f.drain()); !slices.Equal(notes, []string{"rotation.completed"}) {
		t.Errorf("announced %v, want its end", notes)
	}
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.is(err, keyturn.ErrNotFound)
	waiting, err := f.Unplanned(f.ctx(), 10)
	f.ok(err)
	if len(waiting) != 0 {
		t.Errorf("%v waits for a planner", waiting)
	}
}

func stopPlanning(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.cancel(r.ID, "")
	f.is(f.SavePlan(f.ctx(), r.ID, owner, makeUnits("om", "p1", 2)), keyturn.ErrConflict)
	f.is(f.FailRotation(f.ctx(), r.ID, owner, "x"), keyturn.ErrConflict)
	f.is(f.PostponeRotation(f.ctx(), r.ID, owner, "x", time.Second), keyturn.ErrConflict)
	if got := f.rotation(r.ID); got.State != keyturn.RotationCancelled || got.Counts.Total != 0 || got.Reason != "cancelled by ann" {
		t.Errorf("rotation is %+v", got)
	}
}

func stopRunning(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 5)...)
	f.turn(tasks[0].ID, "a", "b")
	f.feed("om", 3)                       // handed out, not begun
	f.mustFinish(putBack(tasks[1].ID, 0)) // put back
	f.drain()
	got := f.cancel(r.ID, "too early")
	if want := (keyturn.Counts{Total: 5, Succeeded: 1, Skipped: 4}); got.Counts != want || got.State != keyturn.RotationRunning || !got.Halted {
		t.Errorf("rotation is %s with %+v, want running with %+v", got.State, got.Counts, want)
	}
	notes := f.drain()
	if len(notes) != 1 || notes[0].Type != "tasks" || len(notes[0].Tasks) != 4 {
		t.Errorf("announced %+v, want the four tasks that were stopped", notes)
	}
	for _, task := range f.tasks(r.ID)[1:] {
		if task.State != keyturn.TaskSkipped || task.Reason != "cancelled by ann: too early" || task.FinishedAt == nil {
			t.Errorf("task is %+v", task)
		}
	}
	f.clock.Advance(time.Second)
	end := f.ended()
	if end.State != keyturn.RotationCancelled || end.FinishedAt == nil || !end.FinishedAt.Equal(f.clock.Now()) ||
		end.Counts != (keyturn.Counts{Total: 5, Succeeded: 1, Skipped: 4}) || end.CancelledBy != "ann" {
		t.Errorf("ended as %+v", end)
	}
	if notes := types(f.drain()); !slices.Equal(notes, []string{"rotation.completed"}) {
		t.Errorf("announced %v, want its end", notes)
	}
	if got := f.rotation(r.ID); got.Counts != end.Counts || got.State != end.State || got.Reason != end.Reason {
		t.Errorf("reads as %+v, ended as %+v", got, end)
	}
}

func stopIntended(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.feed("om", 9)
	f.mustIntend(tasks[0].ID, "a")
	f.cancel(r.ID, "")
	f.noneEnded()
	f.clock.Advance(lease + time.Second)
	targets, err := f.Requeue(f.ctx(), lease, nil)
	f.ok(err)
	if !slices.Equal(targets, []string{"om"}) {
		t.Errorf("Requeue named %v, want om for the open intent", targets)
	}
	if got := f.feed("om", 9); len(got) != 1 || got[0].Task != tasks[0].ID || got[0].State != keyturn.TaskIntended {
		t.Fatalf("fed %+v, want the open intent", got)
	}
	taken, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	f.mustFinish(succeeded(tasks[0].ID, taken.Epoch, "b"))
	if end := f.ended(); end.State != keyturn.RotationCancelled || end.Counts != (keyturn.Counts{Total: 2, Succeeded: 1, Skipped: 1}) {
		t.Errorf("ended as %s with %+v", end.State, end.Counts)
	}
}

func stopPutBack(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.cancel(r.ID, "stop")
	f.drain()
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskPending, Reason: "not sent"})
	if got := f.feed("om", 9); len(got) != 0 {
		t.Errorf("fed %+v of a rotation that was stopped", got)
	}
	if out := f.intend(tasks[0].ID, "a"); out.Verdict != keyturn.VerdictHeld {
		t.Errorf("verdict is %q, want held", out.Verdict)
	}
	if end := f.ended(); end.State != keyturn.RotationCancelled || end.Counts != (keyturn.Counts{Total: 2, Skipped: 2}) {
		t.Errorf("ended as %s with %+v", end.State, end.Counts)
	}
	if task := f.tasks(r.ID)[0]; task.State != keyturn.TaskSkipped || task.Reason != "cancelled by ann: stop" {
		t.Errorf("task is %+v", task)
	}
	if notes := types(f.drain()); !slices.Equal(notes, []string{"tasks", "rotation.completed"}) {
		t.Errorf("announced %v, want the task and the end", notes)
	}
	// The unit is free for the next rotation.
	_, tasks = f.running("quarterly", makeUnit("om", "p1", 0))
	f.turn(tasks[0].ID, "a", "b")
}

func stopHolds(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.feed("om", 2)
	f.cancel(r.ID, "")
	for _, task := range tasks {
		if out := f.intend(task.ID, "a"); out.Verdict != keyturn.VerdictDone {
			t.Errorf("verdict is %q, want done", out.Verdict)
		}
		if f.finish(putBack(task.ID, 0)) {
			t.Error("a late result moved a task that was stopped")
		}
	}
	f.clock.Advance(time.Hour)
	f.requeue(time.Minute)
	if got := f.feed("om", 9); len(got) != 0 {
		t.Errorf("fed %+v", got)
	}
}

func stopReintend(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.mustIntend(tasks[0].ID, "a")
	f.cancel(r.ID, "")
	f.clock.Advance(lease + time.Second)
	taken, err := f.Take(f.ctx(), tasks[0].ID, owner, lease, settle)
	f.ok(err)
	_, err = f.Reintend(f.ctx(), tasks[0].ID, owner, taken.Epoch, applyFor, lease)
	f.is(err, keyturn.ErrConflict)
	// It is still the taker's to put back.
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: taken.Epoch, State: keyturn.TaskPending})
	if end := f.ended(); end.Counts != (keyturn.Counts{Total: 1, Skipped: 1}) || end.State != keyturn.RotationCancelled {
		t.Errorf("ended as %+v", end)
	}
}

func stopHalted(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	units := inCluster("orders", makeUnits("om", "p1", 2)...)
	units = append(units, inCluster("users", makeUnit("om", "p1", 2), makeUnit("om", "p1", 3))...)
	r, tasks := f.running("quarterly", units...)
	f.turn(tasks[0].ID, "a", "b")
	got, err := f.StopRotation(f.ctx(), r.ID, "", "4 units failed, and 3 may", false)
	f.ok(err)
	if got.State != keyturn.RotationRunning || !got.Halted || got.CancelledAt != nil || got.CancelledBy != "" || got.Trouble != "halted: 4 units failed, and 3 may" {
		t.Errorf("rotation is %+v", got)
	}
	end := f.ended()
	want := "halted: 4 units failed, and 3 may; only a part has a new key of p1-name/orders"
	if end.State != keyturn.RotationPartial || end.Trouble != want || end.Counts != (keyturn.Counts{Total: 4, Succeeded: 1, Skipped: 3}) {
		t.Errorf("ended as %s with %+v and trouble %q, want partial and %q", end.State, end.Counts, end.Trouble, want)
	}
}

func stopHaltedTooLate(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	_, err := f.StopRotation(f.ctx(), r.ID, "", "why", false)
	f.ok(err)
	f.mustFinish(succeeded(tasks[0].ID, epoch, "b"))
	if end := f.ended(); end.State != keyturn.RotationSucceeded || end.Trouble != "" {
		t.Errorf("ended as %+v, want succeeded: nothing was left to halt", end)
	}
}

func stopHaltedThenCancelled(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	epoch := f.mustIntend(tasks[0].ID, "a")
	_, err := f.StopRotation(f.ctx(), r.ID, "", "failures", false)
	f.ok(err)
	f.cancel(r.ID, "enough")
	got, err := f.StopRotation(f.ctx(), r.ID, "", "failures", false) // changes nothing
	f.ok(err)
	if got.CancelledBy != "ann" || got.Trouble != "cancelled by ann: enough" {
		t.Errorf("rotation is %+v", got)
	}
	f.mustFinish(succeeded(tasks[0].ID, epoch, "b"))
	if end := f.ended(); end.State != keyturn.RotationCancelled {
		t.Errorf("ended as %s", end.State)
	}
}

func stopTwice(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.mustIntend(tasks[0].ID, "a")
	first := f.cancel(r.ID, "first")
	f.drain()
	f.clock.Advance(time.Minute)
	again, err := f.StopRotation(f.ctx(), r.ID, "bob", "second", true)
	f.ok(err)
	if again.CancelledBy != "ann" || !again.CancelledAt.Equal(*first.CancelledAt) || again.Reason != first.Reason {
		t.Errorf("cancelling twice made %+v of %+v", again, first)
	}
	if notes := f.drain(); len(notes) != 0 {
		t.Errorf("cancelling twice announced %+v", notes)
	}
	_, err = f.StopRotation(f.ctx(), keyturn.NewID(f.clock.Now()), "ann", "", true)
	f.is(err, keyturn.ErrNotFound)
}

func stopEnded(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, "a", "b")
	f.ended()
	_, err := f.StopRotation(f.ctx(), r.ID, "ann", "", true)
	f.is(err, keyturn.ErrConflict)
	if !strings.Contains(err.Error(), "ended already: succeeded") {
		t.Errorf("error is %q", err)
	}
	_, err = f.StopRotation(f.ctx(), r.ID, "", "", false)
	f.is(err, keyturn.ErrConflict)

	c := f.request("quarterly")
	f.cancel(c.ID, "once")
	if got := f.cancel(c.ID, "twice"); got.Reason != "cancelled by ann: once" { // after its end, too
		t.Errorf("reason is %q", got.Reason)
	}
}

func stopPaused(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, _ := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ann", "", nil))
	f.cancel(r.ID, "")
	if end := f.ended(); end.State != keyturn.RotationCancelled {
		t.Errorf("ended as %s", end.State)
	}
}

func stopMany(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, _ := f.running("quarterly", makeUnits("om", "p1", 2500)...)
	f.drain()
	f.cancel(r.ID, "")
	told := 0
	for _, n := range f.drain() {
		if len(n.Tasks) > 1000 {
			t.Errorf("one announcement names %d tasks", len(n.Tasks))
		}
		told += len(n.Tasks)
	}
	if end := f.ended(); told != 2500 || end.Counts.Skipped != 2500 {
		t.Errorf("%d tasks were announced and %d skipped, want 2500", told, end.Counts.Skipped)
	}
}
