package worker_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// patientStore notes how long it might have hung, at most, in each method.
type patientStore struct {
	worker.Store
	mu   sync.Mutex
	most map[string]time.Duration
}

func (s *patientStore) note(ctx context.Context, method string) {
	left := 1000 * time.Hour
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most[method] = max(s.most[method], left)
}

func (s *patientStore) ClaimRotation(ctx context.Context, id keyturn.ID, owner string, lease time.Duration) (keyturn.Rotation, keyturn.Policy, error) {
	s.note(ctx, "ClaimRotation")
	return s.Store.ClaimRotation(ctx, id, owner, lease)
}

func (s *patientStore) Take(ctx context.Context, task keyturn.ID, owner string, lease, settle time.Duration) (keyturn.Taken, error) {
	s.note(ctx, "Take")
	return s.Store.Take(ctx, task, owner, lease, settle)
}

func (s *patientStore) Reintend(ctx context.Context, task keyturn.ID, owner string, epoch int64, applyFor, lease time.Duration) (int64, error) {
	s.note(ctx, "Reintend")
	return s.Store.Reintend(ctx, task, owner, epoch, applyFor, lease)
}

func (s *patientStore) ClaimLook(
	ctx context.Context, owner string, looks []keyturn.Look, wait keyturn.LookWait, lease time.Duration,
) (string, time.Time, error) {
	s.note(ctx, "ClaimLook")
	return s.Store.ClaimLook(ctx, owner, looks, wait, lease)
}

func (s *patientStore) TargetAnswered(ctx context.Context, target string) error {
	s.note(ctx, "TargetAnswered")
	return s.Store.TargetAnswered(ctx, target)
}

// TestWorker_GivesUpOnADatabaseThatHangs: a call that nobody answers, because the
// other end of its connection is gone without a word, must not hold a task for long.
func TestWorker_GivesUpOnADatabaseThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		defer b.close()
		tries := 0
		b.system.apply = func(_ string, turn func()) error {
			if tries++; tries == 1 {
				return errAmbiguous
			}
			turn()
			return nil
		}
		store := &patientStore{Store: b.store, most: map[string]time.Duration{}}
		w := worker.New(worker.Config{
			Owner: "w1", Store: store, Queue: b.queue, Systems: b.one, Targets: b.one,
			Logger: zaptest.NewLogger(t), Metrics: worker.NewMetrics(prometheus.NewRegistry()),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		b.await(b.request("a").ID, 10*time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, method := range []string{"ClaimRotation", "Take", "Reintend", "ClaimLook", "TargetAnswered"} {
			if most, called := store.most[method]; !called || most > time.Minute {
				t.Errorf("%s: called %t, and might have hung for %s", method, called, most)
			}
		}
	})
}
