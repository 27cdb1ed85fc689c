package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func intendTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"GoMakesTheIntentDurable":           intendGo,
		"AnswersInTheOrderOfTheWrites":      intendOrder,
		"UnknownOrEndedTaskIsDone":          intendDone,
		"OpenIntentIsTaken":                 intendTaken,
		"AnotherUnitThanTheTasksIsRefused":  intendAnotherUnit,
		"OtherRotationsOpenIntentIsBusy":    intendBusy,
		"SecondOfOneUnitInABatchIsBusy":     intendBusyInBatch,
		"NewerKeyIsTurned":                  intendTurned,
		"ObservedKeyDoesNotTurn":            intendObservedKey,
		"PausedPolicyHolds":                 intendPaused,
		"CancelledRotationHolds":            intendCancelled,
		"RefusedWriteChangesNothing":        intendRefusedChangesNothing,
		"EpochGrowsWithEveryIntent":         intendEpochGrows,
		"LargeBatchOfSeveralRotationsGoes":  intendLarge,
		"IntentDataComesBackAsItWasWritten": intendData,
		"NoWritesNoAnswers":                 intendNothing,
		"RemovedPolicyDoesNotHold":          intendRemovedPolicy,
	}
}

func intendGo(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.clock.Advance(time.Second)

	out := f.intend(tasks[0].ID, "key-1")
	if out.Verdict != keyturn.VerdictGo || out.Epoch < 1 {
		t.Fatalf("answer is %+v, want go with an epoch", out)
	}
	got := f.task(r.ID)
	if got.State != keyturn.TaskIntended || got.KeyBefore != "key-1" || got.Attempts != 1 {
		t.Errorf("task is %+v", got)
	}
	if got.StartedAt == nil || !got.StartedAt.Equal(f.clock.Now()) {
		t.Errorf("started at %v, want %v", got.StartedAt, f.clock.Now())
	}
	if got.FinishedAt != nil {
		t.Errorf("an open task finished at %v", got.FinishedAt)
	}
}

func intendOrder(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.turn(tasks[1].ID, "a", "b")

	out, err := f.Intend(f.ctx(), []keyturn.IntentWrite{
		f.write(tasks[2].ID, "k2"), f.write(keyturn.NewID(f.clock.Now()), "none"), f.write(tasks[1].ID, "k1"), f.write(tasks[0].ID, "k0"), f.write(tasks[2].ID, "k2"),
	})
	f.ok(err)
	want := []keyturn.Verdict{keyturn.VerdictGo, keyturn.VerdictDone, keyturn.VerdictDone, keyturn.VerdictGo, keyturn.VerdictTaken}
	for i := range want {
		if out[i].Verdict != want[i] {
			t.Errorf("verdict %d is %q, want %q", i, out[i].Verdict, want[i])
		}
	}
}

// Who asks has the task from a message, which may say anything.
func intendAnotherUnit(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	other, none, right := f.write(tasks[0].ID, "a"), f.write(tasks[1].ID, "a"), f.write(tasks[2].ID, "a")
	other.Unit, none.Unit = tasks[2].Unit, ""
	for i, verdict := range f.intendAll(other, none, right) {
		if want := []keyturn.Verdict{keyturn.VerdictOther, keyturn.VerdictOther, keyturn.VerdictGo}[i]; verdict.Verdict != want {
			t.Errorf("verdict %d is %q, want %q", i, verdict.Verdict, want)
		}
	}
	if out := f.intendAll(other); out[0].Verdict != keyturn.VerdictOther { // by itself, too
		t.Errorf("verdict is %q, want other", out[0].Verdict)
	}
	f.mustIntend(tasks[0].ID, "a")
	f.mustIntend(tasks[1].ID, "a")
}

func intendDone(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, "a", "b")
	for _, id := range []keyturn.ID{tasks[0].ID, keyturn.NewID(f.clock.Now())} {
		if out := f.intend(id, "b"); out.Verdict != keyturn.VerdictDone {
			t.Errorf("verdict is %q, want done", out.Verdict)
		}
	}
}

func intendTaken(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.mustIntend(tasks[0].ID, "a")
	if out := f.intend(tasks[0].ID, "a"); out.Verdict != keyturn.VerdictTaken {
		t.Errorf("verdict is %q while the lease runs, want taken", out.Verdict)
	}
	f.clock.Advance(2 * lease)
	if out := f.intend(tasks[0].ID, "a"); out.Verdict != keyturn.VerdictTaken {
		t.Errorf("verdict is %q after the lease, want taken: an intent is never written over", out.Verdict)
	}
}

func intendBusy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, first := f.running("quarterly", u)
	_, second := f.running("quarterly", u)
	epoch := f.mustIntend(first[0].ID, "a")
	if out := f.intend(second[0].ID, "a"); out.Verdict != keyturn.VerdictBusy {
		t.Fatalf("verdict is %q, want busy", out.Verdict)
	}
	// The first one turns out not to have been sent: the second may go on.
	f.mustFinish(keyturn.TaskResult{Task: first[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskFailed, Reason: "refused"})
	f.mustIntend(second[0].ID, "a")
}

func intendBusyInBatch(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, first := f.running("quarterly", u)
	_, second := f.running("quarterly", u, makeUnit("om", "p1", 2))
	var other keyturn.ID
	for _, task := range second {
		if task.Unit != u.ID {
			other = task.ID
			continue
		}
		second[0] = task
	}
	out, err := f.Intend(f.ctx(), []keyturn.IntentWrite{f.write(second[0].ID, "a"), f.write(first[0].ID, "a"), f.write(other, "b")})
	f.ok(err)
	same := []keyturn.Verdict{out[0].Verdict, out[1].Verdict} // which of the two comes first says nothing
	slices.Sort(same)
	if !slices.Equal(same, []keyturn.Verdict{keyturn.VerdictBusy, keyturn.VerdictGo}) || out[2].Verdict != keyturn.VerdictGo {
		t.Errorf("verdicts are %q, %q, %q; want go and busy in any order, and go", out[0].Verdict, out[1].Verdict, out[2].Verdict)
	}
}

func intendTurned(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, first := f.running("quarterly", u)
	_, second := f.running("quarterly", u)
	f.clock.Advance(time.Minute)
	f.turn(first[0].ID, "a", "b")
	if out := f.intend(second[0].ID, "b"); out.Verdict != keyturn.VerdictTurned {
		t.Errorf("verdict is %q, want turned", out.Verdict)
	}
	f.clock.Advance(time.Minute)
	_, third := f.running("quarterly", u)
	f.mustIntend(third[0].ID, "b")
}

func intendObservedKey(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, first := f.running("quarterly", u)
	_, second := f.running("quarterly", u)
	f.clock.Advance(time.Minute)
	epoch := f.mustIntend(first[0].ID, "a")
	f.mustFinish(keyturn.TaskResult{Task: first[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskParked, Reason: "unknown"})
	f.mustIntend(second[0].ID, "a")
}

func intendPaused(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ann", "maintenance", nil))
	if out := f.intend(tasks[0].ID, "a"); out.Verdict != keyturn.VerdictHeld {
		t.Errorf("verdict is %q, want held", out.Verdict)
	}
	f.ok(f.SetPaused(f.ctx(), "quarterly", false, "ann", "", nil))
	f.mustIntend(tasks[0].ID, "a")
}

func intendCancelled(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.ok(f.Exec(f.ctx(), `UPDATE rotations SET state = 'cancelled', finished_at = requested_at`))
	if out := f.intend(tasks[0].ID, "a"); out.Verdict != keyturn.VerdictHeld {
		t.Errorf("verdict is %q, want held", out.Verdict)
	}
}

func intendRemovedPolicy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: "quarterly", Expect: 1}}))
	f.mustIntend(tasks[0].ID, "a")
}

func intendRefusedChangesNothing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.mustIntend(tasks[0].ID, "a")
	before := f.task(r.ID)
	f.clock.Advance(time.Minute)
	f.intend(tasks[0].ID, "other")
	if after := f.task(r.ID); after.KeyBefore != before.KeyBefore || after.Attempts != before.Attempts || after.State != before.State {
		t.Errorf("task went from %+v to %+v", before, after)
	}
}

func intendEpochGrows(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	first := f.mustIntend(tasks[0].ID, "a")
	started := f.task(r.ID).StartedAt
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: first, State: keyturn.TaskPending, Reason: "not sent"})
	f.clock.Advance(time.Minute)
	second := f.mustIntend(tasks[0].ID, "a")
	if second <= first {
		t.Errorf("epoch went from %d to %d", first, second)
	}
	got := f.task(r.ID)
	if got.Attempts != 2 || !got.StartedAt.Equal(*started) {
		t.Errorf("%d attempts, started at %v; want 2, and the first start %v", got.Attempts, got.StartedAt, started)
	}
}

func intendLarge(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.policy("monthly", "om", nil)
	_, a := f.running("quarterly", makeUnits("om", "p1", 500)...)
	_, b := f.running("monthly", makeUnits("om", "p2", 500)...)
	var writes []keyturn.IntentWrite
	for i := range a {
		writes = append(writes, f.write(b[i].ID, "kb"), f.write(a[len(a)-1-i].ID, "ka"))
	}
	out, err := f.Intend(f.ctx(), writes)
	f.ok(err)
	for i, o := range out {
		if o.Verdict != keyturn.VerdictGo {
			t.Fatalf("verdict %d is %q, want go", i, o.Verdict)
		}
	}
}

func intendData(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	w := f.write(tasks[0].ID, "a")
	w.Intent.Want, w.Intent.Data = "b", []byte(`{"version": "v7",  "at":1}`)
	out, err := f.Intend(f.ctx(), []keyturn.IntentWrite{w})
	f.ok(err)
	if out[0].Verdict != keyturn.VerdictGo {
		t.Fatalf("verdict is %q", out[0].Verdict)
	}
	f.clock.Advance(lease + time.Second)
	taken, err := f.Take(f.ctx(), tasks[0].ID, owner, lease, settle)
	f.ok(err)
	if taken.Intent.Before != "a" || taken.Intent.Want != "b" || string(taken.Intent.Data) != string(w.Intent.Data) {
		t.Errorf("intent came back as %+v (%s)", taken.Intent, taken.Intent.Data)
	}
}

func intendNothing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	out, err := f.Intend(f.ctx(), nil)
	if err != nil || len(out) != 0 {
		t.Errorf("no writes answered %v, %v", out, err)
	}
	ok, err := f.record(f.ctx(), nil)
	if err != nil || len(ok) != 0 {
		t.Errorf("no results answered %v, %v", ok, err)
	}
}
