package storagetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func partsTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"RunsWhileTheRestIsSaved":             partsRun,
		"TheRestIsNobodyElsesToSave":          partsExclusive,
		"AnotherPlannerGoesOn":                partsGoesOn,
		"PostponedGoesOnAfterItsDelay":        partsPostponed,
		"CancelledIsSavedToItsEnd":            partsCancelled,
		"CancelledOutlivesItsPlanner":         partsCancelledOrphan,
		"FailedIsHalted":                      partsFailed,
		"FailedWhenAllThatIsSavedWasTurned":   partsFailedTurned,
		"FailedAfterItWasCancelled":           partsFailedCancelled,
		"PolicyThatIsGoneHaltsIt":             partsPolicyGone,
		"EachPartAnnouncesWhatItSkips":        partsAnnounce,
		"PartOfWhatIsPlannedAlreadyIsNothing": partsAgain,
		"CancelledEndsAlsoOutsideItsWindows":  partsCancelledClosed,
		"TargetIsNotRemovedBetweenParts":      partsTargetKept,
		"StuckIfNobodySavesTheRest":           partsStuck,
	}
}

// parts saves a part of a plan of 5 units, of which it holds the first 2.
func (f *fixture) parts() (keyturn.Rotation, []keyturn.Unit) {
	f.t.Helper()
	f.estate()
	r := f.request("quarterly")
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	units := makeUnits("om", "p1", 5)
	f.ok(f.SavePart(f.ctx(), r.ID, owner, units[:2], 3))
	return f.rotation(r.ID), units
}

// wantRunning wants a running rotation with the counts.
func (f *fixture) wantRunning(id keyturn.ID, want keyturn.Counts) {
	f.t.Helper()
	if r := f.rotation(id); r.State != keyturn.RotationRunning || r.Counts != want {
		f.t.Errorf("rotation is %s with %+v, want running with %+v", r.State, r.Counts, want)
	}
}

// feedAll hands out and turns everything that there is.
func (f *fixture) feedAll() (units []string) {
	f.t.Helper()
	for {
		fed := f.feed("om", 100)
		if len(fed) == 0 {
			return units
		}
		for _, task := range fed {
			units = append(units, task.Unit)
			f.turn(task.Task, "a", "b")
		}
	}
}

func ids(units []keyturn.Unit) []string {
	out := make([]string, len(units))
	for i, u := range units {
		out[i] = u.ID
	}
	return out
}

func partsRun(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, units := f.parts()
	f.wantRunning(r.ID, keyturn.Counts{Total: 5, Pending: 5})
	fed, err := f.Feed(f.ctx(), "om", 100)
	f.ok(err)
	if len(fed.Tasks) != 2 || fed.Tasks[0].Unit != units[0].ID || fed.Tasks[1].Unit != units[1].ID || !fed.More {
		t.Errorf("fed %+v, want the first two units, and that there are more", fed)
	}
	for _, task := range fed.Tasks {
		f.turn(task.Task, "a", "b")
	}
	f.noneEnded()
	f.wantRunning(r.ID, keyturn.Counts{Total: 5, Succeeded: 2, Pending: 3})
	f.ok(f.SavePart(f.ctx(), r.ID, owner, units[2:4], 1))
	if got := f.feedAll(); !slices.Equal(got, ids(units[2:4])) {
		t.Errorf("fed %v, want the next two", got)
	}
	f.noneEnded()
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, units[4:]))
	f.is(f.SavePlan(f.ctx(), r.ID, owner, units[4:]), keyturn.ErrConflict)
	f.wantRunning(r.ID, keyturn.Counts{Total: 5, Succeeded: 4, Pending: 1})
	if got := f.feedAll(); !slices.Equal(got, ids(units[4:])) {
		t.Errorf("fed %v, want the last one", got)
	}
	if end := f.ended(); end.State != keyturn.RotationSucceeded || end.Counts.Succeeded != 5 || end.Reason != "test" {
		t.Errorf("it ended as %+v", end)
	}
}

func partsExclusive(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, units := f.parts()
	f.is(f.SavePart(f.ctx(), r.ID, "b", units[2:4], 1), keyturn.ErrConflict)
	f.is(f.SavePlan(f.ctx(), r.ID, "b", units[2:]), keyturn.ErrConflict)
	f.is(f.FailRotation(f.ctx(), r.ID, "b", "x"), keyturn.ErrConflict)
	f.is(f.PostponeRotation(f.ctx(), r.ID, "b", "x", 0), keyturn.ErrConflict)
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, "b", lease)
	f.is(err, keyturn.ErrNotFound)
	f.clock.Advance(lease / 2)
	renewed, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.clock.Advance(lease - time.Second)
	if waiting := f.unplanned(); len(waiting) != 0 || renewed.State != keyturn.RotationRunning {
		t.Errorf("it is %s, and %v wait for a planner while theirs is at it", renewed.State, waiting)
	}
	f.wantRunning(r.ID, keyturn.Counts{Total: 5, Pending: 5})
}

// The planner died. What it saved is worked on, and ended before another one goes on.
func partsGoesOn(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, units := f.parts()
	if got := f.feedAll(); !slices.Equal(got, ids(units[:2])) {
		t.Errorf("fed %v, want the first two", got)
	}
	f.clock.Advance(lease + time.Second)
	f.noneEnded()
	if waiting := f.unplanned(); !slices.Equal(waiting, []keyturn.ID{r.ID}) {
		t.Fatalf("%v wait for a planner, want the rotation", waiting)
	}
	got, policy, err := f.ClaimRotation(f.ctx(), r.ID, "b", lease)
	f.ok(err)
	if got.State != keyturn.RotationRunning || got.Target != "om" || policy.Name != "quarterly" {
		t.Errorf("claimed %+v of %+v", got, policy)
	}
	f.is(f.SavePart(f.ctx(), r.ID, owner, units[2:4], 1), keyturn.ErrConflict)
	// The estate has changed meanwhile: a unit more, which comes first, and one that is gone.
	now := append([]keyturn.Unit{makeUnit("om", "p0", 1)}, units[:4]...)
	f.ok(f.SavePart(f.ctx(), r.ID, "b", now[:3], 2))
	f.wantRunning(r.ID, keyturn.Counts{Total: 5, Succeeded: 2, Pending: 3})
	f.ok(f.SavePlan(f.ctx(), r.ID, "b", now[3:]))
	if fed := f.feedAll(); !slices.Equal(fed, []string{now[0].ID, units[2].ID, units[3].ID}) {
		t.Errorf("fed %v, want each unit that had no task", fed)
	}
	if end := f.ended(); end.State != keyturn.RotationSucceeded || end.Counts != (keyturn.Counts{Total: 5, Succeeded: 5}) {
		t.Errorf("it ended as %+v", end)
	}
}

func partsPostponed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, units := f.parts()
	f.ok(f.PostponeRotation(f.ctx(), r.ID, owner, "the target is away", 30*time.Second))
	if got := f.rotation(r.ID); got.State != keyturn.RotationRunning || got.Reason != "the target is away" {
		t.Errorf("rotation is %s because of %q, want running with what it waits for", got.State, got.Reason)
	}
	f.clock.Advance(29 * time.Second)
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, "b", lease)
	f.is(err, keyturn.ErrNotFound)
	f.clock.Advance(time.Second)
	f.claimAs(r.ID, "b")
	f.ok(f.SavePlan(f.ctx(), r.ID, "b", units))
	f.feedAll()
	if end := f.ended(); end.State != keyturn.RotationSucceeded || end.Counts.Succeeded != 5 || end.Reason != "test" {
		t.Errorf("it ended as %+v", end)
	}
}

func (f *fixture) claimAs(id keyturn.ID, who string) {
	f.t.Helper()
	_, _, err := f.ClaimRotation(f.ctx(), id, who, lease)
	f.ok(err)
}

// Who cancels a rotation and resumes it means all of its units, not those that happened to be saved.
func partsCancelled(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, units := f.parts()
	f.turn(f.tasks(r.ID)[0].ID, "a", "b")
	got := f.cancel(r.ID, "too early")
	if want := (keyturn.Counts{Total: 5, Succeeded: 1, Skipped: 4}); got.State != keyturn.RotationRunning || got.Counts != want {
		t.Errorf("rotation is %s with %+v, want running with %+v", got.State, got.Counts, want)
	}
	f.noneEnded()
	f.ok(f.SavePart(f.ctx(), r.ID, owner, units[2:4], 1))
	f.noneEnded()
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, units[4:]))
	if fed := f.feed("om", 10); len(fed) != 0 {
		t.Errorf("fed %+v of a rotation that was cancelled", fed)
	}
	end := f.ended()
	if end.State != keyturn.RotationCancelled || end.Counts != (keyturn.Counts{Total: 5, Succeeded: 1, Skipped: 4}) ||
		end.Reason != "cancelled by ann: too early" {
		t.Errorf("it ended as %+v", end)
	}
	if missing := f.resume(r.ID); len(missing.Rotation.Only.Units) != 4 {
		t.Errorf("resumed with %+v, want 4 units", missing)
	}
}

func partsCancelledOrphan(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, units := f.parts()
	f.cancel(r.ID, "")
	f.clock.Advance(lease + time.Second)
	f.claimAs(r.ID, "b")
	f.ok(f.PostponeRotation(f.ctx(), r.ID, "b", "the target is away", time.Second))
	if got := f.rotation(r.ID); got.Reason != "cancelled by ann" {
		t.Errorf("reason is %q, want who cancelled it", got.Reason)
	}
	f.clock.Advance(time.Second)
	f.claimAs(r.ID, "b")
	f.ok(f.SavePlan(f.ctx(), r.ID, "b", units))
	if end := f.ended(); end.State != keyturn.RotationCancelled || end.Counts != (keyturn.Counts{Total: 5, Skipped: 5}) || end.Reason != "cancelled by ann" {
		t.Errorf("it ended as %+v", end)
	}
}

func partsFailed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, units := f.parts()
	f.turn(f.tasks(r.ID)[0].ID, "a", "b")
	epoch := f.mustIntend(f.tasks(r.ID)[1].ID, "a")
	f.drain()
	f.ok(f.FailRotation(f.ctx(), r.ID, owner, "no such project"))
	f.is(f.SavePlan(f.ctx(), r.ID, owner, units[2:]), keyturn.ErrConflict)
	f.noneEnded() // an intent is open
	f.mustFinish(keyturn.TaskResult{
		Task: f.tasks(r.ID)[1].ID, Epoch: epoch, From: keyturn.TaskIntended, State: keyturn.TaskFailed, Reason: "gone",
	})
	end := f.ended()
	if end.State != keyturn.RotationPartial || end.Counts != (keyturn.Counts{Total: 2, Succeeded: 1, Failed: 1}) || !end.Halted ||
		!strings.Contains(end.Reason, "only a part of it was planned: no such project") {
		t.Errorf("it ended as %+v", end)
	}
	if notes := types(f.drain()); !slices.Equal(notes, []string{"tasks", "rotation.completed"}) {
		t.Errorf("announced %v", notes)
	}
}

// Nothing went wrong with what was saved, and still not all that was meant has a new key.
func partsFailedTurned(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, _ := f.parts()
	f.feedAll()
	f.ok(f.FailRotation(f.ctx(), r.ID, owner, "no such project"))
	end := f.ended()
	if end.State != keyturn.RotationPartial || end.Counts != (keyturn.Counts{Total: 2, Succeeded: 2}) ||
		end.Reason != "halted: only a part of it was planned: no such project" {
		t.Errorf("it ended as %+v", end)
	}
}

func partsFailedCancelled(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, _ := f.parts()
	f.cancel(r.ID, "")
	f.ok(f.FailRotation(f.ctx(), r.ID, owner, "no such project"))
	// A retry leaves out what was never saved: whoever resumes it has to know.
	if end := f.ended(); end.State != keyturn.RotationCancelled || end.Reason != "cancelled by ann; only a part of it was planned" {
		t.Errorf("it ended as %+v", end)
	}
}

// Nothing is turned any more, so that nothing has to wait for a window.
func partsCancelledClosed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.fireAt("quarterly", keyturn.Start{Opening: f.openFor(time.Hour)})
	f.claimAs(r.ID, owner)
	units := makeUnits("om", "p1", 5)
	f.ok(f.SavePart(f.ctx(), r.ID, owner, units[:2], 3))
	f.clock.Advance(time.Hour)
	f.look(f.closedFor(time.Hour))
	if waiting := f.unplanned(); len(waiting) != 0 {
		t.Errorf("%v waits for a planner while its windows are closed", waiting)
	}
	f.cancel(r.ID, "")
	if waiting := f.unplanned(); !slices.Equal(waiting, []keyturn.ID{r.ID}) {
		t.Fatalf("%v wait for a planner, want the rotation that was cancelled", waiting)
	}
	f.claimAs(r.ID, "b")
	f.ok(f.SavePlan(f.ctx(), r.ID, "b", units))
	if end := f.ended(); end.State != keyturn.RotationCancelled || end.Counts.Skipped != 5 {
		t.Errorf("it ended as %+v", end)
	}
}

func partsTargetKept(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.parts()
	f.feedAll()
	f.is(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindPolicy, Name: "quarterly", Expect: 1}, {Kind: keyturn.KindTarget, Name: "om", Expect: 1},
	}), keyturn.ErrConflict)
}

// All that is saved has ended, and still it is not to be forgotten.
func partsStuck(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, _ := f.parts()
	f.feedAll()
	f.clock.Advance(standstill + time.Second)
	if stuck := f.stuck(); len(stuck) != 1 || stuck[0].Rotation != r.ID || stuck[0].Idle != standstill+time.Second {
		t.Errorf("stuck %+v, want the rotation of which nobody saves the rest", stuck)
	}
	f.claimAs(r.ID, "b")
	f.ok(f.PostponeRotation(f.ctx(), r.ID, "b", "the target is away", time.Minute))
	if stuck := f.stuck(); len(stuck) != 0 {
		t.Errorf("stuck %+v, which is about to be tried again", stuck)
	}
}

func partsPolicyGone(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, _ := f.parts()
	f.feedAll()
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: "quarterly", Expect: 1}}))
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, "b", lease)
	f.is(err, keyturn.ErrNotFound)
	f.noneEnded() // its planner is still at it
	f.clock.Advance(lease + time.Second)
	_, _, err = f.ClaimRotation(f.ctx(), r.ID, "b", lease)
	f.is(err, keyturn.ErrNotFound)
	if end := f.ended(); end.State != keyturn.RotationPartial || !strings.Contains(end.Reason, "was removed") {
		t.Errorf("it ended as %+v", end)
	}
}

func partsAnnounce(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	f.claimAs(r.ID, owner)
	units := makeUnits("om", "p1", 3)
	for i := range units {
		units[i].Rotatable, units[i].Reason = false, "off"
	}
	var told []int
	for i := range units {
		var err error
		if left := len(units) - 1 - i; left > 0 {
			err = f.SavePart(f.ctx(), r.ID, owner, units[i:i+1], left)
		} else {
			err = f.SavePlan(f.ctx(), r.ID, owner, units[i:])
		}
		f.ok(err)
		for _, note := range f.drain() {
			switch note.Type {
			case "tasks":
				told = append(told, len(note.Tasks))
			case "rotation.started":
				told = append(told, 0)
			}
		}
	}
	if !slices.Equal(told, []int{0, 1, 1, 1}) {
		t.Errorf("announced %v, want the start (0), and the one task that each part skipped", told)
	}
	if end := f.ended(); end.State != keyturn.RotationSucceeded || end.Counts.Skipped != 3 {
		t.Errorf("it ended as %+v", end)
	}
}

// The answer to a part was lost, and its planner begins anew.
func partsAgain(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	r, units := f.parts()
	f.drain()
	f.claimAs(r.ID, owner)
	f.ok(f.SavePart(f.ctx(), r.ID, owner, units[:1], 4))
	f.wantRunning(r.ID, keyturn.Counts{Total: 5, Pending: 5}) // not all of the 4 are to be saved still
	units[0].Rotatable, units[0].Reason = false, "off by now"
	f.ok(f.SavePart(f.ctx(), r.ID, owner, units[:2], 3))
	if tasks := f.tasks(r.ID); len(tasks) != 2 {
		t.Errorf("%d tasks, want 2", len(tasks))
	}
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, units))
	if notes := f.drain(); len(notes) != 0 {
		t.Errorf("announced %+v, although nothing was skipped", notes)
	}
	if fed := f.feedAll(); !slices.Equal(fed, ids(units)) {
		t.Errorf("fed %v, want each unit once", fed)
	}
	f.ended()
}
