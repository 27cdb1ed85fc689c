package storagetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func resumeTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"TurnsOnlyWhatIsMissing":        resumeMissing,
		"TwiceIsOneRetry":               resumeTwice,
		"OfARetryAndOfItsRotationAgree": resumeChain,
		"LeavesParkedOut":               resumeParked,
		"OfAnUnplannedTakesAll":         resumeUnplanned,
		"OfARunningOrWholeIsConflict":   resumeConflicts,
		"IsNotWhatSomethingElseTurned":  resumeTurnedSince,
		"OfThousands":                   resumeMany,
		"BesideARetryOfOneUnit":         resumeBeside,
		"OfARemovedPolicyIsConflict":    resumeNoPolicy,
		"RaceOfTwo":                     resumeRace,
	}
}

func resumeMissing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	unfit := makeUnit("om", "p2", 9)
	unfit.Rotatable, unfit.Reason = false, "backup is off"
	r, tasks := f.running("quarterly", append(makeUnits("om", "p1", 4), unfit)...)
	of := map[string]keyturn.ID{}
	for _, task := range tasks {
		of[task.Unit] = task.ID
	}
	f.turn(of["om.p1.c000"], "a", "b")
	f.fail(of["om.p1.c001"])
	f.cancel(r.ID, "")
	f.ended()
	f.drain()
	out := f.resume(r.ID)
	retry := out.Rotation
	if want := []string{"om.p1.c001", "om.p1.c002", "om.p1.c003"}; !out.Created || out.Parked != 0 ||
		!slices.Equal(slices.Sorted(slices.Values(retry.Only.Units)), want) || !slices.Equal(retry.Only.Projects, []string{"p1"}) {
		t.Errorf("resumed %+v, want units %v", out, want)
	}
	if retry.Trigger != keyturn.TriggerRetry || retry.RetryOf == nil || *retry.RetryOf != r.ID || retry.Policy != "quarterly" ||
		retry.Target != "om" || retry.Reason != "go on" || retry.RequestedBy != "token:ann" || retry.State != keyturn.RotationRequested {
		t.Errorf("retry is %+v", retry)
	}
	if notes := f.drain(); len(notes) != 1 || notes[0].Type != "rotation.requested" || notes[0].Rotation != retry.ID {
		t.Errorf("announced %+v", notes)
	}
	claimed, _, err := f.ClaimRotation(f.ctx(), retry.ID, owner, lease)
	f.ok(err)
	if len(claimed.Only.Units) != 3 || claimed.RetryOf == nil {
		t.Errorf("the planner got %+v", claimed)
	}
	listed, _, err := f.Rotations(f.ctx(), keyturn.RotationFilter{})
	f.ok(err)
	if len(listed[0].Only.Units) != 0 || listed[0].RetryOf == nil {
		t.Errorf("listed %+v: want a retry without its units", listed[0])
	}
}

func resumeTwice(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.fail(tasks[0].ID)
	f.fail(tasks[1].ID)
	f.ended()
	first := f.resume(r.ID)
	again := func(what string) {
		t.Helper()
		if got := f.resume(r.ID); got.Created || got.Rotation.ID != first.Rotation.ID {
			t.Errorf("%s: resumed %+v, want the retry under way", what, got)
		}
	}
	again("requested")
	_, _, err := f.ClaimRotation(f.ctx(), first.Rotation.ID, owner, lease)
	f.ok(err)
	again("planning")
	f.ok(f.SavePart(f.ctx(), first.Rotation.ID, owner, makeUnits("om", "p1", 1), 1))
	again("running, and planned in part")
	f.ok(f.SavePlan(f.ctx(), first.Rotation.ID, owner, makeUnits("om", "p1", 2)))
	again("running")
	retried := f.tasks(first.Rotation.ID)
	f.turn(retried[0].ID, "a", "b")
	f.fail(retried[1].ID)
	f.ended()
	second := f.resume(r.ID)
	if !second.Created || !slices.Equal(second.Rotation.Only.Units, []string{retried[1].Unit}) {
		t.Errorf("resumed %+v, want what the retry left undone: %s", second, retried[1].Unit)
	}
}

func resumeChain(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.fail(tasks[0].ID)
	f.ended()
	one := f.resume(r.ID).Rotation
	_, _, err := f.ClaimRotation(f.ctx(), one.ID, owner, lease)
	f.ok(err)
	f.ok(f.SavePlan(f.ctx(), one.ID, owner, []keyturn.Unit{makeUnit("om", "p1", 1)}))
	f.fail(f.task(one.ID).ID)
	f.ended()
	two := f.resume(one.ID).Rotation
	if two.RetryOf == nil || *two.RetryOf != one.ID {
		t.Errorf("retry is %+v", two)
	}
	if got := f.resume(r.ID); got.Created || got.Rotation.ID != two.ID {
		t.Errorf("resumed %+v, want the retry of the retry", got)
	}
}

func resumeParked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.park(tasks[0].ID)
	f.fail(tasks[1].ID)
	f.ended()
	out := f.resume(r.ID)
	if out.Parked != 1 || !slices.Equal(out.Rotation.Only.Units, []string{tasks[1].Unit}) {
		t.Errorf("resumed %+v, want one unit and one left out", out)
	}
	f.cancel(out.Rotation.ID, "")
	f.mustDecide(tasks[0].ID, keyturn.TaskFailed, "")
	if out = f.resume(r.ID); out.Parked != 0 || len(out.Rotation.Only.Units) != 2 {
		t.Errorf("resumed %+v, want both units: one was resolved, of one the retry was cancelled", out)
	}

	p, tasks := f.running("quarterly", makeUnit("om", "p2", 1))
	f.park(tasks[0].ID)
	f.ended()
	_, err := f.ResumeRotation(f.ctx(), p.ID, "ann", "")
	f.is(err, keyturn.ErrConflict)
	if !strings.Contains(err.Error(), "1 parked") {
		t.Errorf("error is %q, want that it is parked", err)
	}
}

func resumeUnplanned(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	only := keyturn.Selection{Projects: []string{"p*"}}
	r, _, err := f.Request(f.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, Only: only})
	f.ok(err)
	f.cancel(r.ID, "")
	out := f.resume(r.ID)
	if !out.Created || !slices.Equal(out.Rotation.Only.Projects, only.Projects) || len(out.Rotation.Only.Units) != 0 {
		t.Errorf("resumed %+v, want all that was asked for", out)
	}
	if again := f.resume(r.ID); again.Created || again.Rotation.ID != out.Rotation.ID {
		t.Errorf("resumed %+v, want the retry under way", again)
	}
	f.cancel(out.Rotation.ID, "")
	if again := f.resume(r.ID); !again.Created {
		t.Errorf("resumed %+v, want a new one", again)
	}
}

func resumeConflicts(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	_, err := f.ResumeRotation(f.ctx(), r.ID, "ann", "")
	f.is(err, keyturn.ErrConflict)
	f.turn(tasks[0].ID, "a", "b")
	f.ended()
	_, err = f.ResumeRotation(f.ctx(), r.ID, "ann", "")
	f.is(err, keyturn.ErrConflict)
	if !strings.Contains(err.Error(), "nothing is missing") {
		t.Errorf("error is %q", err)
	}
	_, err = f.ResumeRotation(f.ctx(), keyturn.NewID(f.clock.Now()), "ann", "")
	f.is(err, keyturn.ErrNotFound)
}

func resumeTurnedSince(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	r, tasks := f.running("quarterly", u)
	f.fail(tasks[0].ID)
	f.ended()
	f.clock.Advance(time.Hour)
	_, tasks = f.running("quarterly", u)
	f.turn(tasks[0].ID, "a", "b")
	_, err := f.ResumeRotation(f.ctx(), r.ID, "ann", "")
	f.is(err, keyturn.ErrConflict)
}

func resumeMany(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	var units []keyturn.Unit
	for p := range 20 {
		units = append(units, makeUnits("om", fmt.Sprintf("p%03d", p), 250)...)
	}
	r, _ := f.running("quarterly", units...)
	f.cancel(r.ID, "")
	f.ended()
	out := f.resume(r.ID)
	if len(out.Rotation.Only.Units) != 5000 || len(out.Rotation.Only.Projects) != 20 {
		t.Errorf("resumed %d units of %d projects", len(out.Rotation.Only.Units), len(out.Rotation.Only.Projects))
	}
	got, _, err := f.ClaimRotation(f.ctx(), out.Rotation.ID, owner, lease)
	f.ok(err)
	if len(got.Only.Units) != 5000 {
		t.Errorf("the planner got %d units", len(got.Only.Units))
	}
}

// A retry of one unit, which resolving made, does not stand in the way of the others.
func resumeBeside(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.park(tasks[0].ID)
	f.fail(tasks[1].ID)
	f.ended()
	one := f.mustDecide(tasks[0].ID, keyturn.TaskPending, "").Retry
	rest := f.resume(r.ID)
	if !rest.Created || !slices.Equal(rest.Rotation.Only.Units, []string{tasks[1].Unit}) {
		t.Errorf("resumed %+v, want the other unit only", rest)
	}
	if again := f.resume(r.ID); again.Created || again.Rotation.ID != rest.Rotation.ID && again.Rotation.ID != one.ID {
		t.Errorf("resumed %+v, want a retry under way", again)
	}
}

func resumeNoPolicy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.fail(tasks[0].ID)
	f.ended()
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: "quarterly", Expect: 1}}))
	_, err := f.ResumeRotation(f.ctx(), r.ID, "ann", "")
	f.is(err, keyturn.ErrConflict)
}

func resumeRace(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.fail(tasks[0].ID)
	f.ended()
	out := make([]keyturn.Resumed, 6)
	together(6, func(i int) {
		var err error
		if out[i], err = f.ResumeRotation(f.ctx(), r.ID, "ann", ""); err != nil {
			t.Error(err)
		}
	})
	created := 0
	for _, o := range out {
		if o.Rotation.ID != out[0].Rotation.ID {
			t.Errorf("two retries: %s and %s", o.Rotation.ID, out[0].Rotation.ID)
		}
		if o.Created {
			created++
		}
	}
	if created != 1 {
		t.Errorf("%d say that they created it", created)
	}
}
