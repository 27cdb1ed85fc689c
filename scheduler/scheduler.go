package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn"
)

const (
	defaultBatch   = 500
	defaultRecheck = 30 * time.Second
	publishers     = 32              // concurrent publishes of one batch
	publishTimeout = 5 * time.Second // of one batch
)

// Config is what a Scheduler needs.
type Config struct {
	Store     Store
	Publisher Publisher
	Log       *zap.Logger
	Metrics   *Metrics // nil: not counted
	Batch     int      // policies claimed in one transaction; 0 means 500
	// Recheck bounds how long Run sleeps; 0 means 30s. Timers stand still while a machine is suspended
	// and know nothing of a clock that was set, so the database's clock is asked again.
	Recheck time.Duration
}

// Scheduler turns due slots into rotations. Any number of them may work on one
// store. What it holds in memory and does per second depends on what is due.
type Scheduler struct {
	store     Store
	publisher Publisher
	log       *zap.Logger
	metrics   *Metrics
	batch     int
	recheck   time.Duration
	reader    Reader
	wake      chan struct{}
}

// New returns a scheduler that does nothing until RunOnce or Run.
func New(c Config) *Scheduler {
	if c.Batch <= 0 {
		c.Batch = defaultBatch
	}
	if c.Recheck <= 0 {
		c.Recheck = defaultRecheck
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return &Scheduler{
		store:     c.Store,
		publisher: c.Publisher,
		log:       c.Log,
		metrics:   c.Metrics,
		batch:     c.Batch,
		recheck:   c.Recheck,
		wake:      make(chan struct{}, 1),
	}
}

// RunOnce fires every slot that is due now and returns how many rotations it
// started, also together with an error.
//
// A policy of which several slots have passed fires once, for the oldest of
// them; its next slot is the first one after now. The slots between the two are
// skipped, logged and counted.
//
// Each new rotation is published to wake a planner. A publish that does not
// succeed is only logged: the rotation is durable with an announcement of its
// own, and whoever sweeps those publishes it again.
func (s *Scheduler) RunOnce(ctx context.Context) (fired int, err error) {
	for {
		claimed, rotations, err := s.fireBatch(ctx)
		if err != nil {
			return fired, err
		}
		fired += len(rotations)
		s.publish(ctx, rotations)
		if err := ctx.Err(); err != nil {
			return fired, fmt.Errorf("firing due slots: %w", err)
		}
		if claimed < s.batch {
			return fired, nil
		}
	}
}

// claim is what became of one due policy.
type claim struct {
	due     keyturn.Due
	lag     time.Duration
	next    *keyturn.Slot
	missed  int
	invalid error
}

func (s *Scheduler) fireBatch(ctx context.Context) (claimed int, rotations []keyturn.Rotation, err error) {
	claims := make(map[string]claim) // by policy: a store that repeats its transaction asks again
	rotations, err = s.store.FireDue(ctx, s.batch, func(due keyturn.Due, now time.Time) (*keyturn.Slot, error) {
		c := s.advance(due, now)
		claims[due.Policy.Name] = c
		return c.next, c.invalid
	})
	if err != nil {
		if ctx.Err() == nil {
			s.metrics.failed("fire")
		}
		return 0, nil, fmt.Errorf("firing due slots: %w", err)
	}
	s.report(claims, rotations)
	return len(claims), rotations, nil
}

// advance finds the slot after the one that is due.
func (s *Scheduler) advance(due keyturn.Due, now time.Time) claim {
	c := claim{due: due, lag: now.Sub(due.Slot.At)}
	timetable, err := s.reader.Timetable(due.Policy.Schedule)
	if err != nil {
		c.invalid = fmt.Errorf("reading the schedule of policy %s: %w", due.Policy.Name, err)
		return c
	}
	if next, missed, ok := timetable.NextAfter(due.Slot, now); ok {
		c.next, c.missed = &next, missed
	}
	return c
}

// report logs and counts a batch that was committed.
func (s *Scheduler) report(claims map[string]claim, rotations []keyturn.Rotation) {
	for _, r := range rotations {
		s.metrics.firedAfter(claims[r.Policy].lag)
		s.log.Debug("slot fired", zap.String("policy", r.Policy), zap.String("slot", r.Slot),
			zap.Stringer("rotation", r.ID), zap.Duration("lag", claims[r.Policy].lag))
	}
	for name, c := range claims {
		switch {
		case c.invalid != nil:
			s.metrics.invalidSchedule()
			s.log.Error("the schedule of a policy can't be read and does not fire: apply the policy again",
				zap.String("policy", name), zap.Error(c.invalid))
		case c.missed > 0 && !c.due.Policy.Paused:
			s.metrics.missedSlots(c.missed)
			s.log.Warn("slots were missed and are skipped", zap.String("policy", name), zap.Int("missed", c.missed),
				zap.String("fired", c.due.Slot.Name()), zap.String("next", slotName(c.next)))
		}
	}
}

func slotName(s *keyturn.Slot) string {
	if s == nil {
		return ""
	}
	return s.Name()
}

// publish wakes planners for new rotations. It has a deadline of its own, so
// that a bus that hangs delays no slots.
func (s *Scheduler) publish(ctx context.Context, rotations []keyturn.Rotation) {
	if len(rotations) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	var mu sync.Mutex
	var first error
	failed := 0
	var g errgroup.Group
	g.SetLimit(publishers)
	for _, r := range rotations {
		g.Go(func() error {
			if err := s.publisher.PublishRotation(ctx, r.ID); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed++
				if first == nil {
					first = fmt.Errorf("publishing rotation %s: %w", r.ID, err)
				}
			}
			return nil
		})
	}
	_ = g.Wait() // the goroutines return nil
	if failed > 0 && !errors.Is(ctx.Err(), context.Canceled) {
		s.metrics.failed("publish")
		s.log.Warn("rotations were not published: the sweeper publishes them again",
			zap.Int("failed", failed), zap.Int("of", len(rotations)), zap.Error(first))
	}
}
