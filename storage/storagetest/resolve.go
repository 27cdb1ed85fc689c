package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func resolveTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"SucceededRecordsTheKey":              resolveSucceeded,
		"SucceededCorrectsAnEndedRotation":    resolveCorrects,
		"FailedLeavesTheKeyAlone":             resolveFailed,
		"RetryOfARunningRotationIsFedAgain":   resolveRetryRunning,
		"RetryOfAnEndedRotationIsOneOfItsOwn": resolveRetryEnded,
		"OnlyParkedCanBeResolved":             resolveOnlyParked,
		"TheKeyBeforeIsNoSuccess":             resolveKeyBefore,
		"KeyOfAnotherRotationIsNoSuccess":     resolveForeignKey,
		"KeySeenSinceIsNotRecordedTwice":      resolveSeenKey,
		"KeyThatALookFoundIsNotRecordedTwice": resolveObserved,
		"ResolvedCountsForMinInterval":        resolveMinInterval,
		"UnitUnderWorkMustWait":               resolveBusy,
		"DecisionNeedsItsReason":              resolveNeedsReason,
		"StoppedRotationIsNotRetriedInside":   resolveStopping,
		"ClusterIsMixedUntilItIsWhole":        clustersMixed,
		"ClustersOfARunningRotation":          clustersRunning,
	}
}

// park gives a task an intent from key a whose outcome stays unknown.
func (f *fixture) park(task keyturn.ID) {
	f.t.Helper()
	epoch := f.mustIntend(task, "a")
	f.clock.Advance(time.Minute)
	f.mustFinish(keyturn.TaskResult{Task: task, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskParked, Reason: "unknown"})
}

// fail ends a pending task as failed.
func (f *fixture) fail(task keyturn.ID) {
	f.t.Helper()
	f.mustFinish(keyturn.TaskResult{Task: task, From: keyturn.TaskPending, State: keyturn.TaskFailed, Reason: "401"})
}

func (f *fixture) decide(task keyturn.ID, as keyturn.TaskState, key string) (keyturn.Decided, error) {
	return f.ResolveTask(f.ctx(), keyturn.Decision{Task: task, As: as, By: "ann", Reason: "looked", Key: key})
}

func (f *fixture) mustDecide(task keyturn.ID, as keyturn.TaskState, key string) keyturn.Decided {
	f.t.Helper()
	out, err := f.decide(task, as, key)
	f.ok(err)
	return out
}

// resume asks for a retry, later than the rotation was asked for: retries are told apart by their time.
func (f *fixture) resume(id keyturn.ID) keyturn.Resumed {
	f.t.Helper()
	f.clock.Advance(time.Second)
	out, err := f.ResumeRotation(f.ctx(), id, "token:ann", "go on")
	f.ok(err)
	return out
}

func resolveSucceeded(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	r, tasks := f.running("quarterly", u, makeUnit("om", "p1", 2))
	intended := f.clock.Now()
	f.park(tasks[0].ID)
	f.drain()
	f.clock.Advance(time.Hour)
	out := f.mustDecide(tasks[0].ID, keyturn.TaskSucceeded, "b")
	if task := out.Task; task.State != keyturn.TaskSucceeded || task.Resolution != keyturn.ResolutionByPerson || task.KeyAfter != "b" ||
		task.Reason != "resolved by ann: looked" || !task.FinishedAt.Equal(f.clock.Now()) {
		t.Errorf("task is %+v", task)
	}
	if out.Rotation.State != keyturn.RotationRunning || out.Rotation.Counts != (keyturn.Counts{Total: 2, Succeeded: 1, Pending: 1}) || out.Retry != nil {
		t.Errorf("rotation is %+v, retry %v", out.Rotation, out.Retry)
	}
	records := f.history(keyturn.HistoryFilter{Unit: u.ID})
	if len(records) != 2 || records[1].KeyID != "b" || records[1].PreviousKeyID != "a" || records[1].Origin != keyturn.OriginRotated ||
		records[1].Task != tasks[0].ID || records[1].Rotation != r.ID || !records[1].From.Equal(intended) {
		t.Errorf("history is %+v", records)
	}
	// At worst it was turned with the intent: an age must not be too small.
	if got := f.unit(u.ID); got.KeyID != "b" || !got.KeySince.Equal(intended) || got.KeySinceExact {
		t.Errorf("unit has key %s since %v (exact %v)", got.KeyID, got.KeySince, got.KeySinceExact)
	}
	if notes := f.drain(); len(notes) != 1 || notes[0].Type != "tasks" || !slices.Equal(notes[0].Tasks, []keyturn.ID{tasks[0].ID}) {
		t.Errorf("announced %+v", notes)
	}
}

func resolveCorrects(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.park(tasks[0].ID)
	f.park(tasks[1].ID)
	if end := f.ended(); end.State != keyturn.RotationFailed || end.Counts != (keyturn.Counts{Total: 2, Parked: 2}) {
		t.Fatalf("ended as %s with %+v", end.State, end.Counts)
	}
	ended := f.rotation(r.ID).FinishedAt
	f.clock.Advance(time.Hour)
	f.drain()
	if out := f.mustDecide(tasks[0].ID, keyturn.TaskSucceeded, "b"); out.Rotation.State != keyturn.RotationPartial ||
		out.Rotation.Counts != (keyturn.Counts{Total: 2, Succeeded: 1, Parked: 1}) {
		t.Errorf("rotation is %+v, want partial", out.Rotation)
	}
	out := f.mustDecide(tasks[1].ID, keyturn.TaskSucceeded, "b")
	if out.Rotation.State != keyturn.RotationSucceeded || out.Rotation.Counts != (keyturn.Counts{Total: 2, Succeeded: 2}) || out.Rotation.Trouble != "" {
		t.Errorf("rotation is %+v, want succeeded", out.Rotation)
	}
	if got := f.rotation(r.ID); !got.FinishedAt.Equal(*ended) || got.State != keyturn.RotationSucceeded {
		t.Errorf("rotation is %+v, want its end as it was", got)
	}
	if notes := types(f.drain()); !slices.Equal(notes, []string{"tasks", "tasks"}) {
		t.Errorf("announced %v, want the tasks only", notes)
	}
}

func resolveFailed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, tasks := f.running("quarterly", u)
	f.park(tasks[0].ID)
	f.ended()
	out := f.mustDecide(tasks[0].ID, keyturn.TaskFailed, "")
	if out.Task.State != keyturn.TaskFailed || out.Task.Resolution != keyturn.ResolutionByPerson || out.Task.KeyAfter != "" {
		t.Errorf("task is %+v", out.Task)
	}
	if out.Rotation.State != keyturn.RotationFailed || out.Rotation.Counts != (keyturn.Counts{Total: 1, Failed: 1}) {
		t.Errorf("rotation is %+v", out.Rotation)
	}
	if records := f.history(keyturn.HistoryFilter{Unit: u.ID}); len(records) != 1 {
		t.Errorf("history is %+v, want the key before only", records)
	}
}

func resolveRetryRunning(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	if got := f.feed("om", 9); len(got) != 2 {
		t.Fatalf("fed %+v", got)
	}
	f.park(tasks[0].ID)
	f.drain()
	out := f.mustDecide(tasks[0].ID, keyturn.TaskPending, "")
	if out.Task.State != keyturn.TaskPending || out.Task.Resolution != "" || out.Task.FinishedAt != nil || out.Retry != nil {
		t.Errorf("task is %+v, retry %v", out.Task, out.Retry)
	}
	if notes := f.drain(); len(notes) != 0 {
		t.Errorf("announced %+v: nothing has ended", notes)
	}
	f.noneEnded()
	if got := f.feed("om", 9); len(got) != 1 || got[0].Task != tasks[0].ID || got[0].State != keyturn.TaskPending {
		t.Fatalf("fed %+v, want the task", got)
	}
	f.turn(tasks[0].ID, "a", "b")
	f.turn(tasks[1].ID, "a", "b")
	if end := f.ended(); end.State != keyturn.RotationSucceeded || end.ID != r.ID {
		t.Errorf("ended as %+v", end)
	}
}

func resolveRetryEnded(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.park(tasks[0].ID)
	f.turn(tasks[1].ID, "a", "b")
	f.ended()
	out := f.mustDecide(tasks[0].ID, keyturn.TaskPending, "")
	if out.Task.State != keyturn.TaskFailed || out.Task.Resolution != keyturn.ResolutionByPerson {
		t.Errorf("task is %+v", out.Task)
	}
	if out.Rotation.State != keyturn.RotationPartial || out.Rotation.Counts != (keyturn.Counts{Total: 2, Succeeded: 1, Failed: 1}) {
		t.Errorf("rotation is %+v", out.Rotation)
	}
	if n := out.Retry; n == nil || n.Trigger != keyturn.TriggerRetry || n.RetryOf == nil || *n.RetryOf != r.ID ||
		!slices.Equal(n.Only.Units, []string{tasks[0].Unit}) || n.State != keyturn.RotationRequested || n.Reason != "looked" || n.RequestedBy != "ann" {
		t.Errorf("retry is %+v", n)
	}
}

func resolveOnlyParked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.turn(tasks[0].ID, "a", "b")
	f.mustIntend(tasks[1].ID, "a")
	for _, task := range tasks {
		for _, as := range []keyturn.TaskState{keyturn.TaskSucceeded, keyturn.TaskFailed, keyturn.TaskPending} {
			_, err := f.decide(task.ID, as, "c")
			f.is(err, keyturn.ErrConflict)
		}
	}
	_, err := f.decide(keyturn.NewID(f.clock.Now()), keyturn.TaskFailed, "")
	f.is(err, keyturn.ErrNotFound)
	if c := f.rotation(tasks[0].Rotation).Counts; c != (keyturn.Counts{Total: 3, Succeeded: 1, Pending: 2}) {
		t.Errorf("counts are %+v", c)
	}
}

func resolveKeyBefore(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.park(tasks[0].ID)
	_, err := f.decide(tasks[0].ID, keyturn.TaskSucceeded, "a")
	f.is(err, keyturn.ErrConflict)
	if task := f.task(r.ID); task.State != keyturn.TaskParked {
		t.Errorf("task is %+v", task)
	}
}

func resolveForeignKey(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, tasks := f.running("quarterly", u)
	f.park(tasks[0].ID)
	f.clock.Advance(time.Minute)
	_, later := f.running("quarterly", u)
	f.turn(later[0].ID, "a", "c")
	_, err := f.decide(tasks[0].ID, keyturn.TaskSucceeded, "c") // what the target shows now
	f.is(err, keyturn.ErrConflict)
	_, err = f.decide(tasks[0].ID, keyturn.TaskSucceeded, "b") // the later one found a in use
	f.is(err, keyturn.ErrConflict)
	f.mustDecide(tasks[0].ID, keyturn.TaskFailed, "")
	if got := f.unit(u.ID); got.KeyID != "c" || !got.KeySinceExact {
		t.Errorf("unit has key %s (exact %v)", got.KeyID, got.KeySinceExact)
	}
}

func resolveSeenKey(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, tasks := f.running("quarterly", u)
	f.park(tasks[0].ID)
	f.clock.Advance(time.Minute)
	_, later := f.running("quarterly", u)
	f.turn(later[0].ID, "b", "c") // it saw that b was in use
	f.mustDecide(tasks[0].ID, keyturn.TaskSucceeded, "b")
	var keys []string
	for _, k := range f.history(keyturn.HistoryFilter{Unit: u.ID}) {
		keys = append(keys, string(k.Origin)+" "+k.KeyID)
	}
	if want := []string{"observed a", "observed b", "rotated c"}; !slices.Equal(keys, want) {
		t.Errorf("history is %v, want %v", keys, want)
	}
	if got := f.unit(u.ID); got.KeyID != "c" {
		t.Errorf("unit has key %s, want c", got.KeyID)
	}
}

func resolveBusy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, tasks := f.running("quarterly", u)
	f.park(tasks[0].ID)
	_, later := f.running("quarterly", u)
	epoch := f.mustIntend(later[0].ID, "b")
	_, err := f.decide(tasks[0].ID, keyturn.TaskSucceeded, "b")
	f.is(err, keyturn.ErrConflict)
	f.mustFinish(succeeded(later[0].ID, epoch, "c"))
	f.mustDecide(tasks[0].ID, keyturn.TaskSucceeded, "b") // it was seen
}

func resolveNeedsReason(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.park(tasks[0].ID)
	for _, d := range []keyturn.Decision{
		{As: keyturn.TaskFailed}, {As: keyturn.TaskSucceeded, Reason: "x"}, {As: keyturn.TaskSkipped, Reason: "x"}, {As: keyturn.TaskParked, Reason: "x"},
	} {
		d.Task = tasks[0].ID
		if _, err := f.ResolveTask(f.ctx(), d); err == nil {
			t.Errorf("decision %+v was carried out", d)
		}
	}
	if task := f.task(r.ID); task.State != keyturn.TaskParked {
		t.Errorf("task is %+v", task)
	}
}

func resolveStopping(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.park(tasks[0].ID)
	epoch := f.mustIntend(tasks[1].ID, "a")
	f.cancel(r.ID, "")
	_, err := f.decide(tasks[0].ID, keyturn.TaskPending, "")
	f.is(err, keyturn.ErrConflict)
	f.mustFinish(succeeded(tasks[1].ID, epoch, "b"))
	f.ended()
	out := f.mustDecide(tasks[0].ID, keyturn.TaskPending, "")
	if out.Retry == nil || out.Rotation.State != keyturn.RotationCancelled || out.Rotation.Counts != (keyturn.Counts{Total: 2, Succeeded: 1, Failed: 1}) {
		t.Errorf("rotation is %+v, retry %v", out.Rotation, out.Retry)
	}
}

func clustersMixed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	users := inCluster("users", makeUnits("om", "p1", 3)...)
	unfit := makeUnit("om", "p1", 9)
	unfit.Rotatable, unfit.Reason = false, "backup is off"
	units := append(inCluster("orders", makeUnit("om", "p1", 7), unfit), users...)
	r, _ := f.running("quarterly", units...)
	of := map[string]keyturn.ID{}
	for _, task := range f.tasks(r.ID) {
		of[task.Unit] = task.ID
	}
	f.clock.Advance(time.Minute)
	first := f.clock.Now()
	f.turn(of[users[0].ID], "a", "b")
	f.clock.Advance(time.Minute)
	f.turn(of[users[1].ID], "a", "b")
	f.fail(of[users[2].ID])
	f.turn(of[units[0].ID], "a", "b")
	want := "only a part has a new key of p1-name/users"
	if end := f.ended(); end.State != keyturn.RotationPartial || end.Trouble != want || end.Reason != want {
		t.Errorf("ended as %s with trouble %q, want %q", end.State, end.Trouble, want)
	}
	got, err := f.Clusters(f.ctx(), r.ID)
	f.ok(err)
	if len(got) != 2 || !got[0].Mixed || got[0].Cluster != "users" || got[0].ProjectName != "p1-name" || got[0].ProjectID != "p1" ||
		got[0].Counts != (keyturn.Counts{Total: 3, Succeeded: 2, Failed: 1}) || got[0].MixedSince == nil || !got[0].MixedSince.Equal(first) {
		t.Errorf("clusters are %+v, want users mixed since %v", got, first)
	}
	if got[1].Mixed || got[1].MixedSince != nil || got[1].Counts != (keyturn.Counts{Total: 2, Succeeded: 1, Skipped: 1}) {
		t.Errorf("cluster is %+v: what can't be rotated does not make it mixed", got[1])
	}
	// A retry makes it whole, and nobody has to be told of it any more.
	f.clock.Advance(time.Minute)
	retry := f.resume(r.ID).Rotation
	_, _, err = f.ClaimRotation(f.ctx(), retry.ID, owner, lease)
	f.ok(err)
	f.ok(f.SavePlan(f.ctx(), retry.ID, owner, users[2:]))
	f.turn(f.task(retry.ID).ID, "a", "b")
	got, err = f.Clusters(f.ctx(), r.ID)
	f.ok(err)
	if len(got) != 2 || got[0].Mixed || got[1].Mixed {
		t.Errorf("clusters are %+v, want none mixed", got)
	}
}

func clustersRunning(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", inCluster("users", makeUnits("om", "p1", 2)...)...)
	f.turn(tasks[0].ID, "a", "b")
	got, err := f.Clusters(f.ctx(), r.ID)
	f.ok(err)
	if len(got) != 1 || got[0].Mixed || got[0].Counts != (keyturn.Counts{Total: 2, Succeeded: 1, Pending: 1}) {
		t.Errorf("clusters are %+v: what is still to do does not make one mixed", got)
	}
	f.park(tasks[1].ID)
	if got, err = f.Clusters(f.ctx(), r.ID); err != nil || !got[0].Mixed {
		t.Errorf("clusters are %+v, %v: want it mixed", got, err)
	}
}
