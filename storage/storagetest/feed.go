package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func feedTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"HandsOutAtMostTheWindow":           feedWindow,
		"ProjectsTakeTurns":                 feedTurns,
		"SaysWhetherMoreWait":               feedMore,
		"HandsOutAnewWhatWasNotPutBack":     feedAnew,
		"RotationsOfATargetShareTheTurns":   feedRotationsShare,
		"SaysWhatTheWorkerNeeds":            feedContents,
		"HeldTargetGivesNone":               feedHeld,
		"ShorterHoldDoesNotShorten":         feedHoldGrows,
		"PausedPolicyFeedsOnlyOpenIntents":  feedPaused,
		"CancelledRotationFeedsOpenIntents": feedCancelled,
		"LeasedIntentIsNotFed":              feedLeased,
		"RequeueBringsBackWhatWasLost":      feedRequeue,
		"RequeueSparesBusyTargets":          requeueBusy,
		"RequeueSparesWhatIsHeld":           feedRequeueHeld,
		"RequeueNamesTargetsToFeed":         feedRequeueTargets,
		"FinishRotationsEndsWhatIsDone":     feedFinish,
		"FinishRotationsSaysWhyItFailed":    feedFinishFailed,
		"UnplannedIsOldestFirst":            feedUnplanned,
		"KeyAgesSumUpEachTarget":            feedKeyAges,
	}
}

func feedWindow(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 10)...)
	if got := f.feed("om", 4); len(got) != 4 {
		t.Fatalf("fed %d, want 4", len(got))
	}
	if got := f.feed("om", 4); len(got) != 0 {
		t.Errorf("fed %d more while the window is full", len(got))
	}
	f.turn(tasks[0].ID, "a", "b")
	got := f.feed("om", 4)
	if len(got) != 1 || got[0].Task != tasks[4].ID {
		t.Errorf("fed %+v, want the fifth task in the place of the first", got)
	}
	if got := f.feed("other", 4); len(got) != 0 {
		t.Errorf("an unknown target was fed %+v", got)
	}
	if got := f.feed("om", 100); len(got) != 5 {
		t.Errorf("fed %d with a wide window, want the other 5", len(got))
	}
}

func feedTurns(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	units := slices.Concat(makeUnits("om", "big", 100), makeUnits("om", "mid", 20), makeUnits("om", "low", 1))
	_, _ = f.running("quarterly", units...)
	perProject := map[string]int{}
	for _, task := range f.feed("om", 40) {
		_, project, _, err := keyturn.SplitUnitID(task.Unit)
		f.ok(err)
		perProject[project]++
	}
	// Turns: 16 of big, 16 of mid, the one of low, and 7 of the second turn.
	if perProject["low"] != 1 || perProject["mid"] < 16 || perProject["big"] < 16 {
		t.Errorf("the first 40 tasks are of %v", perProject)
	}
}

func feedRotationsShare(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.policy("small", "om", nil)
	f.running("quarterly", makeUnits("om", "p1", 50)...)
	f.clock.Advance(time.Second)
	second, _ := f.running("small", makeUnits("om", "p2", 2)...)
	n := 0
	for _, task := range f.feed("om", 18) {
		if task.Rotation == second.ID {
			n++
		}
	}
	if n != 2 {
		t.Errorf("the later rotation got %d of the first 18 places, want 2", n)
	}
}

func feedContents(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	spec := keyturn.Policy{Target: "om", Uncertain: keyturn.UncertainPark}
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: "strict", Spec: encode(t, spec)}}))
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{
		Kind: keyturn.KindTarget, Name: "om", Expect: 1,
		Spec: encode(t, keyturn.Target{System: keyturn.SystemOpsManager, URL: "https://new.example.com"}),
	}}))
	u := makeUnit("om", "p1", 1)
	r, tasks := f.running("strict", u)
	f.clock.Advance(5 * time.Second)
	got := f.feed("om", 1)
	want := keyturn.QueuedTask{
		Task: tasks[0].ID, Rotation: r.ID, Unit: u.ID, State: keyturn.TaskPending,
		Uncertain: keyturn.UncertainPark, Generation: 2, Handed: f.clock.Now().UnixMilli(),
	}
	if len(got) != 1 || got[0] != want {
		t.Errorf("fed %+v, want %+v", got, want)
	}

	f.policy("quarterly", "om", nil)
	f.running("quarterly", makeUnit("om", "p2", 1))
	if got := f.feed("om", 2); len(got) != 1 || got[0].Uncertain != keyturn.UncertainReapply {
		t.Errorf("fed %+v, want the default for what is uncertain: reapply", got)
	}
}

func feedHeld(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.ok(f.Hold(f.ctx(), "om", "429", 30*time.Second))
	if got := f.feed("om", 10); len(got) != 0 {
		t.Errorf("a held target was fed %d tasks", len(got))
	}
	targets, err := f.Requeue(f.ctx(), time.Minute, nil)
	f.ok(err)
	if len(targets) != 0 {
		t.Errorf("Requeue named the held target: %v", targets)
	}
	f.clock.Advance(30 * time.Second)
	if got := f.feed("om", 10); len(got) != 2 {
		t.Errorf("fed %d tasks after the hold, want 2", len(got))
	}
}

func feedHoldGrows(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.ok(f.Hold(f.ctx(), "om", "outage", time.Minute))
	f.ok(f.Hold(f.ctx(), "om", "429", time.Second))
	status := f.resource(keyturn.KindTarget, "om").Status
	if want := f.clock.Now().Add(time.Minute); status.HeldUntil == nil || !status.HeldUntil.Equal(want) || status.HoldReason != "outage" {
		t.Errorf("status is %+v, want held for a minute by the outage", status)
	}
	f.clock.Advance(59 * time.Second)
	if got := f.feed("om", 10); len(got) != 0 {
		t.Errorf("fed %d tasks during the longer hold", len(got))
	}
	f.ok(f.Hold(f.ctx(), "om", "429", time.Minute))
	f.clock.Advance(59 * time.Second)
	if got := f.feed("om", 10); len(got) != 0 {
		t.Errorf("fed %d tasks during the hold that was made longer", len(got))
	}
}

func feedPaused(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.mustIntend(tasks[1].ID, "a")
	f.clock.Advance(lease + time.Second)
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ann", "", nil))
	got := f.feed("om", 10)
	if len(got) != 1 || got[0].Task != tasks[1].ID || got[0].State != keyturn.TaskIntended {
		t.Errorf("fed %+v, want only the open intent", got)
	}
	f.ok(f.SetPaused(f.ctx(), "quarterly", false, "ann", "", nil))
	if got := f.feed("om", 10); len(got) != 2 {
		t.Errorf("fed %d after resuming, want the other 2", len(got))
	}
}

func feedCancelled(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.mustIntend(tasks[2].ID, "a")
	f.clock.Advance(lease + time.Second)
	f.ok(f.Exec(f.ctx(), `UPDATE rotations SET state = 'cancelled', finished_at = requested_at`))
	targets, err := f.Requeue(f.ctx(), time.Minute, nil)
	f.ok(err)
	if !slices.Equal(targets, []string{"om"}) {
		t.Errorf("Requeue named %v, want om", targets)
	}
	got := f.feed("om", 10)
	if len(got) != 1 || got[0].Task != tasks[2].ID {
		t.Errorf("fed %+v, want only the open intent", got)
	}
}

func feedLeased(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.mustIntend(tasks[0].ID, "a")
	if got := f.feed("om", 10); len(got) != 0 {
		t.Errorf("fed %+v, which a worker holds", got)
	}
	f.clock.Advance(lease + time.Second)
	if got := f.feed("om", 10); len(got) != 1 {
		t.Errorf("fed %d after the lease, want 1", len(got))
	}
}

func feedRequeue(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.feed("om", 2)
	f.clock.Advance(time.Minute)
	_, err := f.Requeue(f.ctx(), 2*time.Minute, nil)
	f.ok(err)
	if got := f.feed("om", 2); len(got) != 0 {
		t.Errorf("fed %d before they were given up", len(got))
	}
	f.clock.Advance(time.Minute + time.Second)
	targets, err := f.Requeue(f.ctx(), 2*time.Minute, nil)
	f.ok(err)
	if !slices.Equal(targets, []string{"om"}) {
		t.Errorf("targets to feed are %v, want om", targets)
	}
	if got := f.feed("om", 2); len(got) != 2 {
		t.Errorf("fed %d after they were given up, want 2", len(got))
	}
}

func feedRequeueHeld(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.feed("om", 1)
	f.clock.Advance(10 * time.Minute)
	f.mustIntend(tasks[0].ID, "a")
	targets, err := f.Requeue(f.ctx(), time.Minute, nil)
	f.ok(err)
	if len(targets) != 0 {
		t.Errorf("targets to feed are %v: the only task is held by a worker", targets)
	}
	f.clock.Advance(lease + time.Second)
	targets, err = f.Requeue(f.ctx(), time.Minute, nil)
	f.ok(err)
	if !slices.Equal(targets, []string{"om"}) {
		t.Errorf("targets to feed are %v, want om", targets)
	}
}

func feedRequeueTargets(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.target("cm")
	f.policy("weekly", "cm", nil)
	f.target("idle")
	f.running("quarterly", makeUnits("om", "p1", 2)...)
	_, tasks := f.running("weekly", makeUnit("cm", "p1", 1))
	targets, err := f.Requeue(f.ctx(), time.Minute, nil)
	f.ok(err)
	slices.Sort(targets)
	if !slices.Equal(targets, []string{"cm", "om"}) {
		t.Errorf("targets to feed are %v, want cm and om", targets)
	}
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskPending, State: keyturn.TaskPending, After: time.Hour})
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ann", "", nil))
	targets, err = f.Requeue(f.ctx(), time.Minute, nil)
	f.ok(err)
	if len(targets) != 0 {
		t.Errorf("targets to feed are %v: one waits, the other is paused", targets)
	}
}

func feedFinish(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	ended, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if len(ended) != 0 {
		t.Fatalf("ended %+v with open tasks", ended)
	}
	f.turn(tasks[0].ID, "a", "b")
	if c := f.rotation(r.ID).Counts; c != (keyturn.Counts{Total: 2, Succeeded: 1, Pending: 1}) {
		t.Errorf("counts on the way are %+v", c)
	}
	f.mustFinish(keyturn.TaskResult{Task: tasks[1].ID, From: keyturn.TaskPending, State: keyturn.TaskFailed, Reason: "401"})
	f.drain()
	f.clock.Advance(time.Second)
	ended, err = f.FinishRotations(f.ctx())
	f.ok(err)
	if len(ended) != 1 || ended[0].ID != r.ID || ended[0].State != keyturn.RotationPartial ||
		ended[0].Counts != (keyturn.Counts{Total: 2, Succeeded: 1, Failed: 1}) {
		t.Fatalf("ended %+v, want the rotation, partial", ended)
	}
	got := f.rotation(r.ID)
	if got.State != keyturn.RotationPartial || got.Counts != ended[0].Counts || got.FinishedAt == nil || !got.FinishedAt.Equal(f.clock.Now()) {
		t.Errorf("rotation is %+v", got)
	}
	if notes := f.drain(); len(notes) != 1 || notes[0].Type != "rotation.completed" || notes[0].Rotation != r.ID {
		t.Errorf("announcements are %+v, want its completion", notes)
	}
	ended, err = f.FinishRotations(f.ctx())
	f.ok(err)
	if len(ended) != 0 || len(f.drain()) != 0 {
		t.Errorf("ended a second time: %+v", ended)
	}
}

func feedFinishFailed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	refused, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskPending, State: keyturn.TaskFailed, Reason: "401"})
	cold := makeUnit("om", "p2", 1)
	cold.Rotatable, cold.Reason = false, "backup is off"
	skipped, _ := f.running("quarterly", cold)
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if got := f.rotation(refused.ID); got.State != keyturn.RotationFailed || got.Reason == "" || got.Reason == "test" {
		t.Errorf("rotation is %s because of %q, want failed with a reason", got.State, got.Reason)
	}
	if got := f.rotation(skipped.ID); got.State != keyturn.RotationSucceeded || got.Reason != "test" {
		t.Errorf("rotation is %s because of %q, want succeeded: skipped units do not spoil it", got.State, got.Reason)
	}
}

func feedUnplanned(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	var want []keyturn.ID
	for range 3 {
		want = append(want, f.request("quarterly").ID)
		f.clock.Advance(time.Second)
	}
	got, err := f.Unplanned(f.ctx(), 2)
	f.ok(err)
	if !slices.Equal(got, want[:2]) {
		t.Errorf("unplanned are %v, want %v", got, want[:2])
	}
	_, _, err = f.ClaimRotation(f.ctx(), want[0], owner, lease)
	f.ok(err)
	got, err = f.Unplanned(f.ctx(), 10)
	f.ok(err)
	if !slices.Equal(got, want[1:]) {
		t.Errorf("unplanned are %v, want %v", got, want[1:])
	}
	f.clock.Advance(lease + time.Second)
	got, err = f.Unplanned(f.ctx(), 10)
	f.ok(err)
	if !slices.Equal(got, want) {
		t.Errorf("unplanned are %v, want all %v: the planner died", got, want)
	}
}

func feedKeyAges(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.turn(tasks[0].ID, "a", "b")
	f.clock.Advance(time.Hour)
	f.turn(tasks[1].ID, "c", "d")
	f.clock.Advance(time.Hour)
	got, err := f.KeyAges(f.ctx())
	f.ok(err)
	want := []keyturn.KeyAge{{Target: "om", Units: 3, Unknown: 1, Oldest: 2 * time.Hour}}
	if !slices.Equal(got, want) {
		t.Errorf("ages are %+v, want %+v", got, want)
	}
}
