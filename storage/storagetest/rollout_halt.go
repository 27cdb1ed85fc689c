package storagetest

import (
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
)

func rolloutCanary(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, waves := f.rollout(func(p *keyturn.RolloutPlan) { p.Canary = 1 }, 2, 3)
	f.wantFed(waves[0]...)
	f.turnAll(waves[0][:1])
	f.mustFinish(failed(waves[0][1].ID))
	f.wantAdvance(0, 1)
	f.wantAdvance(0, 0)
	f.wantFed()
	ended, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if len(ended) != 1 {
		t.Fatalf("%d rotations ended", len(ended))
	}
	got := f.rotation(r.ID)
	if got.State != keyturn.RotationPartial || !got.Halted || got.CancelledAt != nil || got.Counts.Skipped != 3 {
		t.Errorf("rotation is %+v", got)
	}
	for _, part := range []string{"canary", "1 unit", "refused by the system"} {
		if !strings.Contains(got.Reason, part) {
			t.Errorf("reason %q does not say %q", got.Reason, part)
		}
	}
	f.wantWave(r.ID, 1, 2)
}

func rolloutFailures(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	most := 1
	r, waves := f.rollout(func(p *keyturn.RolloutPlan) { p.MaxFailures = &most }, 2, 4, 2)
	f.wantFed(waves[0]...)
	f.turnAll(waves[0][:1])
	f.mustFinish(failed(waves[0][1].ID))
	f.wantAdvance(1, 0) // as many as it may
	f.wantFed(waves[1]...)
	f.turnAll(waves[1][:1])
	f.mustFinish(failed(waves[1][1].ID))
	epoch := f.mustIntend(waves[1][2].ID, "a")
	f.wantAdvance(0, 1) // while the wave is under way
	if out := f.intend(waves[1][3].ID, "a"); out.Verdict == keyturn.VerdictGo {
		t.Error("a halted rotation got leave for another change")
	}
	f.mustFinish(succeeded(waves[1][2].ID, epoch, "b"))
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	got := f.rotation(r.ID)
	if got.State != keyturn.RotationPartial || got.Counts != (keyturn.Counts{Total: 8, Succeeded: 3, Failed: 2, Skipped: 3}) ||
		!strings.Contains(got.Reason, "maxFailures (1)") || !strings.Contains(got.Reason, "2 units") {
		t.Errorf("rotation is %+v", got)
	}
}

func rolloutParked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	most := 0
	r, waves := f.rollout(func(p *keyturn.RolloutPlan) { p.MaxFailures = &most }, 3)
	f.wantFed(waves[0]...)
	epoch := f.mustIntend(waves[0][0].ID, "a")
	f.mustFinish(keyturn.TaskResult{
		Task: waves[0][0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskParked, Reason: "outcome unknown",
	})
	f.wantAdvance(0, 1)
	if got := f.rotation(r.ID); !got.Halted || got.Counts.Parked != 1 || got.Counts.Skipped != 2 {
		t.Errorf("rotation is %+v", got)
	}
}

func rolloutRaceHalt(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, waves := f.rollout(func(p *keyturn.RolloutPlan) { p.Canary = 1 }, 1, 20)
	f.wantFed(waves[0]...)
	f.mustFinish(failed(waves[0][0].ID))
	f.drain()
	halted := make([]int, 4)
	together(4, func(n int) {
		_, h, err := f.AdvanceRollouts(f.ctx())
		if err != nil {
			t.Error(err)
		}
		halted[n] = len(h)
	})
	if sum := halted[0] + halted[1] + halted[2] + halted[3]; sum < 1 {
		t.Error("nobody halted it")
	}
	told := 0
	for _, note := range f.drain() {
		told += len(note.Tasks)
	}
	if told != 20 {
		t.Errorf("%d tasks were announced, want each of the 20 once", told)
	}
}
