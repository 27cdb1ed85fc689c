package worker

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	sweepEvery    = time.Second
	never         = 1000 * time.Hour // an age that no task reaches: only asks which targets have tasks to feed
	unplannedMost = 100
	// agesEvery is how often the ages of all keys are summed up: it is the one look at everything
	// that exists.
	agesEvery = 5 * time.Minute
)

// sweeper finds what the rows say is still to do, whatever became of the
// messages: it is the reason why losing every stream loses no work.
type sweeper struct {
	store        FeedStore
	queue        Queue
	feed         func(target string)
	targets      func() []string // that are served here
	requeueAfter time.Duration
	log          *zap.Logger
	metrics      *Metrics

	endings chan struct{} // wakes: a rotation may have ended
	lost    chan struct{} // wakes: the queue lost messages
}

func newSweeper() *sweeper {
	return &sweeper{endings: make(chan struct{}, 1), lost: make(chan struct{}, 1)}
}

// mayHaveEnded makes the sweeper look soon whether rotations have ended.
func (s *sweeper) mayHaveEnded() { notify(s.endings) }

// queueLost makes the sweeper hand out again, at once, all that nobody holds.
func (s *sweeper) queueLost() { notify(s.lost) }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *sweeper) run(ctx context.Context) {
	ticker, ages, requeue := time.NewTicker(sweepEvery), time.NewTicker(agesEvery), time.NewTicker(s.requeueAfter/12)
	defer requeue.Stop()
	defer ticker.Stop()
	defer ages.Stop()
	s.sumUpAges(ctx)
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-s.endings:
			err = s.finish(ctx)
		case <-s.lost:
			err = s.sweep(ctx, 0, nil)
		case <-requeue.C:
			err = s.sweepLost(ctx)
		case <-ticker.C:
			err = s.sweep(ctx, never, nil)
		case <-ages.C:
			s.sumUpAges(ctx)
		}
		if err != nil && ctx.Err() == nil {
			// Only logged: the next tick tries again.
			s.log.Warn("sweeping", zap.Error(err))
		}
	}
}

// sweepLost hands out again what the queue has lost. A target whose tasks still
// wait there is only slow.
func (s *sweeper) sweepLost(ctx context.Context) error {
	var busy []string
	for _, target := range s.targets() {
		waiting, err := s.queue.Waiting(ctx, target)
		if err != nil {
			return err
		}
		if waiting > 0 {
			busy = append(busy, target)
		}
	}
	return s.sweep(ctx, s.requeueAfter, busy)
}

func (s *sweeper) sweep(ctx context.Context, age time.Duration, busy []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	targets, err := s.store.Requeue(ctx, age, busy)
	if err != nil {
		return err
	}
	for _, target := range targets {
		s.feed(target)
	}
	waiting, err := s.store.Unplanned(ctx, unplannedMost)
	if err != nil {
		return err
	}
	var published error
	for _, id := range waiting {
		if published = s.queue.PublishRotation(ctx, id); published != nil {
			break // the bus is away
		}
	}
	return errors.Join(published, s.finish(ctx))
}

// sumUpAges is for the metrics only, so an error waits for the next time.
func (s *sweeper) sumUpAges(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ages, err := s.store.KeyAges(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("summing up the ages of keys", zap.Error(err))
		}
		return
	}
	s.metrics.observeAges(ages)
}

// finish moves rollouts on, and ends the rotations that have no open tasks; each is one wide log event.
func (s *sweeper) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rolled := s.rollOut(ctx) // what hinders a rollout keeps no other rotation from its end
	ended, err := s.store.FinishRotations(ctx)
	if len(ended) > 0 {
		s.sumUpAges(ctx)
	}
	for _, r := range ended {
		s.metrics.rotations.WithLabelValues(r.Policy, string(r.State)).Inc()
		s.log.Info("rotation ended", rotationFields(r)...)
	}
	return errors.Join(rolled, err)
}

func rotationFields(r keyturn.Rotation) []zap.Field {
	fields := []zap.Field{
		zap.Stringer("rotation", r.ID), zap.String("policy", r.Policy), zap.String("target", r.Target),
		zap.String("trigger", string(r.Trigger)), zap.String("slot", r.Slot), zap.String("requestedBy", r.RequestedBy),
		zap.String("state", string(r.State)), zap.String("reason", r.Reason),
		zap.Int("total", r.Counts.Total), zap.Int("succeeded", r.Counts.Succeeded), zap.Int("failed", r.Counts.Failed),
		zap.Int("skipped", r.Counts.Skipped), zap.Int("parked", r.Counts.Parked), zap.Time("requestedAt", r.RequestedAt),
	}
	if r.StartedAt != nil && r.FinishedAt != nil {
		fields = append(fields, zap.Duration("took", r.FinishedAt.Sub(*r.StartedAt)))
	}
	return fields
}
