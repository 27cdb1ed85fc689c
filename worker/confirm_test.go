package worker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// agentSystem is a control plane that takes a change over at once and carries it out later.
type agentSystem struct {
	*fakeSystem
	looks     int
	confirm   func(key string) (keyturn.Sight, error) // nil: what is in use
	exclusive string
	prepares  int
	under     func(unit string) bool // nil: nothing is under way for long
}

func newAgents(b *bundle) *agentSystem {
	s := &agentSystem{fakeSystem: b.system}
	b.one.sys = s
	b.one.target.Timeouts.Complete = keyturn.Duration(complete)
	return s
}

func (s *agentSystem) Prepare(ctx context.Context, unit string, task keyturn.ID) (keyturn.Intent, error) {
	s.mu.Lock()
	s.prepares++
	s.mu.Unlock()
	intent, err := s.fakeSystem.Prepare(ctx, unit, task)
	intent.Exclusive = s.exclusive
	return intent, err
}

func (s *agentSystem) Confirm(_ context.Context, unit string, intent keyturn.Intent) (keyturn.Sight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	key := s.keys[unit]
	if s.confirm != nil {
		return s.confirm(key)
	}
	if s.under != nil && s.under(unit) {
		return keyturn.Sight{Key: key, Progress: keyturn.ProgressUnder}, nil
	}
	if intent.ChangedBy(key) {
		return keyturn.Sight{Key: key, Progress: keyturn.ProgressDone}, nil
	}
	return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone}, nil
}

// agents shows a change as under way from when it was sent on, and turns the key after a while.
func (s *agentSystem) agents(takes time.Duration, answer error) {
	var since time.Time
	s.apply = func(_ string, turn func()) error {
		since = time.Now()
		time.AfterFunc(takes, turn)
		return answer
	}
	s.confirm = func(key string) (keyturn.Sight, error) {
		switch {
		case since.IsZero():
			return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone}, nil
		case key == "key-0":
			return keyturn.Sight{Key: key, Progress: keyturn.ProgressUnder, Note: "2 of 3 members have restarted"}, nil
		default:
			return keyturn.Sight{Key: key, Progress: keyturn.ProgressDone}, nil
		}
	}
}

func TestConfirmer(t *testing.T) {
	t.Parallel()
	run := bundled(t)

	run("WaitsLongerThanVerifyForWhatIsUnderWay", 1, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		s.agents(3*verify, nil)
		defer b.start("w1")()
		r := b.request("a")
		pass(2 * verify)
		if task := b.only(r.ID); task.State != keyturn.TaskIntended || task.Reason != "2 of 3 members have restarted" {
			t.Errorf("waiting task is %+v", task)
		}
		b.await(r.ID, 2*verify)
		if task := b.only(r.ID); task.State != keyturn.TaskSucceeded || task.Resolution != keyturn.ResolutionConfirmed || task.Reason != "" {
			t.Errorf("task %+v", task)
		}
		if s.looks > 25 {
			t.Errorf("looked %d times within %s", s.looks, 3*verify)
		}
		b.checkTruth(1)
	})

	run("WhatWasSeenUnderWayIsNeverSentAgain", 1, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		s.agents(3*verify, errAmbiguous)
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 4*verify)
		if task := b.only(r.ID); task.State != keyturn.TaskSucceeded || task.Attempts != 1 {
			t.Errorf("task %+v", task)
		}
		b.checkTruth(1)
	})

	run("WhatIsNeverCompleteIsParkedWithTheNote", 1, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		s.agents(time.Hour, nil)
		begin := time.Now()
		stop := b.start("w1")
		r := b.await(b.request("a").ID, 2*complete)
		task := b.only(r.ID)
		if task.State != keyturn.TaskParked || !strings.Contains(task.Reason, "2 of 3 members have restarted") || time.Since(begin) < complete {
			t.Errorf("task %+v after %s", task, time.Since(begin))
		}
		stop()
		pass(time.Hour)
	})

	run("WhatDisappearsAfterItWasTakenOverIsParked", 1, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		s.apply = func(string, func()) error { return errAmbiguous }
		s.confirm = func(key string) (keyturn.Sight, error) {
			if s.looks < 3 {
				return keyturn.Sight{Key: key, Progress: keyturn.ProgressUnder}, nil
			}
			return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone}, nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, complete)
		if task := b.only(r.ID); task.State != keyturn.TaskParked || task.Attempts != 1 {
			t.Errorf("task %+v", task)
		}
		if got := b.system.sent[b.system.units[0].ID]; got != 1 {
			t.Errorf("sent %d times, want once", got)
		}
	})

	// script answers each change by its number; nil: it turns the key.
	script := func(s *agentSystem, answers func(n int) *keyturn.SystemError) *int {
		n := 0
		s.apply = func(_ string, turn func()) error {
			n++
			if err := answers(n); err != nil {
				return err
			}
			turn()
			return nil
		}
		return &n
	}
	busy := &keyturn.SystemError{Kind: keyturn.KindTransient, Waits: true, Code: "agents_busy", Err: errors.New("agents are busy")}
	earlier := &keyturn.SystemError{Kind: keyturn.KindAmbiguous, Earlier: true, Code: "agents_busy", Err: errors.New("agents are busy")}

	run("WhatWasGivenBackIsNoAttempt", 1, func(t *testing.T, b *bundle) {
		sent := script(newAgents(b), func(n int) *keyturn.SystemError {
			switch {
			case n <= 7:
				return busy
			case n <= 9:
				return errAmbiguous
			default:
				return nil
			}
		})
		defer b.start("w1")()
		r := b.await(b.request("a").ID, complete)
		if task := b.only(r.ID); task.State != keyturn.TaskSucceeded || task.Attempts != 3 || *sent != 10 {
			t.Errorf("task %+v after %d calls, want 3 attempts: 7 were refused", task, *sent)
		}
		b.checkTruth(1)
	})

	run("AnAttemptThatChangedNothingIsNotCountedUntilComplete", 1, func(t *testing.T, b *bundle) {
		sent := script(newAgents(b), func(n int) *keyturn.SystemError {
			switch n {
			case 1:
				return errAmbiguous
			case 8:
				return nil
			default:
				return earlier
			}
		})
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 2*complete)
		if task := b.only(r.ID); task.State != keyturn.TaskSucceeded || task.Attempts != 2 || *sent != 8 {
			t.Errorf("task %+v after %d calls, want 2 attempts", task, *sent)
		}
		b.checkTruth(1)
	})

	run("AgentsThatAreBusyForEverParkIt", 1, func(t *testing.T, b *bundle) {
		sent := script(newAgents(b), func(n int) *keyturn.SystemError {
			if n == 1 {
				return errAmbiguous
			}
			return earlier
		})
		begin := time.Now()
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 4*complete)
		if task := b.only(r.ID); task.State != keyturn.TaskParked || task.Attempts != 5 || *sent > 20 || time.Since(begin) < complete {
			t.Errorf("task %+v after %s and %d calls", task, time.Since(begin), *sent)
		}
	})

	run("WhatIsTakenBackAgainAndAgainIsParked", 1, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		s.apply = func(string, func()) error { return nil }
		s.confirm = func(key string) (keyturn.Sight, error) {
			return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone, Again: true}, nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, complete)
		if task := b.only(r.ID); task.State != keyturn.TaskParked || task.Attempts != 5 {
			t.Errorf("task %+v", task)
		}
	})

	run("LostRequestIsSentAgainWhenSettled", 1, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		var sent []time.Time
		s.apply = func(_ string, turn func()) error {
			if sent = append(sent, time.Now()); len(sent) == 1 {
				return errAmbiguous
			}
			turn()
			return nil
		}
		defer b.start("w1")()
		b.await(b.request("a").ID, complete)
		if len(sent) != 2 || sent[1].Sub(sent[0]) < settle {
			t.Errorf("sent at %v: want twice, the settle time apart", sent)
		}
		b.checkTruth(1)
	})

	run("PermanentErrorOfTheLookIsParkedWithItsText", 1, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		s.confirm = func(string) (keyturn.Sight, error) {
			return keyturn.Sight{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "agent", Err: errors.New("agent of host-2 says KMIP_KEY_NOT_FOUND")}
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, complete)
		if task := b.only(r.ID); task.State != keyturn.TaskParked || !strings.Contains(task.Reason, "KMIP_KEY_NOT_FOUND") {
			t.Errorf("task %+v", task)
		}
	})

	run("KeyThatIsNotKnownYetIsTheOneBefore", 1, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		s.confirm = func(string) (keyturn.Sight, error) { return keyturn.Sight{Progress: keyturn.ProgressDone}, nil }
		defer b.start("w1")()
		r := b.await(b.request("a").ID, complete)
		if task := b.only(r.ID); task.State != keyturn.TaskSucceeded || task.KeyAfter != "key-0" {
			t.Errorf("task %+v", task)
		}
	})
}

func TestExclusive_OneAtATime(t *testing.T) {
	t.Parallel()
	run := bundled(t)
	// It is seen soon that the agents are through, and the next one follows soon.
	run("TheNextIsNotKeptWaiting", 6, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		s.exclusive = "project p"
		const takes = 70 * time.Second
		sent := map[string]time.Time{}
		s.apply = func(unit string, turn func()) error {
			s.mu.Lock()
			sent[unit] = time.Now()
			s.mu.Unlock()
			time.AfterFunc(takes, turn)
			return nil
		}
		s.confirm = nil
		s.under = func(unit string) bool { return !sent[unit].IsZero() && time.Since(sent[unit]) < takes }
		defer b.start("w1")()
		defer b.start("w2")()
		begin := time.Now()
		b.await(b.request("a").ID, time.Hour)
		took := time.Since(begin)
		if took > 6*takes*13/10 || s.prepares > 500 {
			t.Errorf("took %s, prepared %d times, looked %d times", took, s.prepares, s.looks)
		}
		b.checkTruth(1)
	})
	run("OverAllWorkers", 6, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		s.exclusive = "project p"
		var at []time.Time
		under := 0
		s.apply = func(_ string, turn func()) error {
			s.mu.Lock()
			if under++; under > 1 {
				t.Errorf("%d changes at a time", under)
			}
			at = append(at, time.Now())
			s.mu.Unlock()
			pass(3 * time.Second)
			s.mu.Lock()
			under--
			s.mu.Unlock()
			turn()
			return nil
		}
		defer b.start("w1")()
		defer b.start("w2")()
		r := b.request("a")
		pass(2 * time.Second)
		waiting := 0
		for _, task := range b.tasks(r.ID) {
			if strings.Contains(task.Reason, "project p") && task.State == keyturn.TaskPending {
				waiting++
			}
		}
		if waiting != 5 {
			t.Errorf("%d tasks say what they wait for, want 5: %+v", waiting, b.tasks(r.ID))
		}
		b.await(r.ID, 10*time.Minute)
		if !slices.IsSortedFunc(at, time.Time.Compare) || len(at) != 6 {
			t.Errorf("applied at %v", at)
		}
		b.checkTruth(1)
	})
}
