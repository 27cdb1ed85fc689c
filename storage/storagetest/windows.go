package storagetest

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func windowTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"ClosedRotationIsNotPlanned":         windowUnplanned,
		"WhatHasNotBegunWaits":               windowHolds,
		"WindowThatClosesHoldsByItself":      windowCloses,
		"LookFailsClosedAndComesAgain":       windowBroken,
		"ManualRotationIsNotHeld":            windowManual,
		"ChangedPolicyIsLookedAtAgain":       windowChanged,
		"LookKnowsTheOldestKey":              windowOldest,
		"PolicyIsNotRemovedBehindItsWindows": windowRemoval,
	}
}

// look answers every look with the opening and returns how many there were.
func (f *fixture) look(opening keyturn.Opening) int {
	f.t.Helper()
	n, err := f.LookAtWindows(f.ctx(), 10, func(keyturn.WindowLook, time.Time) (keyturn.Opening, error) { return opening, nil })
	f.ok(err)
	return n
}

// closedFor is an opening that is closed now and looked at after d.
func (f *fixture) closedFor(d time.Duration) keyturn.Opening {
	past, again := time.Unix(1, 0), f.clock.Now().Add(d)
	return keyturn.Opening{Until: &past, LookAt: &again}
}

func (f *fixture) openFor(d time.Duration) keyturn.Opening {
	until := f.clock.Now().Add(d)
	return keyturn.Opening{Until: &until, LookAt: &until}
}

func windowUnplanned(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.fireAt("quarterly", keyturn.Start{Opening: f.closedFor(time.Hour)})
	if ids := f.unplanned(); len(ids) != 0 {
		t.Fatalf("%v is to be planned while its windows are closed", ids)
	}
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.is(err, keyturn.ErrNotFound)
	if got := f.rotation(r.ID); got.State != keyturn.RotationRequested {
		t.Fatalf("rotation is %s", got.State)
	}
	if in, ok, err := f.NextDue(f.ctx()); err != nil || !ok || in != time.Hour {
		t.Errorf("next due in %v (%v, %v), want at the opening", in, ok, err)
	}
	f.clock.Advance(time.Hour)
	if ids := f.unplanned(); len(ids) != 0 {
		t.Errorf("%v is to be planned before anybody has looked", ids)
	}
	if n := f.look(f.openFor(time.Hour)); n != 1 {
		t.Fatalf("looked at %d rotations, want 1", n)
	}
	f.claim(r.ID)
}

// runningSlot plans the rotation of a slot that is open for an hour.
func (f *fixture) runningSlot(units ...keyturn.Unit) (keyturn.Rotation, []keyturn.Task) {
	f.t.Helper()
	r := f.fireAt("quarterly", keyturn.Start{Opening: f.openFor(time.Hour)})
	f.claim(r.ID)
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, units))
	return r, f.tasks(r.ID)
}

func windowHolds(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.runningSlot(makeUnits("om", "p1", 3)...)
	fed := f.feed("om", 1)
	if len(fed) != 1 {
		t.Fatalf("fed %+v, want one", fed)
	}
	begun := f.mustIntend(fed[0].Task, "a")
	f.clock.Advance(time.Hour)
	f.look(f.closedFor(time.Hour))
	if fed := f.feed("om", 10); len(fed) != 0 {
		t.Errorf("fed %+v while closed", fed)
	}
	if targets, err := f.Requeue(f.ctx(), 1000*time.Hour, nil); err != nil || len(targets) != 0 {
		t.Errorf("targets to feed: %v (%v) while closed", targets, err)
	}
	for _, task := range tasks {
		if task.ID == fed[0].Task {
			continue
		}
		if out := f.intend(task.ID, "a"); out.Verdict != keyturn.VerdictHeld {
			t.Errorf("verdict is %q while closed, want held", out.Verdict)
		}
	}
	f.mustFinish(succeeded(fed[0].Task, begun, "b")) // what has begun ends
	f.clock.Advance(time.Hour)
	f.look(f.openFor(time.Hour))
	if fed := f.feed("om", 10); len(fed) != 2 {
		t.Errorf("fed %+v in the next window, want the other two", fed)
	}
}

func windowCloses(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.runningSlot(makeUnits("om", "p1", 2)...)
	f.clock.Advance(time.Hour) // and no scheduler is there to look
	if fed := f.feed("om", 10); len(fed) != 0 {
		t.Errorf("fed %+v after the window's end", fed)
	}
	if out := f.intend(tasks[0].ID, "a"); out.Verdict != keyturn.VerdictHeld {
		t.Errorf("verdict is %q after the window's end", out.Verdict)
	}
}

func windowBroken(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.runningSlot(makeUnits("om", "p1", 2)...)
	f.clock.Advance(time.Hour)
	n, err := f.LookAtWindows(f.ctx(), 10, func(keyturn.WindowLook, time.Time) (keyturn.Opening, error) {
		return keyturn.Opening{}, errors.New("the calendar's file is gone")
	})
	if err != nil || n != 1 {
		t.Fatalf("looked at %d (%v)", n, err)
	}
	if fed := f.feed("om", 10); len(fed) != 0 {
		t.Errorf("fed %+v although nobody knows the windows", fed)
	}
	if in, ok, err := f.NextDue(f.ctx()); err != nil || !ok || in != time.Minute {
		t.Errorf("next due in %v (%v, %v), want in a minute", in, ok, err)
	}
}

func windowManual(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.fireAt("quarterly", keyturn.Start{Opening: f.closedFor(time.Hour)})
	f.running("quarterly", makeUnit("om", "p1", 1))
	if fed := f.feed("om", 10); len(fed) != 1 {
		t.Errorf("fed %+v, want the task of the rotation that was asked for by hand", fed)
	}
}

func windowChanged(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.fireAt("quarterly", keyturn.Start{Opening: f.closedFor(1000 * time.Hour)})
	stored := f.resource(keyturn.KindPolicy, "quarterly")
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: stored.Spec, Expect: stored.Generation},
	}))
	if n := f.look(keyturn.Opening{}); n != 1 {
		t.Fatalf("looked at %d rotations, want 1", n)
	}
	f.claim(r.ID)
	if _, ok, err := f.NextDue(f.ctx()); err != nil || ok {
		t.Errorf("something is due (%v, %v): the windows are gone", ok, err)
	}
}

func windowOldest(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	since := f.clock.Now()
	f.turn(tasks[0].ID, "a", "b")
	f.clock.Advance(time.Minute)
	f.turn(tasks[1].ID, "a", "b")
	second := f.clock.Now()
	_, err := f.StopRotation(f.ctx(), tasks[0].Rotation, "", "for the test", true)
	f.ok(err)
	_, err = f.FinishRotations(f.ctx())
	f.ok(err)
	f.clock.Advance(time.Minute)
	r, tasks := f.runningSlot(makeUnits("om", "p1", 3)...)
	ask := func() (oldest *time.Time) {
		f.clock.Advance(time.Hour)
		n, err := f.LookAtWindows(f.ctx(), 10, func(look keyturn.WindowLook, _ time.Time) (keyturn.Opening, error) {
			if look.Rotation != r.ID || look.Policy.Name != "quarterly" || look.Policy.Target != "om" {
				t.Errorf("asked about %+v", look)
			}
			var err error
			oldest, err = look.OldestKey()
			return f.openFor(time.Hour), err
		})
		if err != nil || n != 1 {
			t.Fatalf("looked at %d (%v)", n, err)
		}
		return oldest
	}
	if got := ask(); got == nil || !got.Equal(since) {
		t.Errorf("oldest key is in use since %v, want %v", got, since)
	}
	for _, task := range tasks {
		if task.Unit == "om.p1.c000" {
			f.turn(task.ID, "b", "c")
		}
	}
	if got := ask(); got == nil || !got.Equal(second) {
		t.Errorf("oldest key of what is left is in use since %v, want %v", got, second)
	}
}

func windowRemoval(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.runningSlot(makeUnits("om", "p1", 1)...)
	stored := f.resource(keyturn.KindPolicy, "quarterly")
	err := f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: "quarterly", Expect: stored.Generation}})
	f.is(err, keyturn.ErrConflict)
}
