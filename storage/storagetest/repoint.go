package storagetest

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// A policy is pointed at another target before, or while, its rotation is planned.
func repointTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"WhoBeginsToPlanTakesTheTargetOfThePolicy": repointBefore,
		"TheNextWaveWaitsForItsCanary":             repointWaves,
		"RenewingAClaimKeepsTheTarget":             repointWhile,
		"WhoPlansForAnotherTargetIsRefused":        repointRefused,
	}
}

// repoint points the fixture's policy at another target.
func (f *fixture) repoint(target string) {
	f.t.Helper()
	f.target(target)
	spec := encode(f.t, keyturn.Policy{Target: target})
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: spec, Expect: 1}}))
}

// claimed requests a rotation, points its policy at another target, and claims it.
func (f *fixture) claimed(target string) (keyturn.Rotation, keyturn.Policy) {
	f.t.Helper()
	r := f.request("quarterly")
	f.repoint(target)
	got, policy, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	if got.Target != target || policy.Target != target {
		f.t.Fatalf("claimed for target %s, and the policy's is %s, want %s", got.Target, policy.Target, target)
	}
	return got, policy
}

// overtaken claims a rotation, and points its policy at another target while it is planned.
func (f *fixture) overtaken(target string) (keyturn.Rotation, keyturn.Policy) {
	f.t.Helper()
	r := f.request("quarterly")
	_, policy, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.repoint(target)
	return r, policy
}

func repointBefore(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, policy := f.claimed("om-2")
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, makeUnits(policy.Target, "p1", 2)))
	if old, now := len(f.feed("om", 10)), len(f.feed("om-2", 10)); old != 0 || now != 2 {
		t.Errorf("%d are handed out for the target before, and %d for the one of now", old, now)
	}
	tasks := f.tasks(r.ID)
	f.turn(tasks[0].ID, "a", "b")
	epoch := f.mustIntend(tasks[1].ID, "a")
	f.mustFinish(keyturn.TaskResult{Task: tasks[1].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Reason: "agents restart", After: time.Minute})
	f.policy("other", "om", nil)
	other, others := f.running("other", makeUnit("om", "p9", 1))
	f.turn(others[0].ID, "a", "b")
	if ended := f.ended(); ended.ID != other.ID {
		t.Errorf("rotation %s ended, want only %s: the first one has an open intent", ended.ID, other.ID)
	}
}

func repointWaves(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, policy := f.claimed("om-2")
	units := makeUnits(policy.Target, "p1", 2)
	f.ok(f.SaveRollout(f.ctx(), r.ID, owner, keyturn.RolloutPlan{Canary: 1, Waves: []keyturn.PlannedWave{{Units: units[:1]}, {Units: units[1:]}}}))
	f.feed("om-2", 10)
	canary := f.tasks(r.ID)[0].ID
	epoch := f.mustIntend(canary, "a")
	f.mustFinish(keyturn.TaskResult{Task: canary, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Reason: "outcome unknown", Unsent: true})
	moved, _, err := f.AdvanceRollouts(f.ctx())
	f.ok(err)
	if len(moved) > 0 {
		t.Errorf("wave %v begins, while the canary's outcome is unknown", moved[0].Wave)
	}
}

func repointWhile(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, policy := f.overtaken("om-2")
	f.clock.Advance(lease / 2)
	renewed, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	if renewed.Target != "om" {
		t.Errorf("the rotation is for target %s while its planner asks om", renewed.Target)
	}
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, makeUnits(policy.Target, "p1", 2)))
	f.mustIntend(f.tasks(r.ID)[0].ID, "a")
	f.is(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindTarget, Name: "om", Expect: 1}}), keyturn.ErrConflict)
	if old, now := len(f.feed("om", 10)), len(f.feed("om-2", 10)); old != 1 || now != 0 {
		t.Errorf("%d are handed out for the target of the plan, and %d for the one that the policy has by now", old, now)
	}
}

func repointRefused(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, policy := f.overtaken("om-2")
	f.clock.Advance(lease + time.Second)
	late, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease) // it lost its claim meanwhile
	f.ok(err)
	f.is(f.SavePlan(f.ctx(), r.ID, owner, makeUnits(policy.Target, "p1", 2)), keyturn.ErrConflict)
	f.is(f.SavePart(f.ctx(), r.ID, owner, makeUnits(policy.Target, "p1", 2), 3), keyturn.ErrConflict)
	if got := f.rotation(r.ID); late.Target != "om-2" || got.State != keyturn.RotationPlanning || len(f.tasks(r.ID)) != 0 {
		t.Errorf("the rotation for %s is %s with %d tasks", late.Target, got.State, len(f.tasks(r.ID)))
	}
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, makeUnits("om-2", "p1", 2)))
}
