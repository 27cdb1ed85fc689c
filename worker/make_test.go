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

const complete = 10 * time.Minute

// makingSystem is a control plane whose keys are made elsewhere: what its change puts into use is what was made.
type makingSystem struct {
	*fakeSystem
	*makings
}

// makings is where keys are made. It forgets nothing, and counts.
type makings struct {
	mu      sync.Mutex
	tagged  map[keyturn.ID]string // the key that was made for a task
	made    int
	calls   []time.Time
	orders  []keyturn.KeyOrder
	intents []keyturn.Intent // what was applied

	make func(order keyturn.KeyOrder, n int, made func() keyturn.Intent) (keyturn.Intent, error)
}

func newMaking(b *bundle) *makingSystem {
	s := &makingSystem{fakeSystem: b.system, makings: &makings{tagged: map[keyturn.ID]string{}}}
	b.one.sys = s
	b.one.target.Timeouts.Complete = keyturn.Duration(complete)
	return s
}

func (s *makingSystem) Make(_ context.Context, _ string, order keyturn.KeyOrder, _ keyturn.Intent) (keyturn.Intent, error) {
	s.makings.mu.Lock()
	s.calls = append(s.calls, time.Now())
	s.orders = append(s.orders, order)
	n, answer := len(s.calls), s.makings.make
	s.makings.mu.Unlock()
	made := func() keyturn.Intent {
		s.makings.mu.Lock()
		defer s.makings.mu.Unlock()
		key := order.Provided
		if key == "" {
			key = s.tagged[order.Task]
		}
		if key == "" {
			s.made++
			key = fmt.Sprintf("made-%d", s.made)
			s.tagged[order.Task] = key
		}
		return keyturn.Intent{Want: key, Data: []byte(`{"key":"` + key + `"}`)}
	}
	if answer != nil {
		return answer(order, n, made)
	}
	return made(), nil
}

// Apply puts the key into use that the intent wants.
func (s *makingSystem) Apply(ctx context.Context, unit string, intent keyturn.Intent) error {
	s.makings.mu.Lock()
	s.intents = append(s.intents, intent)
	s.makings.mu.Unlock()
	err := s.fakeSystem.Apply(ctx, unit, intent)
	s.fakeSystem.mu.Lock()
	defer s.fakeSystem.mu.Unlock()
	if s.applied[unit] > 0 && intent.Want != "" {
		s.keys[unit] = intent.Want
	}
	return err
}

func (s *makingSystem) check(t *testing.T, made int) {
	t.Helper()
	s.makings.mu.Lock()
	defer s.makings.mu.Unlock()
	if s.made != made {
		t.Errorf("%d keys were made, want %d", s.made, made)
	}
	for _, intent := range s.intents {
		if !intent.Made() || intent.Before == "" {
			t.Errorf("applied %+v: want what was made", intent)
		}
	}
}

func TestMaker(t *testing.T) {
	t.Parallel()
	run := bundled(t)

	run("KeyIsMadeOnceAndPutIntoUse", 40, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		defer b.start("w1")()
		defer b.start("w2")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationSucceeded {
			t.Errorf("rotation is %s", r.State)
		}
		for _, task := range b.tasks(r.ID) {
			if task.KeyAfter != s.tagged[task.ID] || task.Attempts != 1 || task.Resolution != keyturn.ResolutionConfirmed {
				t.Errorf("task %+v, want key %s", task, s.tagged[task.ID])
			}
		}
		s.check(t, 40)
		b.checkTruth(1)
	})

	run("ProvidedKeyIsUsed", 2, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		unit := b.system.units[0].ID
		defer b.start("w1")()
		r, _, err := b.store.Request(t.Context(), keyturn.Request{
			Policy: "quarterly", Trigger: keyturn.TriggerManual, Only: keyturn.Selection{Keys: map[string]string{unit: "theirs"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		b.await(r.ID, time.Minute)
		if b.system.keys[unit] != "theirs" {
			t.Errorf("unit uses %s", b.system.keys[unit])
		}
		s.check(t, 1)
		b.checkTruth(1)
	})

	run("LostAnswerOfMakeMakesNoSecondKey", 1, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		s.makings.make = func(_ keyturn.KeyOrder, n int, made func() keyturn.Intent) (keyturn.Intent, error) {
			if n == 1 {
				time.AfterFunc(settle-time.Second, func() { made() }) // carried out late
				return keyturn.Intent{}, errors.New("connection reset")
			}
			return made(), nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 10*time.Minute)
		if task := b.only(r.ID); task.State != keyturn.TaskSucceeded || task.Attempts != 1 {
			t.Errorf("task %+v", task)
		}
		if len(s.calls) != 2 || s.calls[1].Sub(s.calls[0]) < settle {
			t.Errorf("made at %v: want twice, the settle time apart", s.calls)
		}
		s.check(t, 1)
		b.checkTruth(1)
	})

	run("UncertainParkDoesNotParkAMake", 1, func(t *testing.T, b *bundle) {
		changed := keyturn.ResourceChange{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: json.RawMessage(`{"target":"om","uncertain":"park"}`), Expect: 1}
		if err := b.store.ApplyResources(t.Context(), []keyturn.ResourceChange{changed}); err != nil {
			t.Fatal(err)
		}
		s := newMaking(b)
		s.makings.make = func(_ keyturn.KeyOrder, n int, made func() keyturn.Intent) (keyturn.Intent, error) {
			if made := made(); n > 1 {
				return made, nil
			}
			return keyturn.Intent{}, errors.New("connection reset")
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 10*time.Minute)
		if task := b.only(r.ID); task.State != keyturn.TaskSucceeded {
			t.Errorf("task %+v", task)
		}
		s.check(t, 1)
		b.checkTruth(1)
	})

	run("NotYetIsAskedAgainSoon", 1, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		s.makings.make = func(_ keyturn.KeyOrder, n int, made func() keyturn.Intent) (keyturn.Intent, error) {
			made()
			if n < 4 {
				return keyturn.Intent{}, &keyturn.SystemError{Kind: keyturn.KindTransient, Code: "pending", Err: errors.New("the key is not enabled yet")}
			}
			return made(), nil
		}
		defer b.start("w1")()
		r := b.request("a")
		pass(2500 * time.Millisecond)
		if task := b.only(r.ID); task.State != keyturn.TaskIntended || !strings.Contains(task.Reason, "not enabled yet") {
			t.Errorf("waiting task is %+v", task)
		}
		begin := time.Now()
		b.await(r.ID, settle)
		if took := time.Since(begin); took >= settle {
			t.Errorf("took %s: what is not under way needs no settling", took)
		}
		s.check(t, 1)
		b.checkTruth(1)
	})

	run("NeverReadyFailsAfterComplete", 1, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		s.makings.make = func(keyturn.KeyOrder, int, func() keyturn.Intent) (keyturn.Intent, error) {
			return keyturn.Intent{}, &keyturn.SystemError{Kind: keyturn.KindTransient, Code: "throttled", Err: errors.New("slow down")}
		}
		defer b.start("w1")()
		begin := time.Now()
		r := b.await(b.request("a").ID, 2*complete)
		task := b.only(r.ID)
		if task.State != keyturn.TaskFailed || !strings.Contains(task.Reason, "slow down") || !strings.Contains(task.Reason, "10m") {
			t.Errorf("task %+v", task)
		}
		if took := time.Since(begin); took < complete || len(s.calls) > 20 {
			t.Errorf("asked %d times within %s", len(s.calls), took)
		}
		b.checkTruth(0)
	})

	run("RefusedFailsAtOnce", 1, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		s.makings.make = func(keyturn.KeyOrder, int, func() keyturn.Intent) (keyturn.Intent, error) {
			return keyturn.Intent{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "denied", Err: errors.New("kms:CreateKey is not allowed")}
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if task := b.only(r.ID); task.State != keyturn.TaskFailed || !strings.Contains(task.Reason, "kms:CreateKey") {
			t.Errorf("task %+v", task)
		}
		b.checkTruth(0)
	})

	run("NothingToTurnToIsSkipped", 2, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		needless := true
		s.makings.make = func(_ keyturn.KeyOrder, _ int, made func() keyturn.Intent) (keyturn.Intent, error) {
			if needless {
				return keyturn.Intent{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Needless: true, Code: "no_newer_key", Err: errors.New("nobody made one")}
			}
			return made(), nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationSucceeded || len(s.calls) != 2 {
			t.Errorf("the rotation is %s, asked %d times", r.State, len(s.calls))
		}
		for _, task := range b.tasks(r.ID) {
			if task.State != keyturn.TaskSkipped || task.Reason != "nobody made one" || task.Attempts != 0 {
				t.Errorf("task %+v, want it skipped without an attempt", task)
			}
		}
		b.checkTruth(0)
		b.system.prepare = func(string) error {
			return &keyturn.SystemError{Kind: keyturn.KindPermanent, Needless: true, Code: "none", Err: errors.New("it has none")}
		}
		if r := b.await(b.request("b").ID, time.Minute); r.State != keyturn.RotationSucceeded || r.Counts.Skipped != 2 {
			t.Errorf("the rotation of what needs none before its intent is %+v", r)
		}
		b.system.prepare, needless = nil, false // nothing is left behind that keeps the next rotation from turning them
		if r := b.await(b.request("c").ID, time.Minute); r.Counts.Succeeded != 2 {
			t.Errorf("the next rotation is %+v", r)
		}
		b.checkTruth(1)
	})

	run("MadeInPlaceIsAppliedOnce", 3, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		s.makings.make = func(keyturn.KeyOrder, int, func() keyturn.Intent) (keyturn.Intent, error) {
			return keyturn.Intent{}, nil // the change makes it
		}
		b.system.apply = func(_ string, turn func()) error { turn(); return errAmbiguous }
		defer b.start("w1")()
		b.await(b.request("a").ID, 10*time.Minute)
		if len(s.calls) != 3 {
			t.Errorf("asked %d times, want once for each", len(s.calls))
		}
		s.check(t, 0)
		b.checkTruth(1)
	})

	run("LostChangeIsSentAgainWithTheSameKey", 1, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		var n int
		b.system.apply = func(_ string, turn func()) error {
			if n++; n == 1 {
				return errAmbiguous
			}
			turn()
			return nil
		}
		defer b.start("w1")()
		b.await(b.request("a").ID, 10*time.Minute)
		if len(s.intents) != 2 || s.intents[0].Want != s.intents[1].Want {
			t.Errorf("applied %+v", s.intents)
		}
		s.check(t, 1)
		b.checkTruth(1)
	})

	run("ChangeThatWasNotSentFindsItsKeyAgain", 1, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		var n int
		b.system.apply = func(_ string, turn func()) error {
			if n++; n < 3 {
				return &keyturn.SystemError{Kind: keyturn.KindTransient, Code: "http_503", Err: errors.New("503")}
			}
			turn()
			return nil
		}
		defer b.start("w1")()
		b.await(b.request("a").ID, 10*time.Minute)
		s.check(t, 1)
		b.checkTruth(1)
	})
}

// TestMaker_Crashes lets the first worker die, or be stopped for long, right before or after a step; another one goes on.
func TestMaker_Crashes(t *testing.T) {
	t.Parallel()
	run := bundled(t)
	for _, step := range []string{"Intend", "ProvidedKey", "Amend", "Finish"} {
		for _, after := range []bool{false, true} {
			for _, late := range []bool{false, true} {
				run(fmt.Sprintf("%s/after=%v/goesOn=%v", step, after, late), 1, func(t *testing.T, b *bundle) {
					s := newMaking(b)
					dying := &dyingStore{Store: b.store, step: step, after: after, died: make(chan struct{})}
					if late {
						dying.wakes = 5 * time.Minute
					}
					first := b.startOn("w1", dying)
					r := b.request("a")
					<-dying.died
					second := b.start("w2")
					b.await(r.ID, 20*time.Minute)
					pass(dying.wakes + time.Minute) // the first one wakes up, if it does
					second()
					dying.end()
					first()
					if task := b.only(r.ID); task.State != keyturn.TaskSucceeded {
						t.Errorf("task %+v", task)
					}
					s.check(t, 1)
					if got := b.system.sent[b.system.units[0].ID]; got != 1 {
						t.Errorf("sent %d times, want once", got)
					}
					b.checkTruth(1)
				})
			}
		}
	}
}

// TestMaker_NeedlessCrashes: the first worker finds nothing to turn to, and dies, or is stopped for long, while it gives
// the intent back. By then somebody may have made a key.
func TestMaker_NeedlessCrashes(t *testing.T) {
	t.Parallel()
	run := bundled(t)
	for _, after := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			for _, made := range []bool{false, true} {
				run(fmt.Sprintf("after=%v/goesOn=%v/madeMeanwhile=%v", after, late, made), 1, func(t *testing.T, b *bundle) {
					s := newMaking(b)
					var found atomic.Bool
					s.makings.make = func(_ keyturn.KeyOrder, _ int, key func() keyturn.Intent) (keyturn.Intent, error) {
						if found.Load() {
							return key(), nil
						}
						return keyturn.Intent{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Needless: true, Code: "no_newer_key", Err: errors.New("nobody made one")}
					}
					dying := &dyingStore{Store: b.store, step: "Finish", after: after, died: make(chan struct{})}
					if late {
						dying.wakes = 5 * time.Minute
					}
					first := b.startOn("w1", dying)
					r := b.request("a")
					<-dying.died
					found.Store(made)
					second := b.start("w2")
					b.await(r.ID, 20*time.Minute)
					pass(dying.wakes + time.Minute)
					second()
					dying.end()
					first()
					want, turns := keyturn.TaskSkipped, 0
					if made {
						want, turns = keyturn.TaskSucceeded, 1
					}
					if task := b.only(r.ID); task.State != want {
						t.Errorf("task %+v, want it %s", task, want)
					}
					s.check(t, turns)
					b.checkTruth(turns)
				})
			}
		}
	}
}

func TestMaker_Stopped(t *testing.T) {
	t.Parallel()
	run := bundled(t)
	stop := func(t *testing.T, b *bundle, r keyturn.Rotation) {
		t.Helper()
		if _, err := b.store.StopRotation(t.Context(), r.ID, "ann", "enough", true); err != nil {
			t.Error(err)
		}
	}

	run("BetweenMakeAndAmendAppliesNothing", 1, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		var r keyturn.Rotation
		s.makings.make = func(_ keyturn.KeyOrder, _ int, made func() keyturn.Intent) (keyturn.Intent, error) {
			stop(t, b, r)
			return made(), nil
		}
		r = b.request("a")
		defer b.start("w1")()
		if r = b.await(r.ID, 10*time.Minute); r.State != keyturn.RotationCancelled {
			t.Errorf("rotation is %s", r.State)
		}
		if task := b.only(r.ID); task.Attempts != 0 {
			t.Errorf("task %+v, want no attempt: nothing was sent", task)
		}
		s.check(t, 1)
		b.checkTruth(0)
	})

	run("WhileItWaitsToMakeAgainMakesNothing", 1, func(t *testing.T, b *bundle) {
		s := newMaking(b)
		s.makings.make = func(_ keyturn.KeyOrder, n int, made func() keyturn.Intent) (keyturn.Intent, error) {
			if n > 1 {
				return made(), nil
			}
			return keyturn.Intent{}, errors.New("connection reset")
		}
		defer b.start("w1")()
		r := b.request("a")
		pass(10 * time.Second)
		stop(t, b, r)
		b.await(r.ID, 10*time.Minute)
		if len(s.calls) != 1 {
			t.Errorf("asked %d times to make a key, want once", len(s.calls))
		}
		s.check(t, 0)
		b.checkTruth(0)
	})
}

// dyingStore is the store of a worker that dies at a step, once: it never goes on, or much later.
type dyingStore struct {
	worker.Store
	step  string
	after bool
	wakes time.Duration // 0: when the test ends

	died chan struct{}
	done chan struct{}
	mu   sync.Mutex
	dead bool
}

var errDead = errors.New("this process is dead")

func (s *dyingStore) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done != nil {
		close(s.done)
	}
}

// at dies here, if it is the place and the first time.
func (s *dyingStore) at(step string, after bool) {
	if step != s.step || after != s.after {
		return
	}
	s.mu.Lock()
	if s.done != nil {
		s.mu.Unlock()
		return
	}
	done := make(chan struct{})
	s.dead, s.done = true, done
	s.mu.Unlock()
	close(s.died)
	if s.wakes == 0 {
		<-done
		return
	}
	pass(s.wakes)
	s.mu.Lock()
	s.dead = false
	s.mu.Unlock()
}

// gone keeps the rest of a dead process from doing anything.
func (s *dyingStore) gone() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errDead
	}
	return nil
}

func (s *dyingStore) Intend(ctx context.Context, writes []keyturn.IntentWrite) ([]keyturn.IntentOutcome, error) {
	s.at("Intend", false)
	if err := s.gone(); err != nil {
		return nil, err
	}
	out, err := s.Store.Intend(ctx, writes)
	s.at("Intend", true)
	return out, err
}

func (s *dyingStore) ProvidedKey(ctx context.Context, rotation keyturn.ID, unit string) (string, error) {
	s.at("ProvidedKey", false)
	if err := s.gone(); err != nil {
		return "", err
	}
	key, err := s.Store.ProvidedKey(ctx, rotation, unit)
	s.at("ProvidedKey", true)
	return key, err
}

func (s *dyingStore) Amend(ctx context.Context, epoch int64, write keyturn.IntentWrite) error {
	s.at("Amend", false)
	if err := s.gone(); err != nil {
		return err
	}
	err := s.Store.Amend(context.WithoutCancel(ctx), epoch, write)
	s.at("Amend", true)
	return err
}

func (s *dyingStore) Finish(ctx context.Context, results []keyturn.TaskResult) (keyturn.Finished, error) {
	s.at("Finish", false)
	if err := s.gone(); err != nil {
		return keyturn.Finished{}, err
	}
	ok, err := s.Store.Finish(ctx, results)
	s.at("Finish", true)
	return ok, err
}

func (s *dyingStore) Feed(ctx context.Context, target string, window int) (keyturn.Fed, error) {
	if err := s.gone(); err != nil {
		return keyturn.Fed{}, err
	}
	return s.Store.Feed(ctx, target, window)
}

func (s *dyingStore) Take(ctx context.Context, task keyturn.ID, owner string, lease, settle time.Duration) (keyturn.Taken, error) {
	if err := s.gone(); err != nil {
		return keyturn.Taken{}, err
	}
	return s.Store.Take(ctx, task, owner, lease, settle)
}
