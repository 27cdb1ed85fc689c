package scheduler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

const (
	// dueJitter keeps replicas from waking in the same instant.
	dueJitter = 10 * time.Millisecond

	// What is overdue and was not claimed is held by another scheduler: it is looked at again
	// after minIdle, then less and less often, up to maxIdle.
	minIdle = 50 * time.Millisecond
	maxIdle = 2 * time.Second

	minBackoff = time.Second
	maxBackoff = 30 * time.Second
)

// Wake makes Run look for due slots at once, for instance after a policy changed. It never blocks.
func (s *Scheduler) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run fires slots as they come due until ctx ends. It outlives errors of the
// store: they are logged, and it tries again, after 1 s at first and 30 s at last.
func (s *Scheduler) Run(ctx context.Context) {
	backoff, idle := minBackoff, minIdle
	for ctx.Err() == nil {
		fired, wait, err := s.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error("the scheduler can't fire slots and tries again", zap.Error(err), zap.Duration("after", backoff))
			wait = backoff/2 + rand.N(backoff/2+1) //nolint:gosec // spreads replicas, guards nothing
			backoff = min(2*backoff, maxBackoff)
		case fired == 0 && wait <= 0:
			wait, idle = idle, min(2*idle, maxIdle)
			backoff = minBackoff
		default:
			backoff, idle = minBackoff, minIdle
		}
		s.sleep(ctx, wait)
	}
}

// step does what is due and returns how long there is nothing to do.
func (s *Scheduler) step(ctx context.Context) (fired int, wait time.Duration, err error) {
	fired, err = s.RunOnce(ctx)
	if err != nil {
		return fired, 0, err
	}
	in, ok, err := s.store.NextDue(ctx)
	if err != nil {
		s.metrics.failed("next_due")
		return fired, 0, fmt.Errorf("asking for the next slot: %w", err)
	}
	if !ok || in > s.recheck {
		return fired, s.recheck - rand.N(s.recheck/10+1), nil //nolint:gosec // spreads replicas, guards nothing
	}
	if in <= 0 {
		return fired, 0, nil
	}
	return fired, in + rand.N(dueJitter), nil //nolint:gosec // spreads replicas, guards nothing
}

// sleep waits for d, a Wake or the end of ctx.
func (s *Scheduler) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-timer.C:
	}
}
