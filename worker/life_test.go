package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// cancel stops a rotation as a person does.
func (b *bundle) cancel(id keyturn.ID) {
	b.t.Helper()
	if _, err := b.store.StopRotation(b.t.Context(), id, "ann", "enough", true); err != nil {
		b.t.Fatal(err)
	}
}

// resume asks for what a rotation left undone.
func (b *bundle) resume(id keyturn.ID) keyturn.Rotation {
	b.t.Helper()
	out, err := b.store.ResumeRotation(b.t.Context(), id, "ann", "")
	if err != nil {
		b.t.Fatal(err)
	}
	return out.Rotation
}

// resolve settles a parked task.
func (b *bundle) resolve(task keyturn.ID, as keyturn.TaskState, key string) keyturn.Decided {
	b.t.Helper()
	out, err := b.store.ResolveTask(b.t.Context(), keyturn.Decision{Task: task, As: as, By: "ann", Reason: "looked", Key: key})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b *bundle) sentTo(unit string) int {
	b.system.mu.Lock()
	defer b.system.mu.Unlock()
	return b.system.sent[unit]
}

// steppedClock is a clock that somebody sets.
type steppedClock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *steppedClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off == 0 {
		return time.Now()
	}
	return time.Now().Round(0).Add(c.off)
}

func (c *steppedClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = d
}

// intendHook does something when the first intent is durable.
type intendHook struct {
	worker.Store
	once sync.Once
	then func()
}

func (s *intendHook) Intend(ctx context.Context, writes []keyturn.IntentWrite) ([]keyturn.IntentOutcome, error) {
	out, err := s.Store.Intend(ctx, writes)
	s.once.Do(s.then)
	return out, err
}

func TestLifeOfARotation(t *testing.T) {
	t.Parallel()

	run := bundled(t)

	run("StoppedFinishesWhatIsUnderWayAndBeginsNothing", 30, func(t *testing.T, b *bundle) {
		b.system.apply = func(_ string, turn func()) error {
			pass(5 * time.Second)
			turn()
			return nil
		}
		defer b.start("w1")()
		r := b.request("a")
		pass(3 * time.Second) // the first eight are being applied
		b.cancel(r.ID)
		got := b.await(r.ID, time.Minute)
		if want := (keyturn.Counts{Total: 30, Succeeded: 8, Skipped: 22}); got.State != keyturn.RotationCancelled || got.Counts != want {
			t.Errorf("ended as %s with %+v, want cancelled with %+v", got.State, got.Counts, want)
		}
		pass(3 * time.Minute) // longer than settling takes
		total := 0
		for _, u := range b.system.units {
			total += b.sentTo(u.ID)
		}
		if total != 8 {
			t.Errorf("%d changes were sent, want the 8 that were under way", total)
		}
	})

	run("StoppedWithAnUnknownOutcomeSendsNothingAgain", 1, func(t *testing.T, b *bundle) {
		b.system.apply = func(string, func()) error { return errAmbiguous }
		defer b.start("w1")()
		r := b.request("a")
		pass(30 * time.Second) // waits until the system has settled
		b.cancel(r.ID)
		pass(settle)
		got := b.await(r.ID, 10*time.Minute)
		if task := b.only(r.ID); task.State != keyturn.TaskSkipped || got.State != keyturn.RotationCancelled {
			t.Errorf("rotation %s, task %+v", got.State, task)
		}
		if n := b.sentTo(b.system.units[0].ID); n != 1 {
			t.Errorf("sent %d times, want once", n)
		}
		b.checkTruth(0)
	})

	run("StoppedWithATurnThatShowsLateIsStillRecorded", 1, func(t *testing.T, b *bundle) {
		b.system.apply = func(_ string, turn func()) error {
			time.AfterFunc(settle-10*time.Second, turn)
			return errAmbiguous
		}
		defer b.start("w1")()
		r := b.request("a")
		pass(30 * time.Second)
		b.cancel(r.ID)
		got := b.await(r.ID, 10*time.Minute)
		if got.State != keyturn.RotationCancelled || got.Counts.Succeeded != 1 {
			t.Errorf("ended as %s with %+v", got.State, got.Counts)
		}
		b.checkTruth(1)
	})

	run("StoppedWhileItIsPlannedTurnsNothing", 3, func(t *testing.T, b *bundle) {
		b.system.look = func(keyturn.Selection) ([]keyturn.Unit, error) {
			pass(10 * time.Second)
			return append([]keyturn.Unit(nil), b.system.units...), nil
		}
		defer b.start("w1")()
		r := b.request("a")
		pass(5 * time.Second)
		b.cancel(r.ID)
		pass(time.Minute)
		if got := b.await(r.ID, 0); got.State != keyturn.RotationCancelled || got.Counts.Total != 0 {
			t.Errorf("rotation is %s with %+v", got.State, got.Counts)
		}
		b.checkTruth(0)
	})

	run("APlanThatWaitedForLongIsNoLessPatient", 3, func(t *testing.T, b *bundle) {
		r := b.request("a")
		pass(2 * time.Hour) // for its window, or for somebody who plans
		back := time.Now().Add(30 * time.Second)
		b.system.look = func(keyturn.Selection) ([]keyturn.Unit, error) {
			if time.Now().Before(back) {
				return nil, &keyturn.SystemError{Kind: keyturn.KindTransient, Code: "network", Err: errors.New("no route to host")}
			}
			return append([]keyturn.Unit(nil), b.system.units...), nil
		}
		defer b.start("w1")()
		if r = b.await(r.ID, 5*time.Minute); r.State != keyturn.RotationSucceeded {
			t.Errorf("ended as %s: %s", r.State, r.Reason)
		}
		b.checkTruth(1)
	})

	run("ResumedTurnsOnlyWhatIsMissing", 20, func(t *testing.T, b *bundle) {
		b.system.prepare = func(unit string) error {
			if strings.HasSuffix(unit, "5") {
				return &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "http_409", Err: errors.New("locked")}
			}
			return nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationPartial || r.Counts.Failed != 2 {
			t.Fatalf("ended as %s with %+v", r.State, r.Counts)
		}
		b.system.mu.Lock()
		b.system.prepare = nil
		b.system.mu.Unlock()
		retry := b.await(b.resume(r.ID).ID, time.Minute)
		if want := (keyturn.Counts{Total: 2, Succeeded: 2}); retry.State != keyturn.RotationSucceeded || retry.Counts != want {
			t.Errorf("retry ended as %s with %+v, want %+v", retry.State, retry.Counts, want)
		}
		b.checkTruth(1)
	})

	run("ParkedAndSettledAsTurnedIsInTheHistory", 1, func(t *testing.T, b *bundle) {
		unit := b.parkOne()
		b.system.mu.Lock()
		b.system.applied[unit], b.system.keys[unit] = 1, "key-1" // it was carried out after all
		b.system.mu.Unlock()
		defer b.start("w1")()
		r, _, err := b.store.Rotations(t.Context(), keyturn.RotationFilter{})
		if err != nil {
			t.Fatal(err)
		}
		if got := b.resolve(b.only(r[0].ID).ID, keyturn.TaskSucceeded, "key-1"); got.Rotation.State != keyturn.RotationSucceeded {
			t.Errorf("rotation is %s", got.Rotation.State)
		}
		b.checkTruth(1)
	})

	run("ParkedAndTriedAgainIsTurnedOnce", 1, func(t *testing.T, b *bundle) {
		unit := b.parkOne()
		rotations, _, err := b.store.Rotations(t.Context(), keyturn.RotationFilter{})
		if err != nil {
			t.Fatal(err)
		}
		decided := b.resolve(b.only(rotations[0].ID).ID, keyturn.TaskPending, "")
		b.system.apply = nil
		defer b.start("w2")()
		if got := b.await(decided.Retry.ID, time.Minute); got.State != keyturn.RotationSucceeded {
			t.Errorf("the retry ended as %s: %s", got.State, got.Reason)
		}
		if n := b.sentTo(unit); n != 2 {
			t.Errorf("sent %d times, want once before and once after the decision", n)
		}
		b.checkTruth(1)
	})

	run("StoppedWithAnUnknownOutcomeIsParkedIfThePolicySaysSo", 1, func(t *testing.T, b *bundle) {
		b.uncertainPark()
		b.system.apply = func(string, func()) error { return errAmbiguous }
		defer b.start("w1")()
		r := b.request("a")
		pass(30 * time.Second)
		b.cancel(r.ID)
		if got := b.await(r.ID, 10*time.Minute); got.State != keyturn.RotationCancelled || got.Counts.Parked != 1 {
			t.Errorf("ended as %s with %+v", got.State, got.Counts)
		}
	})

	run("NeverCarriedOutIsParkedAfterFiveAttempts", 1, func(t *testing.T, b *bundle) {
		b.system.apply = func(string, func()) error { return errAmbiguous }
		b.one.target.Timeouts.Settle = keyturn.Duration(20 * time.Second)
		defer b.start("w1")()
		r := b.request("a")
		r = b.await(r.ID, time.Hour)
		if task := b.only(r.ID); task.State != keyturn.TaskParked || task.Attempts != 5 || b.sentTo(task.Unit) != 5 {
			t.Errorf("sent %d times, task %+v", b.sentTo(task.Unit), task)
		}
	})

	run("KeyInUseIsAskedForAtTheTarget", 1, func(t *testing.T, b *bundle) {
		w := worker.New(worker.Config{
			Owner: "w1", Store: b.store, Queue: b.queue, Systems: b.one, Targets: b.one,
			Logger: zaptest.NewLogger(t), Metrics: worker.NewMetrics(prometheus.NewRegistry()),
		})
		if key, err := w.KeyInUse(t.Context(), b.system.units[0].ID); err != nil || key != "key-0" {
			t.Errorf("key is %q, %v", key, err)
		}
		if _, err := w.KeyInUse(t.Context(), "nonsense"); err == nil {
			t.Error("nonsense has a key")
		}
	})

	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		run(fmt.Sprintf("ClockSetBy%sAfterTheIntentSendsNothing", by), 1, func(t *testing.T, b *bundle) {
			clock := &steppedClock{}
			store := &intendHook{Store: b.store, then: func() { clock.step(by) }}
			w := worker.New(worker.Config{
				Owner: "w1", Store: store, Queue: b.queue, Systems: b.one, Targets: b.one, Now: clock.now,
				Logger: zaptest.NewLogger(t), Metrics: worker.NewMetrics(prometheus.NewRegistry()),
			})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- w.Run(ctx) }()
			r := b.await(b.request("a").ID, 10*time.Minute)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			task, err := b.store.TaskDetail(t.Context(), b.only(r.ID).ID)
			if err != nil {
				t.Fatal(err)
			}
			if n := b.sentTo(task.Unit); n != 1 || task.Attempts != 1 || task.Intent.Epoch != 2 || task.State != keyturn.TaskSucceeded {
				t.Errorf("sent %d times, task %+v: want two intents, of which only the second was sent", n, task)
			}
			b.checkTruth(1)
		})
	}

	run("ResultOfAnOlderEpochIsRefused", 1, func(t *testing.T, b *bundle) {
		// w1 gets its answer when its lease has long ended and w2 has the intent.
		release := make(chan struct{})
		first := true
		b.system.apply = func(_ string, turn func()) error {
			if first {
				first = false
				turn()
				<-release
				return nil
			}
			t.Error("sent a second time")
			return nil
		}
		stop1 := b.start("w1")
		r := b.request("a")
		pass(time.Minute) // the call outlives its deadline: a system that ignores it
		defer b.start("w2")()
		b.await(r.ID, 10*time.Minute)
		before := b.only(r.ID)
		close(release)
		pass(time.Minute)
		stop1()
		after := b.only(r.ID)
		if before.Resolution != keyturn.ResolutionInferred || after.Resolution != before.Resolution || !after.FinishedAt.Equal(*before.FinishedAt) {
			t.Errorf("task was %+v and is %+v", before, after)
		}
		b.checkTruth(1)
	})
}

// parkOne runs a rotation of one unit whose outcome stays unknown, and returns the unit. Nothing was turned.
func (b *bundle) parkOne() string {
	b.t.Helper()
	b.uncertainPark()
	b.system.apply = func(string, func()) error { return errAmbiguous }
	stop := b.start("w0")
	defer stop()
	r := b.await(b.request("parked").ID, 10*time.Minute)
	if task := b.only(r.ID); task.State != keyturn.TaskParked {
		b.t.Fatalf("task %+v", task)
	}
	return b.system.units[0].ID
}

// uncertainPark makes the policy leave unknown outcomes to a person.
func (b *bundle) uncertainPark() {
	b.t.Helper()
	changed := keyturn.ResourceChange{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: json.RawMessage(`{"target":"om","uncertain":"park"}`), Expect: 1}
	if err := b.store.ApplyResources(b.t.Context(), []keyturn.ResourceChange{changed}); err != nil {
		b.t.Fatal(err)
	}
}
