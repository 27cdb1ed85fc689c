package storagetest

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func scheduleTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"FiresWhatIsDueAndAdvances":       scheduleFires,
		"TellsNextTheSlotAndTheClock":     scheduleTellsNext,
		"ScheduleThatWasAppliedAnewHolds": scheduleAppliedAnew,
		"PausedPolicyAdvancesSilently":    schedulePaused,
		"SlotThatHasARotationOnlyMovesOn": scheduleSlotTaken,
		"ErrorOfNextStopsOnlyThatPolicy":  scheduleNextFails,
		"SlotThatDoesNotAdvanceIsAnError": scheduleStuck,
		"LimitIsKeptOldestFirst":          scheduleLimit,
		"BatchesFollowUntilNothingIsDue":  scheduleBatches,
		"OneBatchOfDifferentPolicies":     scheduleDifferent,
		"SlotThatIsTakenAmongOthers":      scheduleTakenAmongMany,
		"WhatChangedMeanwhileIsLookedAt":  scheduleChanged,
		"NoMoreSlots":                     scheduleEnds,
		"NextDueIsTheEarliest":            scheduleNextDue,
		"AnnouncesEachNewRotation":        scheduleAnnounces,
		"ManyAreAnnouncedInOrder":         scheduleAnnouncesMany,
	}
}

func noMore(keyturn.Due, time.Time) (*keyturn.Slot, error) { return nil, nil } //nolint:nilnil // no more slots

// fires starts the rotation of the slot that is due, and goes on to the slot of next.
func fires(next func(keyturn.Due, time.Time) (*keyturn.Slot, error)) func(keyturn.Due, time.Time) (keyturn.Firing, error) {
	return func(due keyturn.Due, now time.Time) (keyturn.Firing, error) {
		slot, err := next(due, now)
		return keyturn.Firing{Start: []keyturn.Start{{Slot: due.Slot}}, Next: slot}, err
	}
}

// after returns a next that goes on by d from the slot that was due.
func after(d time.Duration) func(keyturn.Due, time.Time) (*keyturn.Slot, error) {
	return func(due keyturn.Due, _ time.Time) (*keyturn.Slot, error) {
		at := due.Slot.At.Add(d)
		return &keyturn.Slot{Local: at.UTC().Format("2006-01-02T15:04:05"), Timezone: due.Slot.Timezone, At: at}, nil
	}
}

func (f *fixture) fire(next func(keyturn.Due, time.Time) (*keyturn.Slot, error)) []keyturn.Rotation {
	f.t.Helper()
	fired, err := f.FireDue(f.ctx(), 100, fires(next))
	f.ok(err)
	return fired
}

func scheduleFires(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	slot := f.slot(time.Minute)
	f.policy("quarterly", "om", slot)
	f.policy("later", "om", f.slot(time.Hour))
	f.policy("manual", "om", nil)
	if fired := f.fire(after(time.Hour)); len(fired) != 0 {
		t.Fatalf("fired %+v before its time", fired)
	}
	f.clock.Advance(time.Minute)
	fired := f.fire(after(time.Hour))
	if len(fired) != 1 {
		t.Fatalf("fired %d, want 1", len(fired))
	}
	r := f.rotation(fired[0].ID)
	if r.Policy != "quarterly" || r.Target != "om" || r.Trigger != keyturn.TriggerSchedule || r.Slot != slot.Name() ||
		r.State != keyturn.RotationRequested || !r.RequestedAt.Equal(f.clock.Now()) {
		t.Errorf("rotation is %+v", r)
	}
	if fired[0].Slot != r.Slot || fired[0].Policy != r.Policy || fired[0].State != r.State {
		t.Errorf("fired %+v, stored %+v", fired[0], r)
	}
	if fired := f.fire(after(time.Hour)); len(fired) != 0 {
		t.Errorf("fired %+v a second time", fired)
	}
	status := f.resource(keyturn.KindPolicy, "quarterly").Status
	if status.NextAt == nil || !status.NextAt.Equal(slot.At.Add(time.Hour)) {
		t.Errorf("next slot is at %v, want %v", status.NextAt, slot.At.Add(time.Hour))
	}
}

func scheduleTellsNext(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	slot := keyturn.Slot{Local: "2026-03-01T13:01:00", Timezone: "Europe/Berlin", At: f.clock.Now().Add(time.Minute)}
	daily := keyturn.Schedule{Cron: "1 13 * * *", Timezone: "Europe/Berlin"}
	aged := keyturn.Schedule{Cron: "1 13 * * *", Timezone: "Europe/Berlin", MaxAge: keyturn.Duration(day)}
	specs := map[string]keyturn.Policy{
		"plain":     {Target: "om", Schedule: daily},
		"the-same":  {Target: "om", Schedule: daily, Select: keyturn.Selection{Projects: []string{"p1"}}},
		"not-plain": {Target: "om", Schedule: aged, Select: keyturn.Selection{Projects: []string{"p2"}}},
	}
	for name, spec := range specs {
		f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: name, Spec: encode(t, spec), Next: &slot}}))
	}
	f.clock.Advance(5 * time.Minute)
	told := map[string]bool{}
	f.fire(func(due keyturn.Due, now time.Time) (*keyturn.Slot, error) {
		policy := due.Policy
		told[policy.Name] = true
		if due.Slot.Local != slot.Local || due.Slot.Timezone != slot.Timezone || !due.Slot.At.Equal(slot.At) {
			t.Errorf("due slot is %+v, want %+v", due.Slot, slot)
		}
		if !now.Equal(f.clock.Now()) {
			t.Errorf("now is %v, want %v", now, f.clock.Now())
		}
		want := specs[policy.Name]
		if policy.Target != "om" || policy.Paused || !reflect.DeepEqual(policy.Schedule, want.Schedule) {
			t.Errorf("policy is %+v, want %+v", policy, want)
		}
		if !want.Schedule.Plain() && (policy.Generation != 1 || !reflect.DeepEqual(policy.Select, want.Select)) {
			t.Errorf("policy is %+v, want the whole of %+v", policy, want)
		}
		return nil, nil
	})
	if len(told) != len(specs) {
		t.Errorf("next was asked about %v", told)
	}
}

// scheduleAppliedAnew is about schedules that change, also from one that only the time decides about to another.
func scheduleAppliedAnew(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.target("other")
	specs := []keyturn.Policy{
		{Target: "om", Schedule: keyturn.Schedule{Timezone: "UTC", Cron: "@daily"}},
		{Target: "other", Schedule: keyturn.Schedule{Timezone: "UTC", Cron: "@weekly"}},
		{Target: "om", Schedule: keyturn.Schedule{Timezone: "UTC", Cron: "@weekly", Overlap: keyturn.OverlapSkip}},
		{Target: "other", Schedule: keyturn.Schedule{Timezone: "UTC", Cron: "@daily", Jitter: keyturn.Duration(time.Hour), MinInterval: keyturn.Duration(day)}},
		{Target: "om", Schedule: keyturn.Schedule{Timezone: "UTC", Cron: "0 1 " + strings.Repeat("1,", 500) + "1 * *"}}, // a long line
	}
	for i, spec := range specs {
		f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
			{Kind: keyturn.KindPolicy, Name: "changing", Spec: encode(t, spec), Next: f.slot(0), Expect: int64(i)},
		}))
		var told keyturn.Policy
		fired := f.fire(func(due keyturn.Due, _ time.Time) (*keyturn.Slot, error) {
			told = due.Policy
			return f.slot(time.Hour), nil
		})
		if !reflect.DeepEqual(told.Schedule, spec.Schedule) || len(fired) != 1 || fired[0].Target != spec.Target || f.rotation(fired[0].ID).Target != spec.Target {
			t.Errorf("%d: told %+v, fired %+v; want %+v", i, told, fired, spec)
		}
		f.clock.Advance(time.Minute)
	}
}

func schedulePaused(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(0))
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ann", "", nil))
	sawPaused := false
	fired := f.fire(func(due keyturn.Due, now time.Time) (*keyturn.Slot, error) {
		sawPaused = due.Policy.Paused
		return after(time.Hour)(due, now)
	})
	if len(fired) != 0 || !sawPaused {
		t.Errorf("fired %+v; next was told of the pause: %v", fired, sawPaused)
	}
	in, ok, err := f.NextDue(f.ctx())
	f.ok(err)
	if !ok || in != time.Hour {
		t.Errorf("next due in %v (%v), want 1h: it advanced", in, ok)
	}
}

func scheduleSlotTaken(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	slot := f.slot(0)
	f.policy("quarterly", "om", slot)
	_, _, err := f.Request(f.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerSchedule, Slot: slot})
	f.ok(err)
	f.drain()
	f.policy("monthly", "om", slot) // of the same batch
	if fired := f.fire(after(time.Hour)); len(fired) != 1 || fired[0].Policy != "monthly" {
		t.Errorf("fired %+v, want nothing for the slot that has a rotation", fired)
	}
	if notes := f.drain(); len(requested(notes)) != 1 || len(notes) != 1 {
		t.Errorf("announced %+v, want what is new", notes)
	}
	if all, _, err := f.Rotations(f.ctx(), keyturn.RotationFilter{Page: keyturn.Page{Limit: 10}}); err != nil || len(all) != 2 {
		t.Errorf("rotations are %+v, %v; want one for each policy", all, err)
	}
	if in, _, err := f.NextDue(f.ctx()); err != nil || in != time.Hour {
		t.Errorf("next due in %v (%v), want 1h", in, err)
	}
}

func scheduleNextFails(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("bad", "om", f.slot(0))
	f.policy("good", "om", f.slot(0))
	broken := func(due keyturn.Due, now time.Time) (*keyturn.Slot, error) {
		if due.Policy.Name == "bad" {
			return nil, errors.New("no such time zone")
		}
		return after(time.Hour)(due, now)
	}
	if fired := f.fire(broken); len(fired) != 1 || fired[0].Policy != "good" {
		t.Fatalf("fired %+v, want only good", fired)
	}
	if in, ok, err := f.NextDue(f.ctx()); err != nil || !ok || in != time.Minute {
		t.Errorf("next due in %v (%v, %v), want in a minute", in, ok, err)
	}
	f.clock.Advance(59 * time.Second)
	if fired := f.fire(after(time.Hour)); len(fired) != 0 {
		t.Errorf("fired %+v within the minute", fired)
	}
	f.clock.Advance(time.Second)
	if fired := f.fire(after(time.Hour)); len(fired) != 1 || fired[0].Policy != "bad" {
		t.Errorf("fired %+v after the minute, want bad", fired)
	}
}

func scheduleStuck(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(0))
	f.fire(after(0))
	if in, ok, err := f.NextDue(f.ctx()); err != nil || !ok || in != time.Minute {
		t.Errorf("next due in %v (%v, %v): a slot that does not advance must be left alone for a minute", in, ok, err)
	}
}

func scheduleLimit(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("third", "om", f.slot(3*time.Second))
	f.policy("first", "om", f.slot(time.Second))
	f.policy("second", "om", f.slot(2*time.Second))
	f.clock.Advance(time.Minute)
	fired, err := f.FireDue(f.ctx(), 2, fires(noMore))
	f.ok(err)
	var names []string
	for _, r := range fired {
		names = append(names, r.Policy)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"first", "second"}) {
		t.Errorf("fired %v, want first and second", names)
	}
}

func scheduleEnds(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("once", "om", f.slot(0))
	if fired := f.fire(noMore); len(fired) != 1 {
		t.Errorf("fired %d, want 1", len(fired))
	}
	if _, ok, err := f.NextDue(f.ctx()); err != nil || ok {
		t.Errorf("still something due: %v, %v", ok, err)
	}
}

func scheduleNextDue(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	if _, ok, err := f.NextDue(f.ctx()); err != nil || ok {
		t.Errorf("something is due in an empty database: %v, %v", ok, err)
	}
	f.policy("a", "om", f.slot(time.Hour))
	f.policy("b", "om", f.slot(10*time.Minute))
	if in, ok, err := f.NextDue(f.ctx()); err != nil || !ok || in != 10*time.Minute {
		t.Errorf("next due in %v (%v, %v), want 10m", in, ok, err)
	}
	f.clock.Advance(12 * time.Minute)
	if in, ok, err := f.NextDue(f.ctx()); err != nil || !ok || in != -2*time.Minute {
		t.Errorf("next due in %v (%v, %v), want -2m: overdue", in, ok, err)
	}
}
