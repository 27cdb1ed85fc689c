package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func rolloutTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"HandsOutOnlyTheFirstWave":            rolloutFirst,
		"OpensTheNextWaveWhenAllHaveEnded":    rolloutOpens,
		"AnIntentWithoutOutcomeHoldsTheWave":  rolloutIntent,
		"WaitsThePauseByTheDatabasesClock":    rolloutPause,
		"HaltsWhenTheCanaryIsNotConfirmed":    rolloutCanary,
		"HaltsPastMaxFailuresInTheWave":       rolloutFailures,
		"ParkedCountsAsFailed":                rolloutParked,
		"SkippedCanaryIsFine":                 rolloutSkipped,
		"PutBackWithinTheWaveIsHandedOut":     rolloutPutBack,
		"LostOnesComeBackOnlyUpToTheLimit":    rolloutRequeue,
		"TwoSweepersOpenOneWave":              rolloutRace,
		"TwoSweepersHaltOnce":                 rolloutRaceHalt,
		"NothingIsRolledOutOfWhatWasStopped":  rolloutStopped,
		"NothingRotatableSucceedsAtOnce":      rolloutNothing,
		"LostClaimIsConflict":                 rolloutLost,
		"FailuresAfterTheLastTaskJustEnd":     rolloutLastFails,
		"WithoutItNothingIsLimited":           rolloutNone,
		"TheLastWavesEndIsTheRotationsEnd":    rolloutEnd,
		"EmptyWavesAreLeftOut":                rolloutEmpty,
		"TheFirstFailureHaltsWithZeroAllowed": rolloutZero,
	}
}

// rollout plans a rotation in waves of so many units each, of one project.
func (f *fixture) rollout(edit func(*keyturn.RolloutPlan), sizes ...int) (keyturn.Rotation, [][]keyturn.Task) {
	f.t.Helper()
	r := f.request("quarterly")
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	total := 0
	for _, n := range sizes {
		total += n
	}
	units, plan := makeUnits("om", "p1", total), keyturn.RolloutPlan{}
	left := units
	for _, n := range sizes {
		plan.Waves = append(plan.Waves, keyturn.PlannedWave{Units: left[:n]})
		left = left[n:]
	}
	if edit != nil {
		edit(&plan)
	}
	f.ok(f.SaveRollout(f.ctx(), r.ID, owner, plan))
	byUnit := map[string]keyturn.Task{}
	for _, task := range f.tasks(r.ID) {
		byUnit[task.Unit] = task
	}
	waves := make([][]keyturn.Task, len(sizes))
	for i, n := range sizes {
		for _, u := range units[:n] {
			waves[i] = append(waves[i], byUnit[u.ID])
		}
		units = units[n:]
	}
	return f.rotation(r.ID), waves
}

// advance moves rollouts on and returns how many were moved, and halted.
func (f *fixture) advance() (moved, halted int) {
	f.t.Helper()
	m, h, err := f.AdvanceRollouts(f.ctx())
	f.ok(err)
	return len(m), len(h)
}

func (f *fixture) wantAdvance(moved, halted int) {
	f.t.Helper()
	if m, h := f.advance(); m != moved || h != halted {
		f.t.Fatalf("moved %d and halted %d rollouts, want %d and %d", m, h, moved, halted)
	}
}

func (f *fixture) wantWave(id keyturn.ID, current, total int) {
	f.t.Helper()
	if w := f.rotation(id).Wave; w == nil || w.Current != current || w.Total != total {
		f.t.Fatalf("wave is %+v, want %d of %d", w, current, total)
	}
}

// wantFed fails the test unless exactly these tasks are handed out now.
func (f *fixture) wantFed(tasks ...keyturn.Task) {
	f.t.Helper()
	var got, want []string
	for _, task := range f.feed("om", 1000) {
		got = append(got, task.Unit)
	}
	for _, task := range tasks {
		want = append(want, task.Unit)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.t.Fatalf("handed out %v, want %v", got, want)
	}
}

func (f *fixture) turnAll(tasks []keyturn.Task) {
	f.t.Helper()
	for _, task := range tasks {
		f.turn(task.ID, "a-"+task.Unit, "b-"+task.Unit)
	}
}

func failed(task keyturn.ID) keyturn.TaskResult {
	return keyturn.TaskResult{Task: task, From: keyturn.TaskPending, State: keyturn.TaskFailed, Reason: "refused by the system"}
}

func rolloutFirst(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, waves := f.rollout(nil, 1, 3, 2)
	f.wantWave(r.ID, 1, 3)
	f.wantFed(waves[0]...)
	f.wantFed()
	f.wantAdvance(0, 0)
	if targets, err := f.Requeue(f.ctx(), time.Hour, nil); err != nil || len(targets) != 0 {
		t.Errorf("targets to feed are %v (%v): nothing may be handed out", targets, err)
	}
	if got := f.rotation(r.ID); got.Counts.Total != 6 || got.Counts.Pending != 6 {
		t.Errorf("counts are %+v", got.Counts)
	}
}

func rolloutOpens(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, waves := f.rollout(nil, 2, 3, 1)
	f.wantFed(waves[0]...)
	f.turnAll(waves[0][:1])
	f.wantAdvance(0, 0)
	f.wantFed()
	f.turnAll(waves[0][1:])
	f.wantFed()
	f.wantAdvance(1, 0)
	f.wantWave(r.ID, 2, 3)
	f.wantAdvance(0, 0) // the second has only begun
	if targets, err := f.Requeue(f.ctx(), time.Hour, nil); err != nil || !slices.Equal(targets, []string{"om"}) {
		t.Errorf("targets to feed are %v (%v), want om", targets, err)
	}
	f.wantFed(waves[1]...)
	f.turnAll(waves[1])
	f.wantAdvance(1, 0)
	f.wantWave(r.ID, 3, 3)
	f.wantFed(waves[2]...)
}

func rolloutIntent(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, waves := f.rollout(func(p *keyturn.RolloutPlan) { p.Canary = 1 }, 1, 1)
	f.wantFed(waves[0]...)
	epoch := f.mustIntend(waves[0][0].ID, "a")
	f.wantAdvance(0, 0)
	f.mustFinish(keyturn.TaskResult{
		Task: waves[0][0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Reason: "outcome unknown", After: time.Minute,
	})
	f.wantAdvance(0, 0)
	f.clock.Advance(2 * time.Hour)
	f.wantAdvance(0, 0)
	f.wantFed(waves[0]...)
	f.mustFinish(succeeded(waves[0][0].ID, epoch, "b"))
	f.wantAdvance(1, 0)
}

func rolloutPause(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, waves := f.rollout(func(p *keyturn.RolloutPlan) { p.Waves[1].Pause = keyturn.Duration(5 * time.Minute) }, 1, 1, 1)
	f.wantFed(waves[0]...)
	f.clock.Advance(time.Hour) // the pause counts from the end of the wave
	f.turnAll(waves[0])
	f.wantAdvance(1, 0)
	f.wantWave(r.ID, 1, 3)
	want := f.clock.Now().Add(5 * time.Minute)
	if w := f.rotation(r.ID).Wave; w.NextAt == nil || !w.NextAt.Equal(want) {
		t.Fatalf("wave is %+v, want the next at %s", w, want)
	}
	f.wantFed()
	f.clock.Advance(5*time.Minute - time.Second)
	f.wantAdvance(0, 0)
	f.clock.Advance(time.Second)
	f.wantAdvance(1, 0)
	f.wantWave(r.ID, 2, 3)
	if w := f.rotation(r.ID).Wave; w.NextAt != nil {
		t.Errorf("wave is %+v: it has begun", w)
	}
	f.wantFed(waves[1]...)
	f.turnAll(waves[1])
	f.wantAdvance(1, 0) // no pause before the third
	f.wantWave(r.ID, 3, 3)
}

func rolloutSkipped(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, waves := f.rollout(func(p *keyturn.RolloutPlan) { p.Canary = 1 }, 1, 1)
	f.wantFed(waves[0]...)
	f.mustFinish(keyturn.TaskResult{Task: waves[0][0].ID, From: keyturn.TaskPending, State: keyturn.TaskSkipped, Reason: "already turned"})
	f.wantAdvance(1, 0)
	f.wantWave(r.ID, 2, 2)
}

func rolloutPutBack(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, waves := f.rollout(nil, 2, 2)
	f.wantFed(waves[0]...)
	f.mustFinish(keyturn.TaskResult{Task: waves[0][0].ID, From: keyturn.TaskPending, State: keyturn.TaskPending, After: time.Minute})
	f.turnAll(waves[0][1:])
	f.wantAdvance(0, 0) // one of them still waits
	f.wantFed()
	f.clock.Advance(time.Minute)
	f.wantFed(waves[0][0])
	f.turnAll(waves[0][:1])
	f.wantAdvance(1, 0)
	f.wantFed(waves[1]...)
}

func rolloutRequeue(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, waves := f.rollout(nil, 2, 2)
	f.wantFed(waves[0]...)
	f.clock.Advance(time.Second)
	targets, err := f.Requeue(f.ctx(), 0, nil)
	f.ok(err)
	if !slices.Equal(targets, []string{"om"}) {
		t.Errorf("targets to feed are %v, want om", targets)
	}
	f.wantFed(waves[0]...)
}

func rolloutRace(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, waves := f.rollout(nil, 1, 1, 1, 1, 1, 1)
	for i, wave := range waves[:5] {
		f.wantFed(wave...)
		f.turnAll(wave)
		moved := make([]int, 4)
		together(4, func(n int) {
			m, h, err := f.AdvanceRollouts(f.ctx())
			if err != nil || len(h) > 0 {
				t.Errorf("halted %v, %v", h, err)
			}
			moved[n] = len(m)
		})
		if sum := moved[0] + moved[1] + moved[2] + moved[3]; sum != 1 {
			t.Fatalf("wave %d was opened %d times", i+2, sum)
		}
		f.wantWave(r.ID, i+2, 6)
	}
}

func rolloutStopped(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, waves := f.rollout(nil, 2, 1)
	f.wantFed(waves[0]...)
	epoch := f.mustIntend(waves[0][0].ID, "a")
	_, err := f.StopRotation(f.ctx(), r.ID, "ann", "wrong day", true)
	f.ok(err)
	f.mustFinish(succeeded(waves[0][0].ID, epoch, "b"))
	f.wantAdvance(0, 0)
	f.wantWave(r.ID, 1, 2)
	_, err = f.FinishRotations(f.ctx())
	f.ok(err)
	if got := f.rotation(r.ID); got.State != keyturn.RotationCancelled {
		t.Errorf("rotation is %+v", got)
	}
}

func rolloutNothing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	bad := makeUnit("om", "p1", 1)
	bad.Rotatable, bad.Reason = false, "backup is off"
	r, _ := f.rollout(func(p *keyturn.RolloutPlan) { p.Skipped, p.Canary = []keyturn.Unit{bad}, 1 })
	f.wantAdvance(0, 0)
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if got := f.rotation(r.ID); got.State != keyturn.RotationSucceeded || got.Counts.Skipped != 1 || got.Wave != nil {
		t.Errorf("rotation is %+v", got)
	}
}

func rolloutLost(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	plan := keyturn.RolloutPlan{Waves: []keyturn.PlannedWave{{Units: makeUnits("om", "p1", 2)}}}
	f.is(f.SaveRollout(f.ctx(), r.ID, owner, plan), keyturn.ErrConflict)
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.is(f.SaveRollout(f.ctx(), r.ID, "other", plan), keyturn.ErrConflict)
	if tasks := f.tasks(r.ID); len(tasks) != 0 {
		t.Errorf("%d tasks were left", len(tasks))
	}
	f.ok(f.SaveRollout(f.ctx(), r.ID, owner, plan))
	f.is(f.SaveRollout(f.ctx(), r.ID, owner, plan), keyturn.ErrConflict)
}

func rolloutLastFails(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	most := 0
	r, waves := f.rollout(func(p *keyturn.RolloutPlan) { p.MaxFailures = &most }, 2)
	f.wantFed(waves[0]...)
	f.turnAll(waves[0][:1])
	f.mustFinish(failed(waves[0][1].ID))
	f.wantAdvance(0, 0) // nothing is left that could be stopped
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if got := f.rotation(r.ID); got.State != keyturn.RotationPartial || got.Halted {
		t.Errorf("rotation is %+v", got)
	}
}

func rolloutNone(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 5)...)
	if r.Wave != nil {
		t.Errorf("wave is %+v, want none", r.Wave)
	}
	f.wantFed(tasks...)
	f.mustFinish(failed(tasks[0].ID))
	f.wantAdvance(0, 0)
}

func rolloutEnd(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, waves := f.rollout(nil, 1, 1)
	for _, wave := range waves {
		if ended, err := f.FinishRotations(f.ctx()); err != nil || len(ended) != 0 {
			t.Fatalf("ended %v, %v: it has more waves", ended, err)
		}
		f.wantFed(wave...)
		f.turnAll(wave)
		f.advance()
	}
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if got := f.rotation(r.ID); got.State != keyturn.RotationSucceeded || got.Wave == nil || got.Wave.Current != 2 {
		t.Errorf("rotation is %+v", got)
	}
	f.wantAdvance(0, 0)
}

func rolloutEmpty(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, _ := f.rollout(func(p *keyturn.RolloutPlan) { p.Waves = append(p.Waves, keyturn.PlannedWave{Units: p.Waves[0].Units}) }, 1, 0, 2)
	f.wantWave(r.ID, 1, 2)
	if n := len(f.tasks(r.ID)); n != 3 {
		t.Errorf("%d tasks, want one for each of the 3 units", n)
	}
}

func rolloutZero(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	most := 0
	_, waves := f.rollout(func(p *keyturn.RolloutPlan) { p.MaxFailures = &most }, 1, 1)
	f.wantFed(waves[0]...)
	f.mustFinish(failed(waves[0][0].ID))
	f.wantAdvance(0, 1)
}
