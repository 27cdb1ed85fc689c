package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// slowCommits is a store whose commits take a while.
type slowCommits struct{ worker.Store }

func (s *slowCommits) Intend(ctx context.Context, writes []keyturn.IntentWrite) ([]keyturn.IntentOutcome, error) {
	pass(50 * time.Millisecond)
	return s.Store.Intend(ctx, writes)
}

func (s *slowCommits) Finish(ctx context.Context, results []keyturn.TaskResult) ([]bool, error) {
	pass(50 * time.Millisecond)
	return s.Store.Finish(ctx, results)
}

func TestWorkerKeepsToTheConcurrencyWhileTasksWaitForTheDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 200)
		defer b.close()
		var now, most atomic.Int64
		b.system.apply = func(_ string, turn func()) error {
			n := now.Add(1)
			defer now.Add(-1)
			most.Store(max(most.Load(), n)) // hardly ever raced, and then by one only
			pass(100 * time.Millisecond)
			turn()
			return nil
		}
		defer b.startOn("w1", &slowCommits{b.store})()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationSucceeded {
			t.Errorf("got %s %+v", r.State, r.Counts)
		}
		b.checkTruth(1)
		if got := most.Load(); got > 8 {
			t.Errorf("%d changes under way at once, want at most 8", got)
		}
		// 25 changes one after the other on each place. Keeping it over both commits, a task would take
		// twice as long and longer.
		if took := r.FinishedAt.Sub(*r.StartedAt); took > 4500*time.Millisecond {
			t.Errorf("took %s, want not much more than the changes alone: 2.5s", took)
		}
	})
}
