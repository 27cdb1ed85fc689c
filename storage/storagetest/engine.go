package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func engineTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"SeveralSlotsStartOneRotationEach":     engineSeveral,
		"StartKeepsReasonAndSelection":         engineStart,
		"TellsThatARotationIsUnderWay":         engineUnderWay,
		"ScheduledRotationWaitsForThoseBefore": engineQueue,
		"ManualRotationWaitsForNothing":        engineManual,
		"SupersededUntilStopped":               engineSuperseded,
		"SkippedSlotIsShownWithItsReason":      engineSkipped,
		"SlotThatWaitsForAWindowIsLookedAt":    engineEarly,
		"PolicyWithWindowsIsLookedAtAtOnce":    engineFirstLook,
		"DeadlineIsListedUntilItIsGone":        engineDeadline,
		"PauseEndsByTheDatabasesClock":         enginePauseEnds,
		"SlotAfterThePauseIsNotFiredAsPaused":  enginePauseFirst,
		"PauseWithoutEndEndsByAPerson":         enginePauseByHand,
	}
}

// decideOn makes a decision of one firing.
func decideOn(firing keyturn.Firing) func(keyturn.Due, time.Time) (keyturn.Firing, error) {
	return func(keyturn.Due, time.Time) (keyturn.Firing, error) { return firing, nil }
}

func (f *fixture) fireWith(decide func(keyturn.Due, time.Time) (keyturn.Firing, error)) []keyturn.Rotation {
	f.t.Helper()
	fired, err := f.FireDue(f.ctx(), 100, decide)
	f.ok(err)
	return fired
}

// fireAt makes the policy fire a slot now, with what the start says.
func (f *fixture) fireAt(policy string, start keyturn.Start) keyturn.Rotation {
	f.t.Helper()
	stored := f.resource(keyturn.KindPolicy, policy)
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindPolicy, Name: policy, Spec: stored.Spec, Next: f.slot(0), Expect: stored.Generation},
	}))
	start.Slot = *f.slot(0)
	fired := f.fireWith(decideOn(keyturn.Firing{Start: []keyturn.Start{start}}))
	if len(fired) != 1 {
		f.t.Fatalf("fired %d rotations, want 1", len(fired))
	}
	return fired[0]
}

func (f *fixture) applySchedule(policy string, s keyturn.Schedule, next *keyturn.Slot) {
	f.t.Helper()
	change := keyturn.ResourceChange{
		Kind: keyturn.KindPolicy, Name: policy, Spec: encode(f.t, keyturn.Policy{Target: "om", Schedule: s}), Next: next,
	}
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{change}))
}

func (f *fixture) claim(id keyturn.ID) {
	f.t.Helper()
	_, _, err := f.ClaimRotation(f.ctx(), id, owner, lease)
	f.ok(err)
}

func (f *fixture) unplanned() []keyturn.ID {
	f.t.Helper()
	ids, err := f.Unplanned(f.ctx(), 100)
	f.ok(err)
	return ids
}

func engineSeveral(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(0))
	firing := keyturn.Firing{Start: []keyturn.Start{{Slot: *f.slot(-2 * time.Hour)}, {Slot: *f.slot(-time.Hour)}, {Slot: *f.slot(-time.Hour)}}, Next: f.slot(time.Hour)}
	fired := f.fireWith(decideOn(firing))
	if len(fired) != 2 || fired[0].Slot != f.slot(-2*time.Hour).Name() || fired[1].Slot != f.slot(-time.Hour).Name() {
		t.Fatalf("fired %+v, want one rotation for each of the two slots, the older first", fired)
	}
	if notes := f.drain(); len(requested(notes)) != 2 {
		t.Errorf("announced %+v, want each rotation once", notes)
	}
}

func engineStart(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.rotation(f.fireAt("quarterly", keyturn.Start{Reason: "old keys", Only: keyturn.Selection{Units: []string{"om.p.a"}}}).ID)
	if r.Reason != "old keys" || !slices.Equal(r.Only.Units, []string{"om.p.a"}) || r.Trigger != keyturn.TriggerSchedule {
		t.Errorf("rotation is %+v", r)
	}
}

func engineUnderWay(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("busy", "om", nil)
	f.request("busy")
	f.policy("ended", "om", nil)
	r, tasks := f.running("ended", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, "a", "b")
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if got := f.rotation(r.ID); !got.State.Final() {
		t.Fatalf("rotation is %s", got.State)
	}
	skip := encode(t, keyturn.Policy{Target: "om", Schedule: keyturn.Schedule{Overlap: keyturn.OverlapSkip}})
	for _, name := range []string{"busy", "ended"} {
		f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: name, Spec: skip, Next: f.slot(0), Expect: 1}}))
	}
	asked := map[string]bool{}
	f.fireWith(func(due keyturn.Due, _ time.Time) (keyturn.Firing, error) {
		asked[due.Policy.Name] = due.UnderWay
		return keyturn.Firing{}, nil
	})
	if underWay, ok := asked["busy"]; !ok || !underWay || asked["ended"] || len(asked) != 2 {
		t.Errorf("under way: %v, want busy only", asked)
	}
}

func engineQueue(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	before, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.clock.Advance(time.Second)
	first := f.fireAt("quarterly", keyturn.Start{})
	f.clock.Advance(time.Second)
	second := f.fireAt("quarterly", keyturn.Start{})
	if ids := f.unplanned(); len(ids) != 0 {
		t.Fatalf("%d rotations are to be planned while one before them is under way", len(ids))
	}
	_, _, err := f.ClaimRotation(f.ctx(), first.ID, owner, lease)
	f.is(err, keyturn.ErrNotFound)
	f.turn(tasks[0].ID, "a", "b")
	ended, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if len(ended) != 1 || ended[0].ID != before.ID {
		t.Fatalf("ended %+v", ended)
	}
	if ids := f.unplanned(); !slices.Equal(ids, []keyturn.ID{first.ID}) {
		t.Fatalf("to be planned are %v, want only the next in the queue %s", ids, first.ID)
	}
	_, _, err = f.ClaimRotation(f.ctx(), second.ID, owner, lease)
	f.is(err, keyturn.ErrNotFound)
	f.claim(first.ID)
	f.ok(f.FailRotation(f.ctx(), first.ID, owner, "for the test"))
	f.claim(second.ID)
}

func engineManual(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.running("quarterly", makeUnit("om", "p1", 1))
	f.clock.Advance(time.Second)
	f.claim(f.request("quarterly").ID)
	f.policy("other", "om", nil)
	f.claim(f.fireAt("other", keyturn.Start{}).ID) // another policy's rotations are no reason to wait
}

func engineSuperseded(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	before, _ := f.running("quarterly", makeUnit("om", "p1", 1))
	f.clock.Advance(time.Second)
	after := f.fireAt("quarterly", keyturn.Start{Supersedes: true})
	ids, err := f.Superseded(f.ctx(), 10)
	f.ok(err)
	if !slices.Equal(ids, []keyturn.ID{before.ID}) {
		t.Fatalf("superseded are %v, want %s", ids, before.ID)
	}
	_, err = f.StopRotation(f.ctx(), before.ID, "", "the next slot has come", true)
	f.ok(err)
	if ids, err := f.Superseded(f.ctx(), 10); err != nil || len(ids) != 0 {
		t.Errorf("superseded are %v (%v) after the stop", ids, err)
	}
	_, err = f.FinishRotations(f.ctx())
	f.ok(err)
	f.claim(after.ID)
}

func engineSkipped(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(0))
	f.fireWith(decideOn(keyturn.Firing{Next: f.slot(time.Hour), Skipped: &keyturn.Skipped{Slot: "a slot", Reason: "busy"}}))
	status := f.resource(keyturn.KindPolicy, "quarterly").Status
	if status.SkippedSlot != "a slot" || status.SkippedReason != "busy" || status.SkippedAt == nil || !status.SkippedAt.Equal(f.clock.Now()) {
		t.Fatalf("status is %+v", status)
	}
	f.clock.Advance(time.Hour)
	f.fireWith(decideOn(keyturn.Firing{Next: f.slot(time.Hour)}))
	if status := f.resource(keyturn.KindPolicy, "quarterly").Status; status.SkippedSlot != "a slot" {
		t.Errorf("a slot that fired took the note away: %+v", status)
	}
}

func engineEarly(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(0))
	next := f.slot(3 * time.Hour)
	f.fireWith(decideOn(keyturn.Firing{Next: next, Wake: f.clock.Now().Add(time.Hour)}))
	if in, _, err := f.NextDue(f.ctx()); err != nil || in != time.Hour {
		t.Fatalf("next due in %v (%v), want in an hour", in, err)
	}
	f.clock.Advance(time.Hour)
	f.fireWith(func(due keyturn.Due, now time.Time) (keyturn.Firing, error) {
		if due.Slot.Name() != next.Name() || !due.Slot.At.After(now) {
			t.Errorf("asked about %+v", due.Slot)
		}
		return keyturn.Firing{Next: &due.Slot}, nil
	})
	if in, _, err := f.NextDue(f.ctx()); err != nil || in != 2*time.Hour {
		t.Errorf("next due in %v (%v), want at the slot", in, err)
	}
	f.clock.Advance(2 * time.Hour)
	f.fireWith(func(due keyturn.Due, _ time.Time) (keyturn.Firing, error) {
		return keyturn.Firing{Next: &due.Slot}, nil
	})
	if in, _, err := f.NextDue(f.ctx()); err != nil || in != time.Minute {
		t.Errorf("next due in %v (%v): a slot that has come and stays must be left alone for a minute", in, err)
	}
}

func engineFirstLook(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	next := f.slot(48 * time.Hour)
	f.applySchedule("windows", keyturn.Schedule{Cron: "0 2 * * *", Windows: []keyturn.Window{{Days: []string{"sun"}, From: "22:00", To: "23:00"}}}, next)
	if in, ok, err := f.NextDue(f.ctx()); err != nil || !ok || in > 0 {
		t.Fatalf("next due in %v (%v, %v), want now", in, ok, err)
	}
	status := f.resource(keyturn.KindPolicy, "windows").Status
	if status.NextAt == nil || !status.NextAt.Equal(next.At) {
		t.Errorf("status is %+v", status)
	}
}

func engineDeadline(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(0))
	limit := f.clock.Now().Add(90 * time.Minute)
	f.fireWith(decideOn(keyturn.Firing{Next: f.slot(2 * time.Hour), Deadline: &limit}))
	past, err := f.PastDeadlines(f.ctx())
	f.ok(err)
	if len(past) != 1 || past[0].Policy != "quarterly" || !past[0].At.Equal(limit) || !past[0].NextAt.Equal(f.clock.Now().Add(2*time.Hour)) {
		t.Fatalf("past deadlines are %+v", past)
	}
	f.clock.Advance(2 * time.Hour)
	f.fire(after(time.Hour))
	if past, err := f.PastDeadlines(f.ctx()); err != nil || len(past) != 0 {
		t.Errorf("past deadlines are %+v (%v) after the slot fired", past, err)
	}
}

func enginePauseEnds(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(10*time.Minute))
	until := f.clock.Now().Add(30 * time.Minute)
	f.ok(f.PauseUntil(f.ctx(), "quarterly", "ann", "freeze", until))
	status := f.resource(keyturn.KindPolicy, "quarterly").Status
	if !status.Paused || status.PausedBy != "ann" || status.PauseNote != "freeze" || status.PausedUntil == nil || !status.PausedUntil.Equal(until) {
		t.Fatalf("status is %+v", status)
	}
	resume := func() []string {
		names, err := f.ResumeDue(f.ctx(), 10, func(p keyturn.Policy, ended, now time.Time) (*keyturn.Slot, error) {
			if p.Name != "quarterly" || !ended.Equal(until) || !now.Equal(f.clock.Now()) {
				t.Errorf("asked about %s, %v, %v", p.Name, ended, now)
			}
			return f.slot(time.Hour), nil
		})
		f.ok(err)
		return names
	}
	f.clock.Advance(30*time.Minute - time.Second)
	if names := resume(); len(names) != 0 {
		t.Fatalf("resumed %v before the end", names)
	}
	f.fire(after(30 * time.Minute)) // its slots go by
	if in, _, err := f.NextDue(f.ctx()); err != nil || in != time.Second {
		t.Errorf("next due in %v (%v), want at the end of the pause", in, err)
	}
	f.clock.Advance(time.Second)
	if names := resume(); !slices.Equal(names, []string{"quarterly"}) {
		t.Fatalf("resumed %v", names)
	}
	status = f.resource(keyturn.KindPolicy, "quarterly").Status
	if status.Paused || status.PausedUntil != nil || status.PauseNote != "" || !status.NextAt.Equal(f.clock.Now().Add(time.Hour)) {
		t.Errorf("status is %+v", status)
	}
	if names := resume(); len(names) != 0 {
		t.Errorf("resumed %v a second time", names)
	}
	f.is(f.PauseUntil(f.ctx(), "nobody", "ann", "", until), keyturn.ErrNotFound)
}

func enginePauseFirst(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(time.Hour))
	f.ok(f.PauseUntil(f.ctx(), "quarterly", "ann", "", f.clock.Now().Add(30*time.Minute)))
	f.clock.Advance(2 * time.Hour) // nobody resumed it in time: its slot came after the pause and must fire
	f.fireWith(func(due keyturn.Due, _ time.Time) (keyturn.Firing, error) {
		t.Errorf("asked about policy %s, which is to be resumed first", due.Policy.Name)
		return keyturn.Firing{}, nil
	})
}

func enginePauseByHand(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(time.Hour))
	f.ok(f.PauseUntil(f.ctx(), "quarterly", "ann", "", f.clock.Now().Add(time.Minute)))
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "bob", "longer", nil)) // takes the end away
	f.clock.Advance(time.Hour)
	names, err := f.ResumeDue(f.ctx(), 10, func(keyturn.Policy, time.Time, time.Time) (*keyturn.Slot, error) { return f.slot(time.Hour), nil })
	f.ok(err)
	if status := f.resource(keyturn.KindPolicy, "quarterly").Status; len(names) != 0 || !status.Paused || status.PausedUntil != nil {
		t.Errorf("resumed %v, status %+v", names, status)
	}
}
