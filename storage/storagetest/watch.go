package storagetest

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func watchTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"SlotIsMissedAfterItsGrace":         watchMissed,
		"PausedPolicyMissesNothing":         watchMissedPaused,
		"ScheduleThatCantBeReadIsMissed":    watchMissedBroken,
		"RotationIsStuckWhenNothingHappens": watchStuck,
		"UnplannedRotationIsStuck":          watchStuckUnplanned,
		"WhatIsHeldIsNotStuck":              watchHeld,
		"WhatWasHeldHasTimeToGoOn":          watchReleased,
	}
}

const standstill = 15 * time.Minute

func (f *fixture) stuck() []keyturn.StuckRotation {
	f.t.Helper()
	stuck, err := f.StuckRotations(f.ctx(), standstill)
	f.ok(err)
	return stuck
}

func (f *fixture) missed() []keyturn.MissedPolicy {
	f.t.Helper()
	missed, err := f.MissedPolicies(f.ctx(), time.Minute)
	f.ok(err)
	return missed
}

func watchMissed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	slot := f.slot(time.Minute)
	f.policy("quarterly", "om", slot)
	f.policy("later", "om", f.slot(time.Hour))
	f.clock.Advance(2 * time.Minute)
	if missed := f.missed(); len(missed) != 0 {
		t.Fatalf("missed %+v within the grace", missed)
	}
	f.clock.Advance(time.Second)
	missed := f.missed()
	if len(missed) != 1 || missed[0].Policy != "quarterly" || missed[0].Slot != slot.Name() || !missed[0].At.Equal(slot.At) || missed[0].Late != time.Minute+time.Second {
		t.Fatalf("missed %+v", missed)
	}
	f.fire(after(time.Hour))
	if missed := f.missed(); len(missed) != 0 {
		t.Errorf("missed %+v after it fired", missed)
	}
}

func watchMissedPaused(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(0))
	f.policy("until", "om", f.slot(0))
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ann", "", nil))
	f.ok(f.PauseUntil(f.ctx(), "until", "ann", "", f.clock.Now().Add(time.Hour)))
	f.clock.Advance(time.Hour + time.Minute)
	if missed := f.missed(); len(missed) != 0 {
		t.Errorf("missed %+v although paused", missed)
	}
	f.clock.Advance(time.Second)
	if missed := f.missed(); len(missed) != 1 || missed[0].Policy != "until" {
		t.Errorf("missed %+v, want the one whose pause nobody has ended", missed)
	}
}

func watchMissedBroken(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(0))
	f.clock.Advance(time.Hour)
	f.fire(after(-time.Hour)) // a schedule that goes backwards: the policy is left alone
	if missed := f.missed(); len(missed) != 1 {
		t.Errorf("missed %+v, want the policy whose schedule is of no use", missed)
	}
}

func watchStuck(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.clock.Advance(standstill)
	if stuck := f.stuck(); len(stuck) != 0 {
		t.Fatalf("stuck %+v at the end of the time", stuck)
	}
	f.clock.Advance(time.Second)
	stuck := f.stuck()
	if len(stuck) != 1 || stuck[0].Rotation != r.ID || stuck[0].Policy != "quarterly" || stuck[0].Target != "om" ||
		stuck[0].State != keyturn.RotationRunning || stuck[0].Idle != standstill+time.Second {
		t.Fatalf("stuck %+v", stuck)
	}
	epoch := f.mustIntend(tasks[0].ID, "a")
	if stuck := f.stuck(); len(stuck) != 0 {
		t.Errorf("stuck %+v although a task began", stuck)
	}
	f.clock.Advance(standstill)
	f.mustFinish(succeeded(tasks[0].ID, epoch, "b"))
	f.clock.Advance(time.Second)
	if stuck := f.stuck(); len(stuck) != 0 {
		t.Errorf("stuck %+v although a task ended", stuck)
	}
	f.clock.Advance(standstill)
	if stuck := f.stuck(); len(stuck) != 1 || stuck[0].Idle != standstill+time.Second {
		t.Errorf("stuck %+v, want it since the task ended", stuck)
	}
}

func watchStuckUnplanned(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	f.clock.Advance(standstill + time.Second)
	if stuck := f.stuck(); len(stuck) != 1 || stuck[0].Rotation != r.ID || stuck[0].State != keyturn.RotationRequested {
		t.Errorf("stuck %+v, want the rotation that nobody plans", stuck)
	}
}

func watchHeld(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.target("held")
	for _, p := range []string{"paused", "closed", "delayed", "queue"} {
		f.policy(p, "om", nil)
	}
	f.policy("away", "held", nil)
	f.running("away", makeUnit("held", "p1", 1))
	f.ok(f.Hold(f.ctx(), "held", "away", 24*time.Hour))
	f.running("paused", makeUnit("om", "p1", 1))
	f.ok(f.SetPaused(f.ctx(), "paused", true, "ann", "", nil))
	f.fireAt("closed", keyturn.Start{Opening: f.closedFor(24 * time.Hour)})
	delayed := f.fireAt("delayed", keyturn.Start{})
	f.claim(delayed.ID)
	unit := makeUnit("om", "p1", 2)
	unit.Delay = 24 * time.Hour
	f.ok(f.SavePlan(f.ctx(), delayed.ID, owner, []keyturn.Unit{unit}))
	before, _ := f.running("queue", makeUnit("om", "p1", 3))
	f.clock.Advance(time.Second)
	f.fireAt("queue", keyturn.Start{})
	f.clock.Advance(2 * standstill)
	if stuck := f.stuck(); len(stuck) != 1 || stuck[0].Rotation != before.ID {
		t.Errorf("stuck %+v, want only the one that nothing holds", stuck)
	}
}

func watchReleased(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	for _, p := range []string{"paused", "closed", "queue"} {
		f.policy(p, "om", nil)
	}
	f.running("paused", makeUnit("om", "p1", 1))
	f.ok(f.SetPaused(f.ctx(), "paused", true, "ann", "", nil))
	f.fireAt("closed", keyturn.Start{Opening: f.closedFor(time.Hour)})
	_, tasks := f.running("queue", makeUnit("om", "p1", 3))
	f.clock.Advance(time.Second)
	f.fireAt("queue", keyturn.Start{})
	f.clock.Advance(time.Hour)
	f.ok(f.SetPaused(f.ctx(), "paused", false, "ann", "", nil))
	f.look(f.openFor(24 * time.Hour))
	f.turn(tasks[0].ID, "a", "b")
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	f.clock.Advance(standstill - time.Second)
	if stuck := f.stuck(); len(stuck) != 0 {
		t.Fatalf("stuck %+v, which could not go on until now", stuck)
	}
	f.clock.Advance(2 * time.Second)
	if stuck := f.stuck(); len(stuck) != 3 {
		t.Errorf("stuck %+v, want all three", stuck)
	}
}
