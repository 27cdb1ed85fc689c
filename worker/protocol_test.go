package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

func TestWorker(t *testing.T) {
	t.Parallel()

	run := bundled(t)

	run("TurnsEveryUnitOnce", 100, func(t *testing.T, b *bundle) {
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationSucceeded || r.Counts.Succeeded != 100 {
			t.Errorf("got %s %+v", r.State, r.Counts)
		}
		b.checkTruth(1)
		if got := len(b.records(keyturn.OriginObserved)); got != 100 {
			t.Errorf("%d observed keys, want the 100 from before", got)
		}
		for _, task := range b.tasks(r.ID) {
			if task.Resolution != keyturn.ResolutionConfirmed || task.KeyBefore != "key-0" || task.KeyAfter != "key-1" || task.Attempts != 1 {
				t.Errorf("task %+v", task)
			}
		}
	})

	run("TwoWorkersTurnEveryUnitOnce", 200, func(t *testing.T, b *bundle) {
		defer b.start("w1")()
		defer b.start("w2")()
		b.await(b.request("a").ID, time.Minute)
		b.checkTruth(1)
	})

	run("RepeatedRequestIsTheSameRotation", 3, func(t *testing.T, b *bundle) {
		defer b.start("w1")()
		first, second := b.request("a"), b.request("a")
		if first.ID != second.ID {
			t.Fatalf("two rotations: %s and %s", first.ID, second.ID)
		}
		b.await(first.ID, time.Minute)
		b.checkTruth(1)
	})

	run("EveryMessageTwiceChangesNothing", 150, func(t *testing.T, b *bundle) {
		double := make(chan *memoryDelivery, 1000)
		b.queue.tasks, double = double, b.queue.tasks
		go func() { // hands on each task message twice
			for d := range double {
				again := &memoryDelivery{queue: d.queue, data: d.data, key: d.key, ended: make(chan struct{})}
				b.queue.mu.Lock()
				out := b.queue.tasks
				b.queue.mu.Unlock()
				out <- d
				out <- again
			}
		}()
		defer close(double)
		doubling := &doublingQueue{memoryQueue: b.queue, into: double}
		w := worker.New(worker.Config{
			Owner: "w1", Store: b.store, Queue: doubling, Systems: b.one, Targets: b.one,
			Logger: zaptest.NewLogger(t), Metrics: worker.NewMetrics(prometheus.NewRegistry()),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		b.await(b.request("a").ID, 5*time.Minute)
		pass(2 * time.Minute) // late deliveries
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		b.checkTruth(1)
	})

	run("AnswerLostAfterTheTurnIsInferred", 1, func(t *testing.T, b *bundle) {
		b.system.apply = func(_ string, turn func()) error { turn(); return errAmbiguous }
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if task := b.only(r.ID); task.Resolution != keyturn.ResolutionInferred || task.Attempts != 1 {
			t.Errorf("task %+v", task)
		}
		b.checkTruth(1)
	})

	run("LostRequestIsSentAgainOnlyWhenSettled", 1, func(t *testing.T, b *bundle) {
		var sent []time.Time
		b.system.apply = func(_ string, turn func()) error {
			sent = append(sent, time.Now())
			if len(sent) == 1 {
				return errAmbiguous
			}
			turn()
			return nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 10*time.Minute)
		if len(sent) != 2 || sent[1].Sub(sent[0]) < settle {
			t.Errorf("sent at %v: want twice, the settle time apart", sent)
		}
		if task := b.only(r.ID); task.Resolution != keyturn.ResolutionConfirmed || task.Attempts != 2 {
			t.Errorf("task %+v", task)
		}
		b.checkTruth(1)
	})

	run("TurnExecutedLateIsNotRepeated", 1, func(t *testing.T, b *bundle) {
		b.system.apply = func(_ string, turn func()) error {
			time.AfterFunc(settle-10*time.Second, turn) // just within settle
			return errAmbiguous
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 10*time.Minute)
		if task := b.only(r.ID); task.Resolution != keyturn.ResolutionInferred || task.Attempts != 1 {
			t.Errorf("task %+v", task)
		}
		b.checkTruth(1)
	})

	run("UncertainParkNeverSendsTwice", 1, func(t *testing.T, b *bundle) {
		changed := keyturn.ResourceChange{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: json.RawMessage(`{"target":"om","uncertain":"park"}`), Expect: 1}
		if err := b.store.ApplyResources(t.Context(), []keyturn.ResourceChange{changed}); err != nil {
			t.Fatal(err)
		}
		b.system.apply = func(string, func()) error { return errAmbiguous }
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 10*time.Minute)
		if task := b.only(r.ID); task.State != keyturn.TaskParked || !strings.Contains(task.Reason, "key-0") {
			t.Errorf("task %+v", task)
		}
		if got := b.system.sent[b.system.units[0].ID]; got != 1 {
			t.Errorf("sent %d times, want once", got)
		}
	})

	run("AcceptedButUnchangedIsParkedAfterVerify", 1, func(t *testing.T, b *bundle) {
		b.system.apply = func(string, func()) error { return nil }
		defer b.start("w1")()
		begin := time.Now()
		r := b.await(b.request("a").ID, 20*time.Minute)
		task := b.only(r.ID)
		if task.State != keyturn.TaskParked || time.Since(begin) < verify || r.State != keyturn.RotationFailed {
			t.Errorf("rotation %s, task %+v after %s", r.State, task, time.Since(begin))
		}
		if got := b.system.sent[b.system.units[0].ID]; got != 1 {
			t.Errorf("sent %d times, want once", got)
		}
	})

	run("NewKeyThatShowsLateIsConfirmed", 5, func(t *testing.T, b *bundle) {
		b.system.apply = func(_ string, turn func()) error { time.AfterFunc(40*time.Second, turn); return nil }
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 10*time.Minute)
		for _, task := range b.tasks(r.ID) {
			if task.Resolution != keyturn.ResolutionConfirmed || task.Attempts != 1 {
				t.Errorf("task %+v", task)
			}
		}
		b.checkTruth(1)
	})

	run("RefusedForNowIsTriedAgain", 4, func(t *testing.T, b *bundle) {
		var n int
		var mu sync.Mutex
		b.system.apply = func(_ string, turn func()) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n%2 == 1 {
				return &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "rate_limited", RetryAfter: 3 * time.Second, Err: errors.New("429")}
			}
			turn()
			return nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, 10*time.Minute)
		if r.State != keyturn.RotationSucceeded {
			t.Errorf("rotation %s: %+v", r.State, b.tasks(r.ID))
		}
		b.checkTruth(1)
	})

	run("ClusterThatDisappearedFailsWithTheReason", 2, func(t *testing.T, b *bundle) {
		gone := b.system.units[0].ID
		b.system.prepare = func(unit string) error {
			if unit == gone {
				return &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "http_404", Err: errors.New("CLUSTER_NOT_FOUND")}
			}
			return nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationPartial || r.Counts.Failed != 1 || r.Counts.Succeeded != 1 {
			t.Errorf("rotation %s %+v", r.State, r.Counts)
		}
		for _, task := range b.tasks(r.ID) {
			if task.Unit == gone && !strings.Contains(task.Reason, "CLUSTER_NOT_FOUND") {
				t.Errorf("reason %q", task.Reason)
			}
		}
	})

	run("UnitThatAlwaysFailsEndsTheOthersGoOn", 3, func(t *testing.T, b *bundle) {
		bad := b.system.units[1].ID
		b.system.prepare = func(unit string) error {
			if unit == bad {
				return &keyturn.SystemError{Kind: keyturn.KindTransient, Code: "http_500", Err: errors.New("500")}
			}
			return nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Hour)
		if r.State != keyturn.RotationPartial || r.Counts.Succeeded != 2 || r.Counts.Failed != 1 {
			t.Errorf("rotation %s %+v", r.State, r.Counts)
		}
	})

	run("OutageHoldsTheTargetAndGoesOnByItself", 30, func(t *testing.T, b *bundle) {
		up := time.Now().Add(4 * time.Minute)
		b.system.prepare = func(string) error {
			if time.Now().Before(up) {
				return &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "network", Err: errors.New("connection refused")}
			}
			return nil
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Hour)
		if r.State != keyturn.RotationSucceeded {
			t.Errorf("rotation %s", r.State)
		}
		// 4 minutes of outage with holds of up to 30 s, a window of tasks each: not a storm.
		if b.system.prepares > 30*16 {
			t.Errorf("asked %d times during the outage", b.system.prepares)
		}
		b.checkTruth(1)
	})

	run("WorkerStoppedAfterTheIntentSendsNothing", 1, func(t *testing.T, b *bundle) {
		// As if stopped between the commit and the send, while w2 takes over and turns the key.
		slow := &slowStore{Store: b.store, delay: 4 * time.Minute}
		defer b.startOn("w1", slow)()
		r := b.request("a")
		pass(10 * time.Second) // w1 has the intent and is stopped
		defer b.start("w2")()
		b.await(r.ID, 20*time.Minute)
		pass(2 * time.Minute) // w1 wakes up
		b.checkTruth(1)
		if got := b.system.sent[b.system.units[0].ID]; got != 1 {
			t.Errorf("sent %d times, want once: the delayed one must not go out", got)
		}
	})

	run("IntentOfADeadWorkerIsTakenOver", 1, func(t *testing.T, b *bundle) {
		r := b.request("a")
		unit := b.system.units[0]
		if _, _, err := b.store.ClaimRotation(t.Context(), r.ID, "dead", time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := b.store.SavePlan(t.Context(), r.ID, "dead", []keyturn.Unit{unit}); err != nil {
			t.Fatal(err)
		}
		task := b.only(r.ID)
		out, err := b.store.Intend(t.Context(), []keyturn.IntentWrite{{
			Task: task.ID, Unit: task.Unit, Owner: "dead", Intent: keyturn.Intent{Before: "key-0"}, ApplyFor: 15 * time.Second, Lease: 30 * time.Second,
		}})
		if err != nil || out[0].Verdict != keyturn.VerdictGo {
			t.Fatalf("%+v %v", out, err)
		}
		if err := b.system.Apply(t.Context(), unit.ID, keyturn.Intent{}); err != nil { // it did turn the key before it died
			t.Fatal(err)
		}
		defer b.start("w2")()
		b.await(r.ID, 10*time.Minute)
		if task := b.only(r.ID); task.Resolution != keyturn.ResolutionInferred {
			t.Errorf("task %+v", task)
		}
		b.checkTruth(1)
	})

	run("ResultSurvivesADatabaseThatIsAway", 5, func(t *testing.T, b *bundle) {
		away := &flakyStore{Store: b.store, until: time.Now().Add(3 * time.Minute)}
		defer b.startOn("w1", away)()
		b.await(b.request("a").ID, 30*time.Minute)
		b.checkTruth(1)
	})

	run("PausedPolicyHoldsWhatHasNotBegun", 10, func(t *testing.T, b *bundle) {
		if err := b.store.SetPaused(t.Context(), "quarterly", true, "ops", "change freeze", nil); err != nil {
			t.Fatal(err)
		}
		defer b.start("w1")()
		r := b.request("a")
		pass(2 * time.Minute)
		b.checkTruth(0)
		if err := b.store.SetPaused(t.Context(), "quarterly", false, "ops", "", nil); err != nil {
			t.Fatal(err)
		}
		b.await(r.ID, time.Minute)
		b.checkTruth(1)
	})

	run("SlowTargetIsNotAskedTwice", 50, func(t *testing.T, b *bundle) {
		b.one.target.Limits.Concurrency = 1
		b.system.apply = func(_ string, turn func()) error {
			pass(3 * time.Second)
			turn()
			return nil
		}
		defer b.start("w1")()
		begin := time.Now()
		b.await(b.request("a").ID, time.Hour)
		if took := time.Since(begin); took > 3*time.Minute {
			t.Errorf("took %s, want about 50 times 3 s", took)
		}
		if b.system.prepares > 54 {
			t.Errorf("asked %d times for 50 units: what waits in the queue is not lost", b.system.prepares)
		}
		b.checkTruth(1)
	})

	run("LostQueueIsFilledAgain", 20, func(t *testing.T, b *bundle) {
		var lost int
		b.queue.publish = func() error {
			if lost++; lost <= 20 {
				return errors.New("no bus")
			}
			return nil
		}
		defer b.start("w1")()
		b.await(b.request("a").ID, 10*time.Minute)
		b.checkTruth(1)
	})

	run("NothingSelectedFailsWithTheReason", 0, func(t *testing.T, b *bundle) {
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationFailed || !strings.Contains(r.Reason, "nothing was selected") {
			t.Errorf("%s: %s", r.State, r.Reason)
		}
	})

	run("WrongCredentialsFailThePlanInOneLine", 1, func(t *testing.T, b *bundle) {
		b.system.look = func(keyturn.Selection) ([]keyturn.Unit, error) {
			return nil, &keyturn.SystemError{Kind: keyturn.KindPermanent, Target: true, Code: "unauthorized", Err: errors.New("credentials were refused")}
		}
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationFailed || !strings.Contains(r.Reason, "credentials were refused") {
			t.Errorf("%s: %s", r.State, r.Reason)
		}
	})

	run("TargetThatIsAwayAtThePlanIsAskedAgainThenGivenUp", 1, func(t *testing.T, b *bundle) {
		away := &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "network", Err: errors.New("connection refused")}
		up := time.Now().Add(30 * time.Second)
		b.system.look = func(keyturn.Selection) ([]keyturn.Unit, error) {
			if time.Now().Before(up) {
				return nil, away
			}
			return b.system.units, nil
		}
		defer b.start("w1")()
		if r := b.await(b.request("a").ID, time.Minute); r.State != keyturn.RotationSucceeded {
			t.Errorf("%s: %s", r.State, r.Reason)
		}
		up = time.Now().Add(time.Hour)
		r := b.await(b.request("b").ID, 5*time.Minute)
		if r.State != keyturn.RotationFailed || !strings.Contains(r.Reason, "connection refused") {
			t.Errorf("%s: %s", r.State, r.Reason)
		}
	})

	run("UnitsThatMustNotRotateAreSkipped", 3, func(t *testing.T, b *bundle) {
		b.system.units[0].Rotatable, b.system.units[0].Reason = false, "backup is off"
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationSucceeded || r.Counts.Skipped != 1 || b.system.sent[b.system.units[0].ID] != 0 {
			t.Errorf("%s %+v", r.State, r.Counts)
		}
	})

	run("EventsTellWhatHappened", 2, func(t *testing.T, b *bundle) {
		stop := b.start("w1")
		b.await(b.request("a").ID, time.Minute)
		pass(5 * time.Second)
		stop()
		got := map[string]int{}
		for _, e := range b.queue.events {
			got[e.Type]++
			var ce map[string]any
			if err := json.Unmarshal(e.Data, &ce); err != nil || ce["specversion"] != "1.0" || ce["type"] != "keyturn."+e.Type {
				t.Errorf("event %s: %v %v", e.Type, ce, err)
			}
		}
		want := map[string]int{"rotation.requested": 1, "rotation.started": 1, "rotation.completed": 1, "task.succeeded": 2, "key.rotated": 2, "key.observed": 2}
		for kind, n := range want {
			if got[kind] != n {
				t.Errorf("%d events %s, want %d (all: %v)", got[kind], kind, n, got)
			}
		}
	})
}
