package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn"
)

const (
	defaultBatch   = 1000
	defaultRecheck = 30 * time.Second
	publishTimeout = 5 * time.Second // of one batch
	publishAhead   = 4               // batches that wait to be published while the next are fired
	claimers       = 2               // batches that are fired at once when there is more than one
)

// Config is what a Scheduler needs.
type Config struct {
	Store     Store
	Publisher Publisher
	Log       *zap.Logger
	Metrics   *Metrics // nil: not counted
	Batch     int      // policies claimed in one transaction; 0 means 1000, which is the most that is published at once
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
	tables    timetables
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
		store:     bounded{c.Store},
		publisher: c.Publisher,
		log:       c.Log,
		metrics:   c.Metrics,
		batch:     c.Batch,
		recheck:   c.Recheck,
		wake:      make(chan struct{}, 1),
	}
}

// RunOnce does everything that is due now and returns how many rotations it
// started, also together with an error: it resumes policies whose pause has
// ended, looks at the windows of rotations under way, fires slots, and stops
// what the new rotations take the place of.
//
// Of several slots of a policy that have passed, its schedule's catchUp says
// which fire.
//
// Each new rotation is published to wake a planner. A publish that does not
// succeed is only logged: the rotation is durable with an announcement of its
// own, and whoever sweeps those publishes it again.
func (s *Scheduler) RunOnce(ctx context.Context) (fired int, err error) {
	if err := s.resume(ctx); err != nil {
		return 0, err
	}
	if err := s.lookAtWindows(ctx); err != nil {
		return 0, err
	}
	if fired, err = s.fireAll(ctx); err != nil {
		return fired, err
	}
	return fired, s.stopSuperseded(ctx)
}

// fireAll fires slots while there are due ones. What was fired is published meanwhile.
func (s *Scheduler) fireAll(ctx context.Context) (fired int, err error) {
	more, rotations, err := s.fireBatch(ctx)
	if err != nil {
		return 0, err
	}
	batches, published := make(chan []keyturn.Rotation, publishAhead), make(chan struct{})
	go func() {
		defer close(published)
		for batch := range batches { // each has a deadline, however the bus is
			s.publish(ctx, batch)
		}
	}()
	var all atomic.Int64
	hand := func(rotations []keyturn.Rotation) {
		all.Add(int64(len(rotations)))
		if len(rotations) > 0 {
			batches <- rotations
		}
	}
	hand(rotations)
	var claiming errgroup.Group
	for range claimers {
		if !more {
			break
		}
		claiming.Go(func() error { return s.fireOn(ctx, hand) })
	}
	err = claiming.Wait()
	close(batches)
	<-published
	return int(all.Load()), err
}

// fireOn fires batches until nothing is left.
func (s *Scheduler) fireOn(ctx context.Context, hand func([]keyturn.Rotation)) error {
	for more := true; more; {
		var rotations []keyturn.Rotation
		var err error
		if more, rotations, err = s.fireBatch(ctx); err != nil {
			return err
		}
		hand(rotations)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("firing due slots: %w", err)
		}
	}
	return nil
}

// fireBatch fires one batch. more reports that there may be more to do at once.
func (s *Scheduler) fireBatch(ctx context.Context) (more bool, rotations []keyturn.Rotation, err error) {
	d := &decider{tables: &s.tables, room: extraSlots}
	claims := make(map[string]*claim) // by policy: a store that repeats its transaction asks again
	rotations, err = s.store.FireDue(ctx, s.batch, func(due keyturn.Due, now time.Time) (keyturn.Firing, error) {
		c := d.decide(due, now)
		claims[due.Policy.Name] = c
		return c.firing, c.invalid
	})
	if err != nil {
		if ctx.Err() == nil {
			s.metrics.failed("fire")
		}
		return false, nil, fmt.Errorf("firing due slots: %w", err)
	}
	s.report(claims, rotations)
	more = len(claims) > s.batch/2
	for _, c := range claims {
		more = more || c.more
	}
	return more, rotations, nil
}

// report logs and counts a batch that was committed.
func (s *Scheduler) report(claims map[string]*claim, rotations []keyturn.Rotation) {
	for i := range rotations {
		r := &rotations[i]
		lag := claims[r.Policy].lag(r.Slot)
		s.metrics.firedAfter(lag)
		if e := s.log.Check(zap.DebugLevel, "slot fired"); e != nil {
			e.Write(zap.String("policy", r.Policy), zap.String("slot", r.Slot), zap.Stringer("rotation", r.ID), zap.Duration("lag", lag))
		}
	}
	for name, c := range claims {
		if c.invalid != nil {
			s.metrics.invalidSchedule()
			s.log.Error("the schedule of a policy can't be read and does not fire: apply the policy again",
				zap.String("policy", name), zap.Error(c.invalid))
			continue
		}
		if c.missed > 0 {
			s.metrics.missedSlots(c.missed)
			s.log.Warn("slots were missed and are skipped", zap.String("policy", name), zap.Int("missed", c.missed),
				zap.String("first", c.due.Slot.Name()), zap.String("next", slotName(c.firing.Next)))
		}
		if c.overlapped {
			s.metrics.overlappedSlot()
			s.log.Warn("a slot is skipped: a rotation of the policy is under way", zap.String("policy", name), zap.String("slot", c.firing.Skipped.Slot))
		}
		if c.firing.Deadline != nil {
			s.log.Warn("a key gets too old before the policy's next window", zap.String("policy", name),
				zap.Time("at", *c.firing.Deadline), zap.String("next", slotName(c.firing.Next)))
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
// that a bus that hangs delays no slots for long.
func (s *Scheduler) publish(ctx context.Context, rotations []keyturn.Rotation) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	ids := make([]keyturn.ID, len(rotations))
	for i := range rotations {
		ids[i] = rotations[i].ID
	}
	if err := s.publisher.PublishRotations(ctx, ids); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		s.metrics.failed("publish")
		s.log.Warn("rotations were not published: the sweeper publishes them again", zap.Int("rotations", len(rotations)), zap.Error(err))
	}
}

// resume lets policies go on whose pause has ended. What came while they were paused does not fire;
// what came since is due.
func (s *Scheduler) resume(ctx context.Context) error {
	for {
		resumed, err := s.store.ResumeDue(ctx, s.batch, func(p keyturn.Policy, until, _ time.Time) (*keyturn.Slot, error) {
			return s.FirstSlot(p.Schedule, until)
		})
		if err != nil {
			s.metrics.failed("resume")
			return fmt.Errorf("resuming policies: %w", err)
		}
		for _, name := range resumed {
			s.log.Info("policy goes on: its pause has ended", zap.String("policy", name))
		}
		if len(resumed) < s.batch {
			return nil
		}
	}
}

// FirstSlot returns the first slot of a schedule after a time; nil: there is none.
func (s *Scheduler) FirstSlot(schedule keyturn.Schedule, after time.Time) (*keyturn.Slot, error) {
	timetable, err := s.tables.load(&schedule)
	if err != nil {
		return nil, err
	}
	slot, ok := timetable.First(after)
	if !ok {
		return nil, nil //nolint:nilnil // the schedule is empty or has ended
	}
	return &slot, nil
}

func (s *Scheduler) lookAtWindows(ctx context.Context) error {
	for {
		looked, err := s.store.LookAtWindows(ctx, s.batch, func(look keyturn.WindowLook, now time.Time) (keyturn.Opening, error) {
			return openingOf(&s.tables, look, now)
		})
		if err != nil {
			s.metrics.failed("windows")
			return fmt.Errorf("looking at windows: %w", err)
		}
		if looked < s.batch {
			return nil
		}
	}
}

// stopSuperseded stops rotations whose place a later one takes.
func (s *Scheduler) stopSuperseded(ctx context.Context) error {
	ids, err := s.store.Superseded(ctx, s.batch)
	if err != nil {
		s.metrics.failed("supersede")
		return fmt.Errorf("looking for superseded rotations: %w", err)
	}
	for _, id := range ids {
		_, err := s.store.StopRotation(ctx, id, "", "the next slot of its policy has come (overlap: cancel)", true)
		if err != nil && !errors.Is(err, keyturn.ErrConflict) { // a conflict: it ended meanwhile
			s.metrics.failed("supersede")
			return fmt.Errorf("stopping rotation %s: %w", id, err)
		}
		s.log.Info("rotation stopped: the next slot of its policy has come", zap.Stringer("rotation", id))
	}
	return nil
}
