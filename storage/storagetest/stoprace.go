package storagetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/keyturn/keyturn"
)

func stopRaceTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"RaceOfStopAndIntend": stopRaceIntend,
		"RaceOfStopAndPlan":   stopRacePlan,
		"RaceOfStopAndFinish": stopRaceFinish,
	}
}

// Of a stop and intents that meet, each task goes to one side: skipped, or intended.
func stopRaceIntend(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 200)...)
	granted := make([][]keyturn.TaskResult, 4)
	together(5, func(i int) {
		if i == 4 {
			if _, err := f.StopRotation(f.ctx(), r.ID, "ann", "", true); err != nil {
				t.Error(err)
			}
			return
		}
		for batch := range slices.Chunk(tasks[i*50:(i+1)*50], 10) {
			writes := make([]keyturn.IntentWrite, len(batch))
			for j, task := range batch {
				writes[j] = f.write(task.ID, "a")
			}
			out, err := f.Intend(f.ctx(), writes)
			if err != nil {
				t.Error(err)
				return
			}
			for j, o := range out {
				if o.Verdict == keyturn.VerdictGo {
					granted[i] = append(granted[i], succeeded(writes[j].Task, o.Epoch, "b"))
				}
			}
		}
	})
	results := slices.Concat(granted...)
	ok, err := f.Finish(f.ctx(), results)
	f.ok(err)
	if slices.Contains(ok.Taken, false) {
		t.Error("the result of an intent that got leave was refused")
	}
	end := f.ended()
	want := keyturn.Counts{Total: 200, Succeeded: len(results), Skipped: 200 - len(results)}
	if end.Counts != want || end.State != keyturn.RotationCancelled {
		t.Errorf("ended as %s with %+v, want %+v", end.State, end.Counts, want)
	}
}

func stopRacePlan(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	for i := range 10 {
		r := f.request("quarterly")
		_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
		f.ok(err)
		var saved error
		together(2, func(j int) {
			if j == 0 {
				saved = f.SavePlan(f.ctx(), r.ID, owner, makeUnits("om", fmt.Sprint("p", i), 50))
			} else if _, err := f.StopRotation(f.ctx(), r.ID, "ann", "", true); err != nil {
				t.Error(err)
			}
		})
		want := keyturn.Counts{}
		if saved == nil {
			want = keyturn.Counts{Total: 50, Skipped: 50}
			f.ended()
		} else {
			f.is(saved, keyturn.ErrConflict)
		}
		if got := f.rotation(r.ID); got.State != keyturn.RotationCancelled || got.Counts != want {
			t.Errorf("rotation is %s with %+v, want cancelled with %+v", got.State, got.Counts, want)
		}
	}
}

// A stop that meets results, feeders and the end: the rotation ends once, and nothing stays open.
func stopRaceFinish(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	for i := range 10 {
		r, tasks := f.running("quarterly", makeUnits("om", fmt.Sprint("p", i), 20)...)
		var results []keyturn.TaskResult
		for j, task := range tasks {
			epoch := f.mustIntend(task.ID, "a")
			result := succeeded(task.ID, epoch, "b")
			if j%2 == 0 {
				result = keyturn.TaskResult{Task: task.ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskPending}
			}
			results = append(results, result)
		}
		ended := make([]int, 4)
		together(4, func(j int) {
			var err error
			var done []keyturn.Rotation
			switch j {
			case 0:
				_, err = f.Finish(f.ctx(), results)
			case 1:
				_, err = f.StopRotation(f.ctx(), r.ID, "ann", "", true)
			case 2:
				_, err = f.Feed(f.ctx(), "om", 100)
			default:
				done, err = f.FinishRotations(f.ctx())
				ended[j] = len(done)
			}
			if err != nil {
				t.Error(err)
			}
		})
		done, err := f.FinishRotations(f.ctx())
		f.ok(err)
		got := f.rotation(r.ID)
		if n := ended[3] + len(done); n != 1 || got.State != keyturn.RotationCancelled || got.Counts != (keyturn.Counts{Total: 20, Succeeded: 10, Skipped: 10}) {
			t.Errorf("ended %d times, as %s with %+v", n, got.State, got.Counts)
		}
	}
}
