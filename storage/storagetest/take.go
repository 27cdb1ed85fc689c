package storagetest

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func takeTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"TakesAnIntentWhoseLeaseEnded":      takeAfterLease,
		"HeldOrNotIntendedIsNotFound":       takeRefused,
		"FencesTheOwnerBefore":              takeFences,
		"SettlesAfterTheEndOfApplyFor":      takeSettles,
		"UnsentSettlesFromTheResult":        takeUnsent,
		"FirstAnswerCounts":                 takeFirstAnswer,
		"NewIntentForgetsTheAnswerOfTheOld": takeForgetsAnswer,
		"ReintendRenewsForItsOwner":         reintendRenews,
		"ReintendOfOthersIsNotFound":        reintendRefused,
		"WhatWasAcceptedStaysKnown":         reintendAccepted,
		"ADecisionEndsWhatWasAccepted":      reintendDecided,
	}
}

func takeAfterLease(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.clock.Advance(lease + time.Second)
	taken, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	if taken.Epoch <= epoch || taken.Intent.Before != "a" || taken.OpenFor != lease+time.Second || taken.Attempts != 1 || taken.Unit != tasks[0].Unit {
		t.Errorf("took %+v", taken)
	}
	if taken.AnsweredFor >= 0 {
		t.Errorf("answered %v ago, want never (negative)", taken.AnsweredFor)
	}
	f.mustFinish(succeeded(tasks[0].ID, taken.Epoch, "b"))
	if task := f.task(r.ID); task.Attempts != 1 {
		t.Errorf("%d attempts after a take-over, want 1: nothing was sent again", task.Attempts)
	}
}

func takeRefused(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	epoch := f.mustIntend(tasks[0].ID, "a")
	refused := func(id keyturn.ID, why string) {
		t.Helper()
		if _, err := f.Take(f.ctx(), id, "worker-2", lease, settle); err == nil {
			t.Errorf("took a task that %s", why)
		} else {
			f.is(err, keyturn.ErrNotFound)
		}
	}
	refused(tasks[0].ID, "is held")
	refused(tasks[1].ID, "is pending")
	refused(keyturn.NewID(f.clock.Now()), "does not exist")
	f.mustFinish(succeeded(tasks[0].ID, epoch, "b"))
	f.clock.Advance(2 * lease)
	refused(tasks[0].ID, "has ended")
}

func takeFences(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	old := f.mustIntend(tasks[0].ID, "a")
	f.clock.Advance(lease + time.Second)
	taken, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	if f.finish(succeeded(tasks[0].ID, old, "b")) {
		t.Error("the owner before could still record its result")
	}
	f.mustFinish(succeeded(tasks[0].ID, taken.Epoch, "b"))
}

func takeSettles(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.mustIntend(tasks[0].ID, "a")
	f.clock.Advance(lease + time.Second)
	taken, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	if want := applyFor + settle - lease - time.Second; taken.SettledIn != want {
		t.Errorf("settled in %v, want %v", taken.SettledIn, want)
	}
	f.clock.Advance(10 * time.Minute)
	taken, err = f.Take(f.ctx(), tasks[0].ID, "worker-3", lease, settle)
	f.ok(err)
	if want := applyFor + settle - lease - time.Second - 10*time.Minute; taken.SettledIn != want {
		t.Errorf("settled in %v, want %v: a take-over does not start the wait anew", taken.SettledIn, want)
	}
}

func takeUnsent(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.clock.Advance(5 * time.Second)
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Unsent: true})
	f.clock.Advance(7 * time.Second)
	taken, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	if want := settle - 7*time.Second; taken.SettledIn != want {
		t.Errorf("settled in %v, want %v", taken.SettledIn, want)
	}
	// Saying so again later does not make it later: it could not be sent from the first time on.
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: taken.Epoch, State: keyturn.TaskIntended, Unsent: true})
	f.clock.Advance(time.Second)
	taken, err = f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	if want := settle - 8*time.Second; taken.SettledIn != want {
		t.Errorf("settled in %v after a second report, want %v", taken.SettledIn, want)
	}
}

func takeFirstAnswer(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	for range 3 {
		f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Answered: true})
		f.clock.Advance(10 * time.Second)
		taken, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
		f.ok(err)
		epoch = taken.Epoch
	}
	f.clock.Advance(lease + time.Second)
	taken, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	if want := 31*time.Second + lease; taken.AnsweredFor != want {
		t.Errorf("answered %v ago, want %v: the first answer counts", taken.AnsweredFor, want)
	}
}

func takeForgetsAnswer(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Answered: true})
	f.clock.Advance(time.Hour)
	taken, err := f.Take(f.ctx(), tasks[0].ID, owner, lease, settle)
	f.ok(err)
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: taken.Epoch, State: keyturn.TaskPending})
	f.mustIntend(tasks[0].ID, "a")
	f.clock.Advance(lease + time.Second)
	taken, err = f.Take(f.ctx(), tasks[0].ID, owner, lease, settle)
	f.ok(err)
	if taken.AnsweredFor >= 0 || taken.OpenFor != lease+time.Second || taken.Attempts != 2 {
		t.Errorf("took %+v, want a second attempt that was never answered", taken)
	}
}

func reintendRenews(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	r, tasks := f.running("quarterly", u)
	seen := f.clock.Now()
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Answered: true})
	f.clock.Advance(time.Hour)
	taken, err := f.Take(f.ctx(), tasks[0].ID, owner, lease, settle)
	f.ok(err)
	renewed, err := f.Reintend(f.ctx(), tasks[0].ID, owner, taken.Epoch, applyFor, lease)
	f.ok(err)
	if renewed <= taken.Epoch {
		t.Errorf("epoch went from %d to %d", taken.Epoch, renewed)
	}
	if task := f.task(r.ID); task.State != keyturn.TaskIntended || task.Attempts != 2 || task.KeyBefore != "a" || !task.StartedAt.Equal(seen) {
		t.Errorf("task is %+v", task)
	}
	if f.finish(succeeded(tasks[0].ID, taken.Epoch, "b")) {
		t.Error("a result with the epoch before was taken")
	}
	_, err = f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.is(err, keyturn.ErrNotFound)
	f.clock.Advance(lease + time.Second)
	again, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	if want := applyFor + settle - lease - time.Second; again.SettledIn != want || again.AnsweredFor >= 0 || again.Attempts != 2 {
		t.Errorf("took %+v, want a change that was never answered and settles in %v", again, want)
	}
	f.mustFinish(succeeded(tasks[0].ID, again.Epoch, "b"))
	if records := f.history(keyturn.HistoryFilter{Unit: u.ID}); len(records) != 2 || !records[0].From.Equal(seen) {
		t.Errorf("history is %+v, want a observed at %v, then b", records, seen)
	}
}

// reintendAccepted: that the system accepted a change is known for as long as its intent is open.
func reintendAccepted(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	id, epoch := tasks[0].ID, f.mustIntend(tasks[0].ID, "a")
	take := func(accepted, answered bool) {
		t.Helper()
		f.clock.Advance(lease + time.Second)
		taken, err := f.Take(f.ctx(), id, owner, lease, settle)
		f.ok(err)
		if epoch = taken.Epoch; taken.Accepted != accepted || taken.AnsweredFor >= 0 != answered {
			t.Errorf("took %+v, want accepted %v, answered %v", taken, accepted, answered)
		}
	}
	again := func() {
		t.Helper()
		var err error
		epoch, err = f.Reintend(f.ctx(), id, owner, epoch, applyFor, lease)
		f.ok(err)
	}
	wait := func(answered bool) {
		t.Helper()
		f.mustFinish(keyturn.TaskResult{Task: id, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Answered: answered})
	}
	take(false, false)
	again()
	wait(false)
	take(false, false)
	wait(true)
	take(true, true)
	again()
	wait(false)
	take(true, false)
	again()
	take(true, false)
}

// reintendDecided: a person looked and says "again"; nothing was sent yet for the intent that follows.
func reintendDecided(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	id, epoch := tasks[0].ID, f.mustIntend(tasks[0].ID, "a")
	f.mustFinish(keyturn.TaskResult{Task: id, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Answered: true})
	taken, err := f.Take(f.ctx(), id, owner, lease, settle)
	f.ok(err)
	epoch, err = f.Reintend(f.ctx(), id, owner, taken.Epoch, applyFor, lease)
	f.ok(err)
	f.mustFinish(keyturn.TaskResult{Task: id, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskParked, Reason: "it was taken back"})
	_, err = f.ResolveTask(f.ctx(), keyturn.Decision{Task: id, As: keyturn.TaskPending, By: "ann", Reason: "nothing was turned"})
	f.ok(err)
	f.mustIntend(id, "a")
	f.clock.Advance(lease + time.Second)
	if taken, err = f.Take(f.ctx(), id, owner, lease, settle); err != nil || taken.Accepted || taken.AnsweredFor >= 0 {
		t.Errorf("took %+v, %v: nothing of it was accepted", taken, err)
	}
}

func reintendRefused(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	epoch := f.mustIntend(tasks[0].ID, "a")
	refused := func(id keyturn.ID, by string, epoch int64) {
		t.Helper()
		_, err := f.Reintend(f.ctx(), id, by, epoch, applyFor, lease)
		f.is(err, keyturn.ErrNotFound)
	}
	refused(tasks[0].ID, "worker-2", epoch)
	refused(tasks[0].ID, owner, epoch-1)
	refused(tasks[0].ID, owner, epoch+1)
	refused(tasks[1].ID, owner, 0)
	refused(keyturn.NewID(f.clock.Now()), owner, epoch)
	f.clock.Advance(lease + time.Second)
	_, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	refused(tasks[0].ID, owner, epoch)
	for _, task := range f.tasks(r.ID) {
		if task.Attempts > 1 {
			t.Errorf("refused renewals left %+v", task)
		}
	}
}
