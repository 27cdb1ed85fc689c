package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func planTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"ClaimGivesRotationAndPolicy":        planClaim,
		"ClaimIsExclusiveUntilTheLeaseEnds":  planClaimExclusive,
		"ClaimEndsRotationOfRemovedPolicy":   planClaimRemovedPolicy,
		"SavesUnitsAndTasks":                 planSave,
		"SkipsWhatCantBeRotated":             planSkips,
		"EmptySelectionFails":                planEmpty,
		"LostClaimIsConflict":                planLost,
		"UnitsKeepTheirKeys":                 planKeepsKeys,
		"UnitsFollowTheSystem":               planUpdatesUnits,
		"UnitNamedTwiceIsOneTask":            planDuplicate,
		"LargePlanIsWhole":                   planLarge,
		"FailEndsTheRotation":                planFail,
		"PostponedComesAgainAfterItsDelay":   planPostpone,
		"AnnouncesStartAndWhatWasSkipped":    planAnnounces,
		"PlannerThatCameBackLateIsConflict":  planLate,
		"ExpiredClaimStillSavesIfNobodyElse": planExpiredSaves,
	}
}

func planClaim(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	spec := keyturn.Policy{Target: "om", Select: keyturn.Selection{Projects: []string{"p*"}}, Uncertain: keyturn.UncertainPark}
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: "strict", Spec: encode(t, spec)}}))
	only := keyturn.Selection{Units: []string{"u1"}, Clusters: []string{"c*"}}
	r, _, err := f.Request(f.ctx(), keyturn.Request{
		Policy: "strict", Trigger: keyturn.TriggerWebhook, TriggerID: "x", Reason: "leak", RequestedBy: "ann", Only: only,
	})
	f.ok(err)
	got, policy, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	if got.ID != r.ID || got.State != keyturn.RotationPlanning || got.Policy != "strict" || got.Target != "om" ||
		got.TriggerID != "x" || got.Reason != "leak" || got.RequestedBy != "ann" || got.Trigger != keyturn.TriggerWebhook {
		t.Errorf("claimed %+v", got)
	}
	if !slices.Equal(got.Only.Units, only.Units) || !slices.Equal(got.Only.Clusters, only.Clusters) {
		t.Errorf("only is %+v, want %+v", got.Only, only)
	}
	if policy.Name != "strict" || policy.Generation != 1 || policy.Target != "om" || policy.Uncertain != keyturn.UncertainPark ||
		!slices.Equal(policy.Select.Projects, []string{"p*"}) || policy.Paused {
		t.Errorf("policy is %+v", policy)
	}
}

func planClaimExclusive(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, "a", lease)
	f.ok(err)
	_, _, err = f.ClaimRotation(f.ctx(), r.ID, "b", lease)
	f.is(err, keyturn.ErrNotFound)
	// Its owner may claim it again, which renews the lease.
	f.clock.Advance(lease - time.Second)
	_, _, err = f.ClaimRotation(f.ctx(), r.ID, "a", lease)
	f.ok(err)
	f.clock.Advance(lease - time.Second)
	_, _, err = f.ClaimRotation(f.ctx(), r.ID, "b", lease)
	f.is(err, keyturn.ErrNotFound)
	f.clock.Advance(2 * time.Second)
	_, _, err = f.ClaimRotation(f.ctx(), r.ID, "b", lease)
	f.ok(err)
	f.ok(f.SavePlan(f.ctx(), r.ID, "b", makeUnits("om", "p1", 1)))
	f.clock.Advance(lease + time.Second)
	_, _, err = f.ClaimRotation(f.ctx(), r.ID, "b", lease)
	f.is(err, keyturn.ErrNotFound)
	_, _, err = f.ClaimRotation(f.ctx(), keyturn.NewID(f.clock.Now()), "b", lease)
	f.is(err, keyturn.ErrNotFound)
}

// A rotation whose policy is gone can never be planned: it must end, not wait for ever.
func planClaimRemovedPolicy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: "quarterly", Expect: 1}}))
	f.drain()
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.is(err, keyturn.ErrNotFound)
	if got := f.rotation(r.ID); got.State != keyturn.RotationFailed || got.Reason == "test" || got.FinishedAt == nil {
		t.Errorf("rotation is %+v, want failed with the reason", got)
	}
	if got := types(f.drain()); !slices.Equal(got, []string{"rotation.completed"}) {
		t.Errorf("announcements are %v", got)
	}
}

func planSave(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	f.clock.Advance(time.Second)
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	units := makeUnits("om", "p1", 3)
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, units))

	got := f.rotation(r.ID)
	if got.State != keyturn.RotationRunning || got.Counts != (keyturn.Counts{Total: 3, Pending: 3}) || got.FinishedAt != nil {
		t.Errorf("rotation is %+v", got)
	}
	if got.StartedAt == nil || !got.StartedAt.Equal(f.clock.Now()) {
		t.Errorf("started at %v, want %v", got.StartedAt, f.clock.Now())
	}
	tasks := f.tasks(r.ID)
	for i, task := range tasks {
		if task.State != keyturn.TaskPending || task.Unit != units[i].ID || task.Rotation != r.ID || task.Attempts != 0 || task.StartedAt != nil {
			t.Errorf("task %d is %+v", i, task)
		}
	}
	unit := f.unit(units[0].ID)
	if unit != units[0] {
		t.Errorf("unit came back as %+v, want %+v", unit, units[0])
	}
}

func planSkips(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	units := makeUnits("om", "p1", 2)
	units[0].Rotatable, units[0].Reason = false, "backup is off"
	r, tasks := f.running("quarterly", units...)
	if c := f.rotation(r.ID).Counts; c != (keyturn.Counts{Total: 2, Pending: 1, Skipped: 1}) {
		t.Errorf("counts are %+v", c)
	}
	for _, task := range tasks {
		if task.Unit != units[0].ID {
			continue
		}
		if task.State != keyturn.TaskSkipped || task.Reason != "backup is off" || task.FinishedAt == nil || task.StartedAt != nil {
			t.Errorf("task is %+v, want skipped with the reason", task)
		}
	}
	if got := f.feed("om", 10); len(got) != 1 || got[0].Unit != units[1].ID {
		t.Errorf("fed %+v, want only the unit that can be rotated", got)
	}
	if u := f.unit(units[0].ID); u.Rotatable || u.Reason != "backup is off" {
		t.Errorf("unit is %+v", u)
	}
}

func planEmpty(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.drain()
	r, tasks := f.running("quarterly")
	if r.State != keyturn.RotationFailed || r.Reason == "" || r.Reason == "test" || r.FinishedAt == nil || len(tasks) != 0 {
		t.Errorf("rotation is %+v, want failed with the reason", r)
	}
	if got := types(f.drain()); !slices.Equal(got, []string{"rotation.requested", "rotation.completed"}) {
		t.Errorf("announcements are %v", got)
	}
}

func planLost(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	units := makeUnits("om", "p1", 2)
	f.is(f.SavePlan(f.ctx(), r.ID, owner, units), keyturn.ErrConflict)
	f.is(f.FailRotation(f.ctx(), r.ID, owner, "x"), keyturn.ErrConflict)
	f.is(f.PostponeRotation(f.ctx(), r.ID, owner, "x", 0), keyturn.ErrConflict)
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, "other", lease)
	f.ok(err)
	f.is(f.SavePlan(f.ctx(), r.ID, owner, units), keyturn.ErrConflict)
	f.is(f.FailRotation(f.ctx(), r.ID, owner, "x"), keyturn.ErrConflict)
	f.is(f.PostponeRotation(f.ctx(), r.ID, owner, "x", 0), keyturn.ErrConflict)
	if got, _, err := f.Units(f.ctx(), keyturn.UnitFilter{}); err != nil || len(got) != 0 {
		t.Errorf("a refused plan left units %+v (%v)", got, err)
	}
	if tasks := f.tasks(r.ID); len(tasks) != 0 {
		t.Errorf("a refused plan left tasks %+v", tasks)
	}
}

func planLate(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, "slow", lease)
	f.ok(err)
	f.clock.Advance(lease + time.Second)
	_, _, err = f.ClaimRotation(f.ctx(), r.ID, "fast", lease)
	f.ok(err)
	f.is(f.SavePlan(f.ctx(), r.ID, "slow", makeUnits("om", "p1", 5)), keyturn.ErrConflict)
	f.ok(f.SavePlan(f.ctx(), r.ID, "fast", makeUnits("om", "p1", 2)))
	f.is(f.SavePlan(f.ctx(), r.ID, "fast", makeUnits("om", "p1", 2)), keyturn.ErrConflict)
	if tasks := f.tasks(r.ID); len(tasks) != 2 {
		t.Errorf("%d tasks, want the 2 of the planner that held the claim", len(tasks))
	}
}

func planExpiredSaves(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.clock.Advance(time.Hour)
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, makeUnits("om", "p1", 2)))
}

func planKeepsKeys(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, tasks := f.running("quarterly", u)
	f.turn(tasks[0].ID, "a", "b")
	since := f.clock.Now()
	f.clock.Advance(time.Hour)
	f.running("quarterly", u)
	if got := f.unit(u.ID); got.KeyID != "b" || got.KeySince == nil || !got.KeySince.Equal(since) || !got.KeySinceExact {
		t.Errorf("unit is %+v after being planned again", got)
	}
}

func planUpdatesUnits(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	f.running("quarterly", u)
	u.ProjectName, u.ClusterName, u.Name, u.FCV, u.Rotatable, u.Reason = "new-project", "new-cluster", "new-rs", "4.2", false, "FCV 4.2"
	f.running("quarterly", u)
	if got := f.unit(u.ID); got != u {
		t.Errorf("unit is %+v, want %+v", got, u)
	}
}

func planDuplicate(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, tasks := f.running("quarterly", u, u)
	if len(tasks) != 1 {
		t.Errorf("%d tasks for one unit", len(tasks))
	}
}

func planLarge(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", slices.Concat(makeUnits("om", "p1", 1500), makeUnits("om", "p2", 1001))...)
	if len(tasks) != 2501 || f.rotation(r.ID).Counts.Pending != 2501 {
		t.Errorf("%d tasks, counts %+v; want 2501", len(tasks), f.rotation(r.ID).Counts)
	}
}

func planFail(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.ok(f.FailRotation(f.ctx(), r.ID, owner, "no such project"))
	got := f.rotation(r.ID)
	if got.State != keyturn.RotationFailed || got.Reason != "no such project" || got.FinishedAt == nil {
		t.Errorf("rotation is %+v", got)
	}
	if got := types(f.drain()); !slices.Equal(got, []string{"rotation.requested", "rotation.completed"}) {
		t.Errorf("announcements are %v", got)
	}
	f.is(f.FailRotation(f.ctx(), r.ID, owner, "again"), keyturn.ErrConflict)
}

func planPostpone(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.ok(f.PostponeRotation(f.ctx(), r.ID, owner, "target is away", 30*time.Second))
	if got := f.rotation(r.ID); got.State.Final() || got.Reason != "target is away" {
		t.Errorf("rotation is %s because of %q, want open with what it waits for", got.State, got.Reason)
	}
	f.clock.Advance(29 * time.Second)
	waiting, err := f.Unplanned(f.ctx(), 10)
	f.ok(err)
	_, _, claimed := f.ClaimRotation(f.ctx(), r.ID, "other", lease)
	if len(waiting) != 0 {
		t.Errorf("unplanned are %v before the delay is over", waiting)
	}
	f.is(claimed, keyturn.ErrNotFound)
	f.clock.Advance(time.Second)
	waiting, err = f.Unplanned(f.ctx(), 10)
	f.ok(err)
	if !slices.Equal(waiting, []keyturn.ID{r.ID}) {
		t.Errorf("unplanned are %v, want the rotation", waiting)
	}
	got, _, err := f.ClaimRotation(f.ctx(), r.ID, "other", lease)
	f.ok(err)
	f.is(f.SavePlan(f.ctx(), r.ID, owner, nil), keyturn.ErrConflict)
	f.ok(f.SavePlan(f.ctx(), r.ID, "other", makeUnits("om", "p1", 1)))
	if got = f.rotation(got.ID); got.Reason != "test" {
		t.Errorf("reason is %q once it runs, want the one it was asked for", got.Reason)
	}
}

func planAnnounces(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	units := makeUnits("om", "p1", 3)
	units[0].Rotatable, units[2].Rotatable = false, false
	units[0].Reason, units[2].Reason = "off", "off"
	r, _ := f.running("quarterly", units...)
	notes := f.drain()
	if got := types(notes); !slices.Equal(got, []string{"rotation.requested", "rotation.started", "tasks"}) {
		t.Fatalf("announcements are %v", got)
	}
	if notes[1].Rotation != r.ID || len(notes[2].Tasks) != 2 {
		t.Errorf("announcements are %+v", notes)
	}
}
