package storagetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func paceTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"OldUnitsAreThoseOfTheTargetThatTurn":   engineOldUnits,
		"OldUnitsLeavesOutWhatIsParked":         engineOldParked,
		"UnitIsNotTurnedTwiceWithinMinInterval": engineMinIntend,
		"PlanSkipsUnitsWithinMinInterval":       engineMinPlan,
		"KeyThatWasOnlySeenIsNoTurn":            engineMinSeen,
		"DelayedTasksAreHandedOutInTheirTime":   engineDelay,
		"DelayThatHasPassedCostsNothing":        engineDelayPassed,
	}
}

// oldUnits asks, inside a decision about the policy quarterly, for units whose key is older than age.
func (f *fixture) oldUnits(age time.Duration) []string {
	const policy = "quarterly"
	f.t.Helper()
	var names []string
	stored := f.resource(keyturn.KindPolicy, policy)
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindPolicy, Name: policy, Spec: stored.Spec, Next: f.slot(0), Expect: stored.Generation},
	}))
	f.fireWith(func(due keyturn.Due, now time.Time) (keyturn.Firing, error) {
		units, err := due.OldUnits(now.Add(-age))
		for _, u := range units {
			if u.KeySince == nil || u.Target != "om" || !u.Rotatable || u.ProjectName == "" {
				f.t.Errorf("unit %+v", u)
			}
			names = append(names, strings.TrimPrefix(u.ID, "om."))
		}
		return keyturn.Firing{}, err
	})
	return names
}

func engineOldUnits(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.target("om-2")
	f.policy("two", "om-2", nil)
	fixed := makeUnit("om", "p1", 9)
	fixed.Rotatable, fixed.Reason = false, "backup is off"
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1), makeUnit("om", "p1", 2), makeUnit("om", "p1", 3), fixed)
	_, others := f.running("two", makeUnit("om-2", "p1", 1))
	byUnit := map[string]keyturn.ID{}
	for _, task := range tasks {
		byUnit[task.Unit] = task.ID
	}
	f.turn(byUnit["om.p1.c002"], "a", "b")
	f.clock.Advance(time.Hour)
	f.turn(byUnit["om.p1.c001"], "a", "b")
	f.turn(others[0].ID, "a", "b")
	f.clock.Advance(time.Hour)
	if got := f.oldUnits(time.Hour); !slices.Equal(got, []string{"p1.c002", "p1.c001"}) {
		t.Errorf("units with keys of an hour: %v", got)
	}
	if got := f.oldUnits(time.Hour + time.Second); !slices.Equal(got, []string{"p1.c002"}) {
		t.Errorf("units with keys of more than an hour: %v", got)
	}
}

func engineOldParked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, "a", "b")
	f.clock.Advance(time.Hour)
	_, tasks = f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "b")
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskParked, Reason: "unknown"})
	f.clock.Advance(time.Hour)
	if got := f.oldUnits(time.Minute); len(got) != 0 {
		t.Errorf("units %v, of which one waits for a person", got)
	}
	_, tasks = f.running("quarterly", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, "b", "c")
	f.clock.Advance(time.Hour)
	if got := f.oldUnits(time.Minute); len(got) != 1 {
		t.Errorf("units %v: it has a newer key than what was parked", got)
	}
}

func engineMinIntend(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("plain", "om", nil)
	f.applySchedule("strict", keyturn.Schedule{MinInterval: keyturn.Duration(time.Hour)}, nil)
	unit := makeUnit("om", "p1", 1)
	_, strict := f.running("strict", unit) // planned before the unit is turned
	_, plain := f.running("plain", unit)
	f.clock.Advance(time.Second)
	f.turn(plain[0].ID, "a", "b")
	if out := f.intend(strict[0].ID, "b"); out.Verdict != keyturn.VerdictTurned {
		t.Fatalf("verdict is %q, want turned: the key is newer than the request", out.Verdict)
	}
	f.clock.Advance(time.Second)
	f.ok(f.Exec(f.ctx(), `UPDATE unit_keys SET key_exact = false`)) // as when somebody else has turned it since
	if out := f.intend(strict[0].ID, "b"); out.Verdict != keyturn.VerdictSoon {
		t.Fatalf("verdict is %q, want soon", out.Verdict)
	}
	f.clock.Advance(time.Hour - 2*time.Second)
	if out := f.intend(strict[0].ID, "b"); out.Verdict != keyturn.VerdictSoon {
		t.Errorf("verdict is %q a second before the interval has passed", out.Verdict)
	}
	f.clock.Advance(2 * time.Second)
	f.mustIntend(strict[0].ID, "b")
}

func engineMinPlan(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.applySchedule("strict", keyturn.Schedule{MinInterval: keyturn.Duration(time.Hour)}, nil)
	_, tasks := f.running("strict", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, "a", "b")
	f.drain()
	f.clock.Advance(time.Hour - time.Second)
	r, tasks := f.running("strict", makeUnit("om", "p1", 1), makeUnit("om", "p1", 2))
	states := map[string]keyturn.TaskState{}
	for _, task := range tasks {
		states[task.Unit] = task.State
		if task.State == keyturn.TaskSkipped && task.Reason != keyturn.TooSoon {
			t.Errorf("reason is %q", task.Reason)
		}
	}
	if states["om.p1.c001"] != keyturn.TaskSkipped || states["om.p1.c002"] != keyturn.TaskPending {
		t.Fatalf("tasks are %v, want the first one skipped", states)
	}
	if notes := types(f.drain()); !slices.Contains(notes, "tasks") {
		t.Errorf("announced %v: the skipped task is missing", notes)
	}
	if fed := f.feed("om", 10); len(fed) != 1 || fed[0].Rotation != r.ID {
		t.Errorf("fed %+v, want the second unit", fed)
	}
	f.clock.Advance(time.Second)
	if _, tasks := f.running("strict", makeUnit("om", "p1", 1)); tasks[0].State != keyturn.TaskPending {
		t.Errorf("task is %s when the interval has passed", tasks[0].State)
	}
}

func engineMinSeen(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.applySchedule("strict", keyturn.Schedule{MinInterval: keyturn.Duration(time.Hour)}, nil)
	_, tasks := f.running("strict", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskFailed, Reason: "refused"})
	if u := f.unit("om.p1.c001"); u.KeySince == nil {
		t.Fatal("the key was not seen")
	}
	f.clock.Advance(time.Minute)
	_, tasks = f.running("strict", makeUnit("om", "p1", 1))
	f.mustIntend(tasks[0].ID, "a")
}

func engineDelay(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.fireAt("quarterly", keyturn.Start{})
	f.claim(r.ID)
	units := makeUnits("om", "p1", 3)
	units[1].Delay, units[2].Delay = 10*time.Minute, 20*time.Minute
	f.clock.Advance(time.Minute) // planning took a while: delays count from the request
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, units))
	for i, wait := range []time.Duration{0, 9 * time.Minute, 10 * time.Minute} {
		if wait > 0 {
			f.clock.Advance(wait - time.Second)
			if fed := f.feed("om", 10); len(fed) != 0 {
				t.Fatalf("fed %+v before the time of unit %d", fed, i)
			}
			f.clock.Advance(time.Second)
		}
		targets, err := f.Requeue(f.ctx(), 1000*time.Hour, nil)
		f.ok(err)
		fed := f.feed("om", 10)
		if !slices.Equal(targets, []string{"om"}) || len(fed) != 1 || fed[0].Unit != units[i].ID {
			t.Fatalf("unit %d: targets %v, fed %+v", i, targets, fed)
		}
		f.turn(fed[0].Task, "a", "b")
	}
	ended, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if len(ended) != 1 || ended[0].Counts.Succeeded != 3 {
		t.Errorf("ended %+v", ended)
	}
}

func engineDelayPassed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.fireAt("quarterly", keyturn.Start{})
	f.claim(r.ID)
	f.clock.Advance(30 * time.Second)
	unit := makeUnit("om", "p1", 1)
	unit.Delay = 20 * time.Second
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, []keyturn.Unit{unit}))
	if fed := f.feed("om", 10); len(fed) != 1 {
		t.Errorf("fed %+v, want the unit whose time has passed", fed)
	}
}
