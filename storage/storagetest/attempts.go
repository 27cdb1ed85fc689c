package storagetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func attemptTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"CleanSuccessWritesNoLine":         attemptsClean,
		"EachWayBackIsALine":               attemptsWaysBack,
		"TakeOverAndSecondSendAreLines":    attemptsTaken,
		"PersonsDecisionIsALine":           attemptsResolved,
		"RefusedResultWritesNoLine":        attemptsRefused,
		"FirstAndLastLinesAreKept":         attemptsBounded,
		"TakeOversAreBoundedToo":           attemptsTakenBounded,
		"LongOrOddTextFailsNoBatch":        attemptsOddText,
		"LinesOfABatchBelongToTheirTasks":  attemptsBatch,
		"LinesAreNeverChanged":             attemptsAppendOnly,
		"UnknownTaskIsNotFound":            attemptsUnknown,
		"TaskWithoutAnIntentHasNoneToShow": attemptsNoIntent,
	}
}

func (f *fixture) detail(id keyturn.ID) keyturn.TaskDetail {
	f.t.Helper()
	d, err := f.TaskDetail(f.ctx(), id)
	f.ok(err)
	return d
}

// wantLog checks a task's log: "what/attempt/text" each.
func (f *fixture) wantLog(id keyturn.ID, want ...string) {
	f.t.Helper()
	var got []string
	for i, l := range f.detail(id).Log {
		if l.N != i+1 || l.At.IsZero() {
			f.t.Errorf("line %d is %+v", i+1, l)
		}
		got = append(got, fmt.Sprintf("%s/%d/%s", l.What, l.Attempt, l.Text))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		f.t.Errorf("log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// oneTask is a fixture with one pending task.
func oneTask(t *testing.T, newStore New) (*fixture, keyturn.ID) {
	t.Helper()
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	return f, tasks[0].ID
}

func attemptsClean(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	f.clock.Advance(time.Second)
	at := f.clock.Now()
	out, err := f.Intend(f.ctx(), []keyturn.IntentWrite{{
		Task: id, Unit: "om.p1.c001", Owner: owner, Intent: keyturn.Intent{Before: "a", Want: "b", Data: []byte(`{"x": 1}`)}, ApplyFor: applyFor, Lease: lease,
	}})
	f.ok(err)
	f.clock.Advance(time.Second)
	f.mustFinish(succeeded(id, out[0].Epoch, "b"))
	f.wantLog(id)
	d := f.detail(id)
	if d.State != keyturn.TaskSucceeded || d.KeyAfter != "b" || d.ID != id || d.Log == nil {
		t.Errorf("task is %+v", d)
	}
	if i := d.Intent; i == nil || i.Before != "a" || i.Want != "b" || string(i.Data) != `{"x": 1}` || i.Epoch != out[0].Epoch ||
		!i.IntendedAt.Equal(at) || !i.ApplyBy.Equal(at.Add(applyFor)) || i.AnsweredAt != nil {
		t.Errorf("intent is %+v", i)
	}
}

func attemptsWaysBack(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	f.mustFinish(keyturn.TaskResult{Task: id, From: keyturn.TaskPending, State: keyturn.TaskPending}) // nothing to say
	f.mustFinish(keyturn.TaskResult{Task: id, From: keyturn.TaskPending, State: keyturn.TaskPending, Reason: "503"})
	back := keyturn.TaskResult{Task: id, From: keyturn.TaskIntended, State: keyturn.TaskPending, Reason: "429"}
	back.Epoch = f.mustIntend(id, "a")
	f.mustFinish(back)
	back.Epoch, back.State, back.Reason = f.mustIntend(id, "a"), keyturn.TaskIntended, "outcome unknown: EOF"
	f.mustFinish(back)
	inferred := succeeded(id, back.Epoch, "b")
	inferred.Resolution = keyturn.ResolutionInferred
	f.mustFinish(inferred)
	f.wantLog(id, "put-back/0/503", "put-back/1/429", "waits/2/outcome unknown: EOF", "inferred/2/")
}

func attemptsTaken(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	f.mustIntend(id, "a")
	f.clock.Advance(lease + time.Second)
	taken, err := f.Take(f.ctx(), id, "worker-2", lease, settle)
	f.ok(err)
	_, err = f.Reintend(f.ctx(), id, "worker-2", taken.Epoch, applyFor, lease)
	f.ok(err)
	f.clock.Advance(lease + time.Second)
	taken, err = f.Take(f.ctx(), id, "worker-3", lease, settle)
	f.ok(err)
	f.mustFinish(keyturn.TaskResult{Task: id, From: keyturn.TaskIntended, Epoch: taken.Epoch, State: keyturn.TaskIntended})
	taken, err = f.Take(f.ctx(), id, "worker-3", lease, settle) // it was put back: nobody's lease ended
	f.ok(err)
	if _, err := f.Reintend(f.ctx(), id, "worker-2", taken.Epoch, applyFor, lease); err == nil {
		t.Error("a stranger renewed the intent")
	}
	f.mustFinish(keyturn.TaskResult{Task: id, From: keyturn.TaskIntended, Epoch: taken.Epoch, State: keyturn.TaskFailed, Reason: "403"})
	f.wantLog(id, "taken-over/1/the lease of worker-1 had ended", "sent-again/2/the system still showed key a",
		"taken-over/2/the lease of worker-2 had ended", "failed/2/403")
}

func attemptsResolved(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	f.park(id)
	if _, err := f.decide(id, keyturn.TaskSucceeded, "a"); err == nil { // the key from before
		t.Error("an impossible decision was taken")
	}
	f.mustDecide(id, keyturn.TaskPending, "")
	f.park(id)
	f.mustDecide(id, keyturn.TaskSucceeded, "b")
	f.wantLog(id, "parked/1/unknown", "resolved/1/as retry by ann: looked", "parked/2/unknown", "resolved/2/as succeeded by ann: looked")
}

func attemptsRefused(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	epoch := f.mustIntend(id, "a")
	for _, r := range []keyturn.TaskResult{
		{Task: id, From: keyturn.TaskIntended, Epoch: epoch + 1, State: keyturn.TaskPending, Reason: "late"},
		{Task: id, From: keyturn.TaskPending, State: keyturn.TaskPending, Reason: "late"},
		{Task: keyturn.NewID(f.clock.Now()), From: keyturn.TaskPending, State: keyturn.TaskPending, Reason: "unknown"},
	} {
		if f.finish(r) {
			t.Errorf("%+v was taken", r)
		}
	}
	f.wantLog(id)
}

func attemptsBounded(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	const lines = keyturn.TaskLogFirst + keyturn.TaskLogLast + 7
	for i := range lines {
		f.mustFinish(keyturn.TaskResult{Task: id, From: keyturn.TaskPending, State: keyturn.TaskPending, Reason: fmt.Sprint(i + 1)})
	}
	log := f.detail(id).Log
	if len(log) != keyturn.TaskLogFirst+keyturn.TaskLogLast {
		t.Fatalf("%d lines are kept of %d", len(log), lines)
	}
	for i, l := range log {
		want := i + 1
		if i >= keyturn.TaskLogFirst {
			want += lines - keyturn.TaskLogFirst - keyturn.TaskLogLast
		}
		if l.N != want || l.Text != fmt.Sprint(want) {
			t.Errorf("line %d is %+v, want number %d", i, l, want)
		}
	}
}

// attemptsTakenBounded: a task whose workers die again and again writes no result, and its log is bounded all the same.
func attemptsTakenBounded(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	f.mustIntend(id, "a")
	const rounds = keyturn.TaskLogFirst + keyturn.TaskLogLast
	for range rounds {
		f.clock.Advance(lease + time.Second)
		taken, err := f.Take(f.ctx(), id, "worker-2", lease, settle)
		f.ok(err)
		_, err = f.Reintend(f.ctx(), id, "worker-2", taken.Epoch, applyFor, lease)
		f.ok(err)
	}
	log := f.detail(id).Log
	if len(log) != keyturn.TaskLogFirst+keyturn.TaskLogLast || log[0].N != 1 || log[len(log)-1].N != 2*rounds {
		t.Fatalf("%d lines are kept of %d", len(log), 2*rounds)
	}
}

func attemptsOddText(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	f.mustFinish(keyturn.TaskResult{
		Task: id, From: keyturn.TaskPending, State: keyturn.TaskPending, Reason: strings.Repeat("ü", 3*keyturn.TaskLogText),
	})
	log := f.detail(id).Log
	if len(log) != 1 || log[0].Text != strings.Repeat("ü", keyturn.TaskLogText) {
		t.Errorf("log is %d lines", len(log))
	}
}

func attemptsBatch(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	results := make([]keyturn.TaskResult, len(tasks))
	for i, task := range tasks {
		results[i] = keyturn.TaskResult{Task: task.ID, From: keyturn.TaskPending, State: keyturn.TaskPending, Reason: task.Unit}
	}
	results[1].State = keyturn.TaskSkipped // its own row says why
	ok, err := f.record(f.ctx(), results)
	f.ok(err)
	if !ok[0] || !ok[1] || !ok[2] {
		t.Fatalf("answers are %v", ok)
	}
	f.wantLog(tasks[0].ID, "put-back/0/"+tasks[0].Unit)
	f.wantLog(tasks[1].ID)
	f.wantLog(tasks[2].ID, "put-back/0/"+tasks[2].Unit)
}

func attemptsAppendOnly(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	f.fail(id)
	if err := f.Exec(f.ctx(), `UPDATE task_log SET text = 'forged'`); err == nil || !strings.Contains(err.Error(), "append-only") {
		t.Errorf("error is %v, want that it is append-only", err)
	}
	f.wantLog(id, "failed/0/401")
}

func attemptsUnknown(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	_, err := f.TaskDetail(f.ctx(), keyturn.NewID(f.clock.Now()))
	f.is(err, keyturn.ErrNotFound)
}

func attemptsNoIntent(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	if d := f.detail(id); d.Intent != nil || d.State != keyturn.TaskPending {
		t.Errorf("task is %+v", d)
	}
}
