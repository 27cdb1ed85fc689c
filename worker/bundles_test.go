package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// TestBundles is about tasks that share a message. The target has 8 places.
func TestBundles(t *testing.T) {
	t.Parallel()

	run := bundled(t)

	run("AMessageIsOnePlaceAtTheTarget", 200, func(t *testing.T, b *bundle) {
		var mu sync.Mutex
		now, most := 0, 0
		call := func() {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			pass(20 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
		}
		b.system.prepare = func(string) error { call(); return nil }
		b.system.apply = func(_ string, turn func()) error { call(); turn(); return nil }
		defer b.start("w1")()
		b.await(b.request("a").ID, time.Minute)
		b.checkTruth(1)
		if b.system.prepares != 200 {
			t.Errorf("the key was asked for %d times, want once each", b.system.prepares)
		}
		if most != 8 {
			t.Errorf("%d calls at a time, want the target's 8", most)
		}
		if b.queue.sequence > 120 {
			t.Errorf("%d messages for 200 tasks: want some to share one", b.queue.sequence)
		}
	})

	run("FewTasksAreSpreadOverAllPlaces", 24, func(t *testing.T, b *bundle) {
		defer b.start("w1")()
		b.await(b.request("a").ID, time.Minute)
		b.checkTruth(1)
		if b.queue.sequence < 24 {
			t.Errorf("%d messages for 24 tasks and 8 places, want one each", b.queue.sequence)
		}
	})

	run("TheNextTaskDoesNotWaitForTheDatabase", 150, func(t *testing.T, b *bundle) {
		b.one.target.Limits.Concurrency = 1 // what a worker goes by
		store := &slowFinish{Store: b.store, delay: 100 * time.Millisecond}
		b.system.apply = func(_ string, turn func()) error { pass(100 * time.Millisecond); turn(); return nil }
		defer b.startOn("w1", store)()
		r := b.await(b.request("a").ID, 5*time.Minute)
		b.checkTruth(1)
		// Alone, each would take 200 ms: 30 s.
		if took := r.FinishedAt.Sub(r.RequestedAt); took > 27*time.Second {
			t.Errorf("150 tasks took %s in one place", took)
		}
	})

	run("TheNextTaskIsLookedAtWhileTheIntentIsWritten", 150, func(t *testing.T, b *bundle) {
		b.one.target.Limits.Concurrency = 1
		store := &slowIntend{Store: b.store, delay: 100 * time.Millisecond}
		b.system.prepare = func(string) error { pass(100 * time.Millisecond); return nil }
		defer b.startOn("w1", store)()
		r := b.await(b.request("a").ID, 5*time.Minute)
		b.checkTruth(1)
		// Alone, each would take 200 ms: 30 s.
		if took := r.FinishedAt.Sub(r.RequestedAt); took > 27*time.Second || b.system.prepares != 150 {
			t.Errorf("150 tasks took %s in one place, and were looked at %d times", took, b.system.prepares)
		}
	})

	run("ALookAheadThatFailsIsMadeAgain", 200, func(t *testing.T, b *bundle) {
		var mu sync.Mutex
		failed := map[string]bool{}
		b.system.prepare = func(unit string) error {
			mu.Lock()
			defer mu.Unlock()
			first := !failed[unit]
			failed[unit] = true
			if first && strings.HasSuffix(unit, "7") {
				return &keyturn.SystemError{Kind: keyturn.KindTransient, Code: "http_500", Err: errors.New("500")}
			}
			return nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 10*time.Minute)
		b.checkTruth(1)
		if r.Counts.Succeeded != 200 || b.system.prepares != 220 {
			t.Errorf("counts %+v after %d looks, want each of 20 that failed once to be looked at again", r.Counts, b.system.prepares)
		}
	})

	run("AStoppedWorkerLeavesTheRestToOthers", 200, func(t *testing.T, b *bundle) {
		system := &obedientSystem{fakeSystem: b.system}
		b.one.sys = system
		stop := b.start("w1")
		id := b.request("a").ID
		pass(2500 * time.Millisecond)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took > 1500*time.Millisecond {
			t.Errorf("stopping took %s: want no more than the tasks that were begun", took)
		}
		if n := system.cut.Load(); n > 0 {
			t.Errorf("%d changes were cut off that were begun", n)
		}
		defer b.start("w2")()
		b.await(id, 5*time.Minute)
		b.checkTruth(1)
	})

	run("WhatCouldNotBeRecordedComesAgain", 200, func(t *testing.T, b *bundle) {
		store := &failingIntend{Store: b.store, every: 5}
		defer b.startOn("w1", store)()
		r := b.await(b.request("a").ID, 10*time.Minute)
		b.checkTruth(1)
		if r.Counts.Succeeded != 200 {
			t.Errorf("counts %+v", r.Counts)
		}
	})

	run("WithoutADatabaseNothingIsSentButWhatHasItsIntent", 200, func(t *testing.T, b *bundle) {
		store := &leavingStore{Store: b.store, goes: map[keyturn.ID]bool{}}
		b.one.sys = &watchedSystem{fakeSystem: b.system, store: store, tasks: map[string]keyturn.ID{}}
		b.system.apply = func(_ string, turn func()) error { pass(50 * time.Millisecond); turn(); return nil }
		defer b.startOn("w1", store)()
		if r := b.await(b.request("a").ID, 20*time.Minute); r.Counts.Succeeded != 200 {
			t.Errorf("counts %+v", r.Counts)
		}
		b.checkTruth(1)
		if len(store.wrong) > 0 {
			t.Errorf("changes were sent without an intent that is durable: %v", store.wrong)
		}
		if store.late == 0 || store.late > 8 || store.refused == 0 {
			t.Errorf("%d changes were sent and %d intents not written while the database was away: want one change for each of 8 places at most", store.late, store.refused)
		}
	})

	run("AFailureIsDurableBeforeTheNextTaskBegins", 150, func(t *testing.T, b *bundle) {
		b.one.target.Limits.Concurrency = 1
		store := &slowFinish{Store: b.store, delay: time.Second}
		first := ""
		b.system.apply = func(unit string, turn func()) error {
			if first == "" {
				first = unit
				return &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "http_409", Err: errors.New("409")}
			}
			if store.failed.Load() == 0 {
				t.Errorf("unit %s was turned before the failure of %s was durable", unit, first)
			}
			turn()
			return nil
		}
		defer b.startOn("w1", store)()
		if r := b.await(b.request("a").ID, 10*time.Minute); r.Counts.Failed != 1 || r.Counts.Succeeded != 149 {
			t.Errorf("counts %+v", r.Counts)
		}
	})

	run("AMessageThatComesAgainIsTakenApart", 200, func(t *testing.T, b *bundle) {
		from, to := b.queue.tasks, make(chan *memoryDelivery, 1000)
		b.queue.tasks = to
		var copies []*memoryDelivery
		go func() { // what holds several tasks has been delivered before, the first time
			for d := range from {
				if d.several() && len(copies) < 10 {
					d.again.Store(true)
					copies = append(copies, &memoryDelivery{queue: d.queue, data: d.data, key: d.key, ended: make(chan struct{})})
				}
				to <- d
			}
		}()
		defer close(from)
		defer b.startWith("w1", b.store, &doublingQueue{memoryQueue: b.queue, into: from})()
		b.await(b.request("a").ID, time.Minute)
		b.checkTruth(1)
		for _, d := range copies { // and again when all has ended
			d.again.Store(true)
			to <- d
		}
		pass(time.Minute)
		b.checkTruth(1)
		if len(copies) != 10 || b.system.prepares != 200 {
			t.Errorf("%d messages came again, and the key was asked for %d times: want 10, and once for each task", len(copies), b.system.prepares)
		}
	})

	run("WhatIsNoTaskIsADeadLetter", 1, func(t *testing.T, b *bundle) {
		defer b.start("w1")()
		b.await(b.request("a").ID, time.Minute)
		for _, message := range []string{`[]`, `[{"unit":"om.p0"}]`, `[`, `{"unit":"om.p0.c0","task":"x"}`, ``} {
			if err := b.queue.put(b.queue.tasks, json.RawMessage(message)); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Second)
		b.queue.mu.Lock()
		defer b.queue.mu.Unlock()
		if len(b.queue.dead) != 5 {
			t.Errorf("dead letters %v, want 5", strings.Join(b.queue.dead, "; "))
		}
		b.checkTruth(1)
	})
}

// TestBundles_Crashes lets the first worker die, or be stopped for long, right before or after a group commit, with several
// tasks in each of its messages. Those messages come again, and another worker goes on.
func TestBundles_Crashes(t *testing.T) {
	t.Parallel()
	run := bundled(t)
	for _, step := range []string{"Intend", "Finish"} {
		for _, after := range []bool{false, true} {
			for _, wakes := range []time.Duration{0, 5 * time.Minute} {
				run(fmt.Sprintf("%s/after=%v/wakes=%s", step, after, wakes), 200, func(t *testing.T, b *bundle) {
					from, to := b.queue.tasks, make(chan *memoryDelivery, 1000)
					b.queue.tasks = to
					var mu sync.Mutex
					var held []*memoryDelivery
					go func() {
						for d := range from {
							mu.Lock()
							held = append(held, d)
							mu.Unlock()
							to <- d
						}
					}()
					defer close(from)
					dying := &dyingStore{Store: b.store, step: step, after: after, died: make(chan struct{}), wakes: wakes}
					first := b.startWith("w1", dying, &doublingQueue{memoryQueue: b.queue, into: from})
					r := b.request("a")
					<-dying.died
					bundles := 0
					mu.Lock()
					for _, d := range held { // the broker takes none of them for ended
						again := &memoryDelivery{queue: d.queue, data: d.data, key: d.key, ended: make(chan struct{})}
						again.again.Store(true)
						to <- again
						if d.several() {
							bundles++
						}
					}
					mu.Unlock()
					second := b.start("w2")
					if end := b.await(r.ID, 20*time.Minute); end.Counts.Succeeded != 200 {
						t.Errorf("counts %+v", end.Counts)
					}
					pass(wakes + time.Minute) // the first one wakes up, if it does
					second()
					dying.end()
					first()
					if bundles == 0 {
						t.Error("no message held several tasks")
					}
					b.checkTruth(1)
				})
			}
		}
	}
}

// slowFinish takes a while to make results durable.
type slowFinish struct {
	worker.Store
	delay  time.Duration
	failed atomic.Int64 // failures that are durable
}

func (s *slowFinish) Finish(ctx context.Context, results []keyturn.TaskResult) (keyturn.Finished, error) {
	pass(s.delay)
	done, err := s.Store.Finish(ctx, results)
	for _, r := range results {
		if err == nil && r.State == keyturn.TaskFailed {
			s.failed.Add(1)
		}
	}
	return done, err
}

// slowIntend takes a while to make intents durable.
type slowIntend struct {
	worker.Store
	delay time.Duration
}

func (s *slowIntend) Intend(ctx context.Context, writes []keyturn.IntentWrite) ([]keyturn.IntentOutcome, error) {
	pass(s.delay)
	return s.Store.Intend(ctx, writes)
}

// failingIntend fails now and then.
type failingIntend struct {
	worker.Store
	mu    sync.Mutex
	calls int
	every int
}

func (s *failingIntend) Intend(ctx context.Context, writes []keyturn.IntentWrite) ([]keyturn.IntentOutcome, error) {
	s.mu.Lock()
	s.calls++
	fail := s.calls%s.every == 0
	s.mu.Unlock()
	if fail {
		return nil, errors.New("the database is away")
	}
	return s.Store.Intend(ctx, writes)
}

// leavingStore has no database for a minute, from the moment on at which 40 intents are durable.
type leavingStore struct {
	worker.Store

	mu      sync.Mutex
	left    time.Time
	goes    map[keyturn.ID]bool // tasks whose intent is durable
	refused int                 // intents that were not written
	late    int                 // changes that were sent while the database was away
	wrong   []string            // units whose change was sent without an intent
}

func (s *leavingStore) away() bool { return !s.left.IsZero() && time.Since(s.left) < time.Minute }

func (s *leavingStore) Intend(ctx context.Context, writes []keyturn.IntentWrite) ([]keyturn.IntentOutcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away() {
		s.refused += len(writes)
		return nil, errors.New("the database is away")
	}
	out, err := s.Store.Intend(ctx, writes)
	for i, o := range out {
		if o.Verdict == keyturn.VerdictGo {
			s.goes[writes[i].Task] = true
		}
	}
	if s.left.IsZero() && len(s.goes) >= 40 {
		s.left = time.Now()
	}
	return out, err
}

func (s *leavingStore) Finish(ctx context.Context, results []keyturn.TaskResult) (keyturn.Finished, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away() {
		return keyturn.Finished{}, errors.New("the database is away")
	}
	return s.Store.Finish(ctx, results)
}

// watchedSystem holds each change against the intents that are durable.
type watchedSystem struct {
	*fakeSystem
	store *leavingStore
	tasks map[string]keyturn.ID // by unit
}

func (s *watchedSystem) Prepare(ctx context.Context, unit string, task keyturn.ID) (keyturn.Intent, error) {
	s.store.mu.Lock()
	s.tasks[unit] = task
	s.store.mu.Unlock()
	return s.fakeSystem.Prepare(ctx, unit, task)
}

func (s *watchedSystem) Apply(ctx context.Context, unit string, intent keyturn.Intent) error {
	s.store.mu.Lock()
	if !s.store.goes[s.tasks[unit]] {
		s.store.wrong = append(s.store.wrong, unit)
	}
	if s.store.away() {
		s.store.late++
	}
	s.store.mu.Unlock()
	return s.fakeSystem.Apply(ctx, unit, intent)
}
