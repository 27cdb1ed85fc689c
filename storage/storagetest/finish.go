package storagetest

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func finishTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"SucceededRecordsKeyHistory":           finishSucceeded,
		"KnownKeyIsNotObservedAgain":           finishKnownKey,
		"KeyTurnedByOthersIsObservedFirst":     finishForeignKey,
		"FailedOrParkedRecordsTheObservedKey":  finishObserves,
		"PutBackRecordsTheObservedKey":         finishPutBackObserves,
		"WrongEpochOrStateIsRefused":           finishRefuses,
		"ImpossibleResultIsRefused":            finishImpossible,
		"SecondResultOfATaskInABatchIsRefused": finishTwiceInBatch,
		"RepeatedResultIsRefusedAndHarmless":   finishIdempotent,
		"PendingIsPutBackUntilAfter":           finishPutBack,
		"FailedTriesAreCounted":                finishCountsFailures,
		"WhatChangedNothingIsNoAttempt":        finishUncounted,
		"UncountedTwiceInABatchCountsOnce":     finishUncountedTwice,
		"PendingCanBeSkipped":                  finishSkipsPending,
		"IntendedStaysOpen":                    finishStaysIntended,
		"AnnouncesWhatEndedOnce":               finishAnnounces,
		"AnswersInTheOrderOfTheResults":        finishOrder,
		"TextOfOthersNeverFailsABatch":         finishOddText,
	}
}

// finishUncounted: of the attempts, those are not counted that are proven to have changed nothing.
func finishUncounted(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	attempts := func(want int, when string) {
		t.Helper()
		if got := f.detail(id).Attempts; got != want {
			t.Fatalf("%s: %d attempts, want %d", when, got, want)
		}
	}
	r := keyturn.TaskResult{Task: id, From: keyturn.TaskIntended, State: keyturn.TaskPending, Reason: "refused", Uncounted: true}
	r.Epoch = f.mustIntend(id, "a")
	f.mustFinish(r)
	attempts(0, "given back")
	f.mustFinish(keyturn.TaskResult{Task: id, From: keyturn.TaskPending, State: keyturn.TaskPending, Uncounted: true})
	attempts(0, "put back without an intent")

	r = keyturn.TaskResult{Task: id, From: keyturn.TaskIntended, State: keyturn.TaskIntended, Reason: "unknown", Unsent: true, Uncounted: true}
	r.Epoch = f.mustIntend(id, "a")
	f.mustFinish(r)
	attempts(1, "the only attempt of an open intent")
	r.Uncounted = false
	again := func() {
		t.Helper()
		taken, err := f.Take(f.ctx(), id, owner, lease, 0)
		f.ok(err)
		r.Epoch, err = f.Reintend(f.ctx(), id, owner, taken.Epoch, applyFor, lease)
		f.ok(err)
	}
	again()
	f.mustFinish(r)
	attempts(2, "sent again")
	r.Uncounted = true
	again()
	attempts(3, "about to be sent again")
	f.mustFinish(r)
	attempts(2, "the third changed nothing")
	if out, err := f.Finish(f.ctx(), []keyturn.TaskResult{r}); err != nil || !out.Taken[0] {
		t.Fatalf("the same result again: %+v, %v", out, err)
	}
	attempts(2, "the same result again")
	again()
	f.mustFinish(succeeded(id, r.Epoch, "b"))
	attempts(3, "it succeeded")
	f.wantLog(id, "put-back/0/refused", "waits/1/unknown", "sent-again/2/the system still showed key a", "waits/2/unknown",
		"sent-again/3/the system still showed key a", "waits/2/unknown", "waits/2/unknown", "sent-again/3/the system still showed key a")
}

func finishUncountedTwice(t *testing.T, newStore New) {
	f, id := oneTask(t, newStore)
	epoch := f.mustIntend(id, "a")
	r := keyturn.TaskResult{Task: id, From: keyturn.TaskIntended, State: keyturn.TaskIntended, Epoch: epoch, Reason: "unknown", Unsent: true}
	for range 2 { // sent again, and again
		f.mustFinish(r)
		taken, err := f.Take(f.ctx(), id, owner, lease, 0)
		f.ok(err)
		r.Epoch, err = f.Reintend(f.ctx(), id, owner, taken.Epoch, applyFor, lease)
		f.ok(err)
	}
	r.Uncounted = true
	out, err := f.Finish(f.ctx(), []keyturn.TaskResult{r, r})
	f.ok(err)
	if got := f.detail(id).Attempts; got != 2 || !out.Taken[0] || out.Taken[1] {
		t.Errorf("%d attempts, taken %v: want 2, and only the first result", got, out.Taken)
	}
}

func finishSucceeded(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	r, tasks := f.running("quarterly", u)
	f.clock.Advance(time.Second)
	intended := f.clock.Now()
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.clock.Advance(3 * time.Second)
	f.mustFinish(succeeded(tasks[0].ID, epoch, "b"))

	task := f.task(r.ID)
	if task.State != keyturn.TaskSucceeded || task.KeyAfter != "b" || task.KeyBefore != "a" || task.Resolution != keyturn.ResolutionConfirmed {
		t.Errorf("task is %+v", task)
	}
	if task.FinishedAt == nil || !task.FinishedAt.Equal(f.clock.Now()) {
		t.Errorf("finished at %v, want %v", task.FinishedAt, f.clock.Now())
	}
	got := f.unit(u.ID)
	if got.KeyID != "b" || got.KeySince == nil || !got.KeySince.Equal(f.clock.Now()) || !got.KeySinceExact {
		t.Errorf("unit has key %q since %v (exact %v)", got.KeyID, got.KeySince, got.KeySinceExact)
	}

	records := f.history(keyturn.HistoryFilter{Unit: u.ID})
	if len(records) != 2 {
		t.Fatalf("history is %+v, want the observed and the rotated key", records)
	}
	seen, turned := records[0], records[1]
	if seen.Origin != keyturn.OriginObserved || seen.KeyID != "a" || seen.PreviousKeyID != "" || !seen.From.Equal(intended) {
		t.Errorf("observed record is %+v", seen)
	}
	if seen.Until == nil || !seen.Until.Equal(turned.From) {
		t.Errorf("observed key is in use until %v, want %v", seen.Until, turned.From)
	}
	if turned.Origin != keyturn.OriginRotated || turned.KeyID != "b" || turned.PreviousKeyID != "a" ||
		!turned.From.Equal(f.clock.Now()) || turned.Until != nil || turned.Task != task.ID || turned.Rotation != r.ID || turned.Unit != u.ID {
		t.Errorf("rotated record is %+v", turned)
	}
	if seen.Task != task.ID || seen.Rotation != r.ID {
		t.Errorf("observed record does not say which task saw the key: %+v", seen)
	}
}

func finishKnownKey(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	for _, key := range []string{"b", "c", "d"} {
		f.clock.Advance(time.Hour)
		_, tasks := f.running("quarterly", u)
		f.turn(tasks[0].ID, string(key[0]-1), key)
	}
	var keys string
	for _, record := range f.history(keyturn.HistoryFilter{Unit: u.ID}) {
		keys += record.KeyID
	}
	if keys != "abcd" {
		t.Errorf("history has the keys %q, want abcd", keys)
	}
}

func finishForeignKey(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, tasks := f.running("quarterly", u)
	f.turn(tasks[0].ID, "a", "b")
	f.clock.Advance(time.Hour)
	_, tasks = f.running("quarterly", u)
	f.turn(tasks[0].ID, "x", "y")
	records := f.history(keyturn.HistoryFilter{Unit: u.ID})
	if len(records) != 4 {
		t.Fatalf("history is %+v, want a, b, x, y", records)
	}
	if x := records[2]; x.KeyID != "x" || x.PreviousKeyID != "b" || x.Origin != keyturn.OriginObserved {
		t.Errorf("third record is %+v, want x observed after b", x)
	}
	if y := records[3]; y.KeyID != "y" || y.PreviousKeyID != "x" {
		t.Errorf("last record is %+v, want y after x", y)
	}
}

func finishObserves(t *testing.T, newStore New) {
	for _, state := range []keyturn.TaskState{keyturn.TaskFailed, keyturn.TaskParked} {
		f := newFixture(t, newStore)
		f.estate()
		u := makeUnit("om", "p1", 1)
		r, tasks := f.running("quarterly", u)
		epoch := f.mustIntend(tasks[0].ID, "a")
		seen := f.clock.Now()
		f.clock.Advance(time.Second)
		f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: state, Reason: "why"})
		records := f.history(keyturn.HistoryFilter{Unit: u.ID})
		if len(records) != 1 || records[0].KeyID != "a" || records[0].Origin != keyturn.OriginObserved || !records[0].From.Equal(seen) {
			t.Errorf("%s: history is %+v, want a observed at %v", state, records, seen)
		}
		if got := f.unit(u.ID); got.KeyID != "a" || got.KeySince == nil || !got.KeySince.Equal(seen) || got.KeySinceExact {
			t.Errorf("%s: unit has key %q since %v (exact %v)", state, got.KeyID, got.KeySince, got.KeySinceExact)
		}
		if task := f.task(r.ID); task.State != state || task.Reason != "why" || task.FinishedAt == nil {
			t.Errorf("task is %+v", task)
		}
	}
}

func finishPutBackObserves(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, tasks := f.running("quarterly", u)
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskPending})
	f.clock.Advance(time.Minute)
	f.turn(tasks[0].ID, "x", "y") // somebody turned a into x in between
	var keys string
	for _, record := range f.history(keyturn.HistoryFilter{Unit: u.ID}) {
		keys += record.KeyID
	}
	if keys != "axy" {
		t.Errorf("history has the keys %q, want axy: every key that was seen", keys)
	}
}

func finishRefuses(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	id := tasks[0].ID
	if f.finish(succeeded(id, 0, "b")) || f.finish(succeeded(id, 1, "b")) {
		t.Error("a result of an intent was taken from a pending task")
	}
	epoch := f.mustIntend(id, "a")
	for name, result := range map[string]keyturn.TaskResult{
		"older epoch":  succeeded(id, epoch-1, "b"),
		"newer epoch":  succeeded(id, epoch+1, "b"),
		"unknown task": succeeded(keyturn.NewID(f.clock.Now()), epoch, "b"),
		"from pending": {Task: id, From: keyturn.TaskPending, State: keyturn.TaskSkipped, Reason: "late"},
	} {
		if f.finish(result) {
			t.Errorf("%s: result was taken", name)
		}
	}
	if task := f.task(r.ID); task.State != keyturn.TaskIntended {
		t.Errorf("task is %+v after refused results", task)
	}
	if records := f.history(keyturn.HistoryFilter{}); len(records) != 0 {
		t.Errorf("refused results left %+v", records)
	}
}

// A result that the states' table does not allow, or that lacks what the schema asks for, must
// be refused by itself: in a batch it must not take the others down.
func finishImpossible(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 4)...)
	epoch := f.mustIntend(tasks[0].ID, "a")
	e1, e2 := f.mustIntend(tasks[1].ID, "a"), f.mustIntend(tasks[2].ID, "a")
	noKey := succeeded(tasks[1].ID, e1, "")
	ok, err := f.record(f.ctx(), []keyturn.TaskResult{
		noKey,
		{Task: tasks[2].ID, From: keyturn.TaskIntended, Epoch: e2, State: keyturn.TaskSkipped, Reason: "no"},
		{Task: tasks[3].ID, From: keyturn.TaskPending, State: keyturn.TaskSucceeded, Resolution: keyturn.ResolutionConfirmed, KeyAfter: "b"},
		succeeded(tasks[0].ID, epoch, "b"),
	})
	f.ok(err)
	for i, want := range []bool{false, false, false, true} {
		if ok[i] != want {
			t.Errorf("result %d was taken: %v, want %v", i, ok[i], want)
		}
	}
}

func finishTwiceInBatch(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	ok, err := f.record(f.ctx(), []keyturn.TaskResult{succeeded(tasks[0].ID, epoch, "b"), succeeded(tasks[0].ID, epoch, "c")})
	f.ok(err)
	if !ok[0] || ok[1] {
		t.Errorf("answers are %v, want true, false", ok)
	}
	if task := f.task(r.ID); task.KeyAfter != "b" {
		t.Errorf("key after is %q, want b", task.KeyAfter)
	}
}

func finishIdempotent(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.mustFinish(succeeded(tasks[0].ID, epoch, "b"))
	f.drain()
	if f.finish(succeeded(tasks[0].ID, epoch, "b")) {
		t.Error("the same result was taken twice")
	}
	if records := f.history(keyturn.HistoryFilter{}); len(records) != 2 {
		t.Errorf("history is %+v, want 2 records", records)
	}
	if notes := f.drain(); len(notes) != 0 {
		t.Errorf("a refused result announced %+v", notes)
	}
}

func finishPutBack(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	if got := f.feed("om", 10); len(got) != 1 {
		t.Fatalf("fed %d tasks, want 1", len(got))
	}
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskPending, State: keyturn.TaskPending, Reason: "busy", After: time.Minute})
	f.clock.Advance(59 * time.Second)
	if got := f.feed("om", 10); len(got) != 0 {
		t.Errorf("fed %+v before its time", got)
	}
	f.clock.Advance(time.Second)
	if got := f.feed("om", 10); len(got) != 1 {
		t.Errorf("fed %d tasks when it was due, want 1", len(got))
	}
}

func finishCountsFailures(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	for want := range 3 {
		got := f.feed("om", 10)
		if len(got) != 1 || got[0].Failures != want {
			t.Fatalf("fed %+v, want one task with %d failures", got, want)
		}
		f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskPending, State: keyturn.TaskPending, Failed: true})
	}
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskPending})
	if got := f.feed("om", 10); len(got) != 1 || got[0].Failures != 3 {
		t.Errorf("fed %+v, want one task with 3 failures", got)
	}
}

func finishSkipsPending(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskPending, State: keyturn.TaskSkipped, Reason: "already turned"})
	f.mustFinish(keyturn.TaskResult{Task: tasks[1].ID, From: keyturn.TaskPending, State: keyturn.TaskFailed, Reason: "401"})
	if c := f.rotation(r.ID).Counts; c != (keyturn.Counts{Total: 2, Skipped: 1, Failed: 1}) {
		t.Errorf("counts are %+v", c)
	}
	if records := f.history(keyturn.HistoryFilter{}); len(records) != 0 {
		t.Errorf("tasks without intents left %+v", records)
	}
}

func finishStaysIntended(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.feed("om", 10)
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.mustFinish(keyturn.TaskResult{
		Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Reason: "not seen yet", After: 30 * time.Second, Answered: true,
	})
	if got := f.feed("om", 10); len(got) != 0 {
		t.Errorf("fed %+v before its time", got)
	}
	f.clock.Advance(30 * time.Second)
	got := f.feed("om", 10)
	if len(got) != 1 || got[0].State != keyturn.TaskIntended {
		t.Fatalf("fed %+v, want the intended task", got)
	}
	if task := f.task(r.ID); task.State != keyturn.TaskIntended || task.Reason != "not seen yet" {
		t.Errorf("task is %+v", task)
	}
	// Its lease was given back with the result, so it can be taken at once.
	taken, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	if taken.AnsweredFor != 30*time.Second {
		t.Errorf("answered %v ago, want 30s", taken.AnsweredFor)
	}
}

func finishAnnounces(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 4)...)
	e0, e1, e3 := f.mustIntend(tasks[0].ID, "a"), f.mustIntend(tasks[1].ID, "a"), f.mustIntend(tasks[3].ID, "a")
	f.drain()
	_, err := f.record(f.ctx(), []keyturn.TaskResult{
		succeeded(tasks[0].ID, e0, "b"),
		{Task: tasks[1].ID, From: keyturn.TaskIntended, Epoch: e1, State: keyturn.TaskParked, Reason: "unknown"},
		{Task: tasks[2].ID, From: keyturn.TaskPending, State: keyturn.TaskPending},
		{Task: tasks[3].ID, From: keyturn.TaskIntended, Epoch: e3, State: keyturn.TaskPending}, // its key is told when it ends
	})
	f.ok(err)
	notes := f.drain()
	if len(notes) != 1 || notes[0].Type != "tasks" || len(notes[0].Tasks) != 2 {
		t.Fatalf("announcements are %+v, want one with the two tasks that ended", notes)
	}
}

func finishOrder(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	e2 := f.mustIntend(tasks[2].ID, "a")
	ok, err := f.record(f.ctx(), []keyturn.TaskResult{
		succeeded(tasks[2].ID, e2, "b"), succeeded(tasks[1].ID, 1, "b"),
		{Task: tasks[0].ID, From: keyturn.TaskPending, State: keyturn.TaskSkipped, Reason: "no"},
	})
	f.ok(err)
	if !ok[0] || ok[1] || !ok[2] {
		t.Errorf("answers are %v, want true, false, true", ok)
	}
}

// Reasons hold what systems answered, cut somewhere: that must not take a batch down.
func finishOddText(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	e1 := f.mustIntend(tasks[1].ID, "a")
	ok, err := f.record(f.ctx(), []keyturn.TaskResult{
		{Task: tasks[0].ID, From: keyturn.TaskPending, State: keyturn.TaskFailed, Reason: "caf\xc3 \x00 \xff"},
		succeeded(tasks[1].ID, e1, "b"),
	})
	f.ok(err)
	if !ok[0] || !ok[1] {
		t.Errorf("answers are %v, want both taken", ok)
	}
	f.ok(f.Hold(f.ctx(), "om", "caf\xc3 \x00", time.Second))
}
