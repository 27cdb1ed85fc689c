package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// TestPlaces is about the places at a target, of which there are 8, and the tasks of all messages in hand.
func TestPlaces(t *testing.T) {
	t.Parallel()

	run := bundled(t)

	run("NoneStandsStillWhileResultsAreMadeDurable", 200, func(t *testing.T, b *bundle) {
		var mu sync.Mutex
		var begun []time.Time
		b.system.apply = func(_ string, turn func()) error {
			mu.Lock()
			begun = append(begun, time.Now())
			mu.Unlock()
			pass(100 * time.Millisecond)
			turn()
			return nil
		}
		defer b.startOn("w1", &slowFinish{Store: b.store, delay: 2 * time.Second})()
		b.await(b.request("a").ID, 10*time.Minute)
		b.checkTruth(1)
		early := 0
		for _, at := range begun {
			if at.Sub(begun[0]) < 390*time.Millisecond {
				early++
			}
		}
		if early != 32 {
			t.Errorf("%d changes of 100 ms began in 390 ms, want the 32 of the first 8 messages, in 8 places, though no result is durable yet", early)
		}
	})

	run("OneSlowTaskKeepsNobodyWaiting", 200, func(t *testing.T, b *bundle) {
		slow := b.system.units[0].ID
		var mu sync.Mutex
		last := time.Time{}
		b.system.apply = func(unit string, turn func()) error {
			if unit == slow {
				pass(9 * time.Second)
			} else {
				mu.Lock()
				last = time.Now()
				mu.Unlock()
			}
			turn()
			return nil
		}
		store := &anewStore{Store: b.store}
		defer b.startOn("w1", store)()
		begin := time.Now()
		b.await(b.request("a").ID, time.Minute)
		b.checkTruth(1)
		if waited := last.Sub(begin); waited > 5*time.Second || store.anew.Load() > 0 {
			t.Errorf("the last of 199 quick tasks began after %s, and %d were handed out anew", waited, store.anew.Load())
		}
	})

	run("WhatWaitsForTooLongIsHandedOutAnew", 200, func(t *testing.T, b *bundle) {
		var begun atomic.Int64
		b.system.apply = func(_ string, turn func()) error {
			if begun.Add(1) <= 8 {
				pass(9 * time.Second)
			}
			turn()
			return nil
		}
		store := &anewStore{Store: b.store}
		defer b.startOn("w1", store)()
		b.await(b.request("a").ID, time.Minute)
		b.checkTruth(1)
		// Of the first eight messages with four tasks each, two are at the slow ones. Of the other six the first task does not go back.
		if n := store.anew.Load(); n != 18 || b.system.prepares > 208 {
			t.Errorf("%d tasks were handed out anew, and the key was asked for %d times: want 18, before they began", n, b.system.prepares)
		}
	})

	// Each looks, at each acknowledgement, whether the tasks of the message have ended in the database.
	acks := func(name string, test func(b *bundle) worker.Store) {
		run(name, 200, func(t *testing.T, b *bundle) {
			b.system.apply = func(_ string, turn func()) error { pass(20 * time.Millisecond); turn(); return nil }
			q := &ackedQueue{memoryQueue: b.queue, b: b}
			defer b.startWith("w1", test(b), q)()
			id := b.request("a").ID
			pass(25 * time.Second) // nothing was delivered again or handed out again yet
			if q.bad.Load() > 0 || q.acks.Load() == 0 {
				t.Errorf("%d tasks of %d acknowledged messages had not ended", q.bad.Load(), q.acks.Load())
			}
			b.await(id, 20*time.Minute)
			b.checkTruth(1)
		})
	}
	acks("NoMessageEndsBeforeItsResultsAreDurable", func(b *bundle) worker.Store {
		return &slowFinish{Store: b.store, delay: 200 * time.Millisecond}
	})
	acks("NoMessageEndsWhoseResultsFailAtFirst", func(b *bundle) worker.Store {
		return &failingFinish{Store: b.store}
	})
	acks("NoMessageEndsOfWhichATaskWasLeft", func(b *bundle) worker.Store {
		return &failingIntend{Store: b.store, every: 6}
	})
	acks("NoMessageEndsOfWhichATaskPanicked", func(b *bundle) worker.Store {
		b.one.sys = &panickingSystem{fakeSystem: b.system}
		return b.store
	})

	run("NoMessageEndsWhoseResultsFailForLong", 20, func(t *testing.T, b *bundle) {
		q := &ackedQueue{memoryQueue: b.queue, b: b}
		defer b.startWith("w1", &flakyStore{Store: b.store, until: time.Now().Add(11 * time.Minute)}, q)()
		id := b.request("a").ID
		pass(10*time.Minute + 30*time.Second) // longer than a handler tries to record them
		if q.bad.Load() > 0 {
			t.Errorf("%d tasks of %d acknowledged messages had not ended", q.bad.Load(), q.acks.Load())
		}
		b.await(id, 40*time.Minute)
		b.checkTruth(1)
	})

	for _, places := range []int{1, 4} {
		run(fmt.Sprintf("NoneRestsWithTheDatabase/places=%d", places), 400, func(t *testing.T, b *bundle) {
			b.one.target.Limits.Concurrency = places
			var mu sync.Mutex
			var last time.Time
			var stood time.Duration // what takes longer than a rest is something else: the sweeper's next look
			b.system.apply = func(_ string, turn func()) error {
				mu.Lock()
				defer mu.Unlock()
				if gap := time.Since(last); gap < 20*time.Millisecond {
					stood += gap
				}
				last = time.Now()
				turn()
				return nil
			}
			defer b.start("w1")()
			b.await(b.request("a").ID, time.Minute)
			b.checkTruth(1)
			if stood > 20*time.Millisecond {
				t.Errorf("places waited %s for group commits that take no time", stood)
			}
		})
	}

	run("APanicAheadIsThatTasksOwn", 200, func(t *testing.T, b *bundle) {
		unit, first := b.system.units[20].ID, true
		b.system.prepare = func(of string) error {
			pass(20 * time.Millisecond)
			b.system.mu.Lock()
			now := first && of == unit
			first = first && !now
			b.system.mu.Unlock()
			if now {
				panic("for the test: " + of)
			}
			return nil
		}
		store := &slowIntend{Store: b.store, delay: 100 * time.Millisecond}
		q := &ackedQueue{memoryQueue: b.queue, b: b}
		defer b.startWith("w1", store, q)()
		r := b.request("a")
		pass(20 * time.Second) // nothing was delivered again yet
		if r := b.await(r.ID, time.Second); r.Counts.Succeeded != 200 || len(q.panics) > 0 || first {
			t.Errorf("counts %+v, %d messages panicked, want none: the task is looked at again in its turn", r.Counts, len(q.panics))
		}
		b.checkTruth(1)
	})

	run("APanicLeavesItsOwnMessageOnly", 200, func(t *testing.T, b *bundle) {
		b.one.sys = &panickingSystem{fakeSystem: b.system, unit: b.system.units[20].ID}
		b.system.apply = func(_ string, turn func()) error { pass(100 * time.Millisecond); turn(); return nil }
		q := &ackedQueue{memoryQueue: b.queue, b: b}
		store := &failingFinish{Store: b.store}
		defer b.startWith("w1", store, q)()
		r := b.request("a")
		pass(20 * time.Second) // nothing was delivered again yet
		q.mu.Lock()
		panics := slices.Clone(q.panics)
		q.mu.Unlock()
		if n := len(panics); n != 1 || !strings.Contains(panics[0], b.system.units[20].ID) {
			t.Fatalf("%d messages panicked, want the one of unit %s", n, b.system.units[20].ID)
		}
		for _, task := range b.tasks(r.ID) {
			if !task.State.Final() && !strings.Contains(panics[0], task.Unit) {
				t.Errorf("the task of unit %s is open, which is of another message", task.Unit)
			}
		}
		b.await(r.ID, 20*time.Minute)
		b.checkTruth(1)
	})
}

// anewStore counts the tasks that are put back to be handed out anew.
type anewStore struct {
	worker.Store
	anew atomic.Int64
}

func (s *anewStore) Finish(ctx context.Context, results []keyturn.TaskResult) (keyturn.Finished, error) {
	for _, r := range results {
		if r.Anew {
			s.anew.Add(1)
		}
	}
	return s.Store.Finish(ctx, results)
}

// ackedQueue counts the tasks that have not ended when their message is acknowledged, and survives handlers that panic.
type ackedQueue struct {
	*memoryQueue
	b         *bundle
	bad, acks atomic.Int64
	panics    []string // the messages whose handlers panicked
}

func (q *ackedQueue) ConsumeTasks(ctx context.Context, target string, concurrency int, handle func(context.Context, worker.Delivery)) error {
	return q.memoryQueue.ConsumeTasks(ctx, target, concurrency, func(ctx context.Context, d worker.Delivery) {
		defer func() {
			if recover() != nil {
				q.mu.Lock()
				q.panics = append(q.panics, string(d.Data()))
				q.mu.Unlock()
			}
		}()
		handle(ctx, ackedDelivery{d, q})
	})
}

type ackedDelivery struct {
	worker.Delivery
	queue *ackedQueue
}

func (d ackedDelivery) Ack() {
	d.queue.acks.Add(1)
	tasks, err := keyturn.ParseQueuedTasks(d.Data())
	if err != nil {
		d.queue.bad.Add(1)
	}
	for _, queued := range tasks {
		for _, task := range d.queue.b.tasks(queued.Rotation) {
			if task.ID == queued.Task && !task.State.Final() {
				d.queue.bad.Add(1)
			}
		}
	}
	d.Delivery.Ack()
}

// failingFinish fails each fourth time.
type failingFinish struct {
	worker.Store
	calls atomic.Int64
}

func (s *failingFinish) Finish(ctx context.Context, results []keyturn.TaskResult) (keyturn.Finished, error) {
	if s.calls.Add(1)%4 == 0 {
		return keyturn.Finished{}, errors.New("the database is away")
	}
	return s.Store.Finish(ctx, results)
}

// panickingSystem panics, before it sends anything, for the first change of a unit, or for each twelfth change.
type panickingSystem struct {
	*fakeSystem
	unit     string
	calls    atomic.Int64
	panicked atomic.Bool
}

func (s *panickingSystem) Apply(ctx context.Context, unit string, intent keyturn.Intent) error {
	n := s.calls.Add(1)
	if s.unit == "" && n%12 == 10 || s.unit == unit && s.panicked.CompareAndSwap(false, true) {
		panic("for the test")
	}
	return s.fakeSystem.Apply(ctx, unit, intent)
}

// obedientSystem takes a second for a change, unless its context ends.
type obedientSystem struct {
	*fakeSystem
	cut atomic.Int64 // changes that were cut off
}

func (s *obedientSystem) Apply(ctx context.Context, unit string, intent keyturn.Intent) error {
	select {
	case <-ctx.Done():
		s.cut.Add(1)
		return errAmbiguous
	case <-time.After(time.Second):
		return s.fakeSystem.Apply(ctx, unit, intent)
	}
}
