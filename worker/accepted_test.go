package worker_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// What comes of a change that the system accepted and that somebody took back.
func TestAccepted(t *testing.T) {
	t.Parallel()
	run := bundled(t)
	run("WhatSomebodyTookBackIsSentAgainIfItDoesNothingTwice", 2, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		sent := map[string]int{}
		s.apply = func(unit string, turn func()) error {
			s.mu.Lock()
			sent[unit]++
			n := sent[unit]
			s.mu.Unlock()
			if n > 1 {
				turn()
			}
			return nil
		}
		s.confirm = func(key string) (keyturn.Sight, error) {
			if key == "key-0" {
				return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone, Again: true}, nil
			}
			return keyturn.Sight{Key: key, Progress: keyturn.ProgressDone}, nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, complete)
		for _, task := range b.tasks(r.ID) {
			if task.State != keyturn.TaskSucceeded || task.Attempts != 2 {
				t.Errorf("task %+v", task)
			}
		}
		b.checkTruth(1)
	})

	run("WhatSomebodyTookBackIsNotCalledUnchangedWhenItsRotationIsStopped", 1, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		s.apply = func(string, func()) error { return nil }
		stopped := false
		s.confirm = func(key string) (keyturn.Sight, error) {
			return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone, Again: stopped}, nil
		}
		defer b.start("w1")()
		r := b.request("a")
		pass(20 * time.Second) // accepted
		b.cancel(r.ID)
		s.mu.Lock()
		stopped = true
		s.mu.Unlock()
		b.await(r.ID, complete)
		if task := b.only(r.ID); task.State != keyturn.TaskParked || !strings.Contains(task.Reason, "had accepted the change") || task.Attempts != 1 {
			t.Errorf("task %+v", task)
		}
	})

	// What comes of a change that was accepted, taken back by somebody and sent again.
	for name, again := range map[string]*keyturn.SystemError{
		"WithoutAnAnswer": {Kind: keyturn.KindAmbiguous, Code: "reset", Err: errors.New("connection reset")},
		"WhileAgentsWork": {Kind: keyturn.KindTransient, Waits: true, Code: "agents_busy", Err: errors.New("agents are busy")},
	} {
		run("WhatWasAcceptedIsNotForgottenWhenItIsSentAgain"+name, 1, func(t *testing.T, b *bundle) {
			s := newAgents(b)
			sent := 0
			s.apply = func(string, func()) error {
				if sent++; sent > 1 {
					return again
				}
				return nil
			}
			s.confirm = func(key string) (keyturn.Sight, error) {
				return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone, Again: true}, nil
			}
			defer b.start("w1")()
			r := b.request("a")
			pass(20 * time.Second)
			if task := b.only(r.ID); sent < 2 || task.State != keyturn.TaskIntended {
				t.Fatalf("sent %d times: %+v", sent, task)
			}
			b.cancel(r.ID)
			b.await(r.ID, complete)
			if task := b.only(r.ID); task.State != keyturn.TaskParked || !strings.Contains(task.Reason, "had accepted the change") {
				t.Errorf("task %+v", task)
			}
		})
	}

	run("WhatWasAcceptedAndIsRefusedThenIsParked", 1, func(t *testing.T, b *bundle) {
		s := newAgents(b)
		sent := 0
		s.apply = func(string, func()) error {
			if sent++; sent > 1 {
				return &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "http_409", Err: errors.New("409")}
			}
			return nil
		}
		s.confirm = func(key string) (keyturn.Sight, error) {
			return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone, Again: true}, nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, complete)
		if task := b.only(r.ID); task.State != keyturn.TaskParked || !strings.Contains(task.Reason, "had accepted the change before it was taken back, and now: ") {
			t.Errorf("task %+v", task)
		}
	})
}
