package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	lookEvery = 10 * time.Second // how often it is looked whether keys are due to be looked at
	lookLease = 2 * time.Minute  // renewed after each group of units
	lookRetry = 10 * time.Minute // after a look that did not come to its end
	lookMost  = 6 * time.Hour    // the longest that one look may take
	lookGroup = 100              // units that are looked at between two writes
	// lookShare is the part of a target's concurrency that a look may use.
	lookShare = 8
)

// lookTimes: the first look waits until whoever has just applied a target has turned what he wanted to turn.
func lookTimes() keyturn.LookWait {
	return keyturn.LookWait{First: 10 * time.Minute, Soon: 2 * time.Minute, Patience: 6 * time.Hour, Trouble: 5 * time.Minute}
}

// errYields ends a look when a rotation begins.
var errYields = errors.New("a rotation works on the target")

// LookStore keeps which keys are in use, as far as is known without a rotation.
type LookStore interface {
	NameStore
	// ClaimLook takes the target, one of looks, whose keys are due to be looked at for longest, until
	// the lease ends, and returns the time of the claim. A target that rotations work on, or are about to, waits,
	// but not for longer than its interval (at least wait.Patience); one that is held waits. It answers
	// ErrNotFound when there is none.
	ClaimLook(ctx context.Context, owner string, looks []keyturn.Look, wait keyturn.LookWait, lease time.Duration) (target string, began time.Time, err error)
	// RenewLook renews the claim and answers whether a rotation works on the target. It answers
	// ErrNotFound when the claim is not owner's any more.
	RenewLook(ctx context.Context, target, owner string, lease time.Duration) (busy bool, err error)
	// EndLook gives the claim back. A look that is not done is due again after retry.
	EndLook(ctx context.Context, target, owner string, began time.Time, done bool, retry time.Duration) error
	// PoliciesOf returns the policies of a target.
	PoliciesOf(ctx context.Context, target string) ([]keyturn.Policy, error)
	// SaveUnits records units as they are now. What is known of their keys stays.
	SaveUnits(ctx context.Context, units []keyturn.Unit) error
	// KnownKeys returns what is recorded of the units' keys now.
	KnownKeys(ctx context.Context, units []string) (map[string]keyturn.KnownKey, error)
	// Observe records keys that were found in use: one that is new to the history gets a key record of
	// origin observed, from now on, and an announcement. An observation is refused if a rotation has an open intent
	// on the unit, or if the unit's key is not recorded as Known any more.
	Observe(ctx context.Context, seen []keyturn.Observation) ([]keyturn.ObservedKey, error)
}

// looker asks now and then for the keys in use, so that the history knows those that nobody turned here.
type looker struct {
	owner   string
	now     func() time.Time
	store   LookStore
	targets TargetLister
	systems Systems
	rotator *rotator // its gates and holds: a look that is in a target's way stops
	health  *health
	asked   chan struct{}
	log     *zap.Logger
	metrics *Metrics
}

func (l *looker) run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-l.asked:
		}
		if err := l.next(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("looking at keys", zap.Error(err))
		}
	}
}

// next looks at the keys of one target, if some are due.
func (l *looker) next(ctx context.Context) error {
	targets, err := l.targets.Targets(ctx)
	if err != nil {
		return err
	}
	looks := make([]keyturn.Look, len(targets))
	for i, t := range targets {
		looks[i] = keyturn.Look{Target: t.Name, Every: *t.WithDefaults().Observe}
	}
	target, began, err := l.store.ClaimLook(ctx, l.owner, looks, lookTimes(), lookLease)
	if errors.Is(err, keyturn.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	lookCtx, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	stop := KeepLease(lookCtx, cancel, lookLease, func(ctx context.Context) error {
		_, err := l.store.RenewLook(ctx, target, l.owner, lookLease)
		return err
	})
	found, err := l.look(lookCtx, target)
	stop()
	return l.ended(ctx, target, began, found, err)
}

// ended writes down what came of a look.
func (l *looker) ended(ctx context.Context, target string, began time.Time, found map[keyturn.ObservedKey]int, err error) error {
	fields := []zap.Field{zap.String("target", target), zap.Duration("took", l.now().Sub(began)), zap.Any("keys", found)}
	result, retry := "done", lookRetry
	switch {
	case err == nil:
		l.log.Info("keys looked at", fields...)
	case errors.Is(err, errYields), ctx.Err() != nil: // goes on when the rotations have ended, or in another worker
		result, retry = "yielded", 0
		l.log.Info("look at keys put off", fields...)
	default:
		result = "broken"
		l.log.Warn("looking at keys; tried again later", append(fields, zap.Duration("after", retry), zap.Error(err))...)
	}
	l.metrics.looks.WithLabelValues(target, result).Inc()
	endCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := l.store.EndLook(endCtx, target, l.owner, began, err == nil, retry); !errors.Is(err, keyturn.ErrNotFound) {
		return err
	}
	return nil // the lease ended: somebody else is at it
}

// look asks for the keys of all units that the target's policies select. It returns how many were seen, by
// what became of them.
func (l *looker) look(ctx context.Context, target string) (map[keyturn.ObservedKey]int, error) {
	policies, err := l.store.PoliciesOf(ctx, target)
	if err != nil || len(policies) == 0 {
		return nil, err
	}
	sys, spec, err := l.systems.System(ctx, target, 0)
	if err != nil {
		l.health.unusable(ctx, target, err)
		return nil, err
	}
	// A look that has waited for too long begins beside rotations; any other yields to them.
	beside, err := l.store.RenewLook(ctx, target, l.owner, lookLease)
	if err != nil {
		return nil, err
	}
	discoverCtx, cancel := context.WithTimeout(ctx, planMost)
	defer cancel()
	units, err := sys.Discover(discoverCtx, selected(policies))
	if err != nil {
		l.health.failed(ctx, target, keyturn.AsSystemError(err, keyturn.KindTransient))
		return nil, fmt.Errorf("asking target %s for its units: %w", target, err)
	}
	l.health.answered(ctx, target)
	units = slices.DeleteFunc(units, func(u keyturn.Unit) bool {
		return !slices.ContainsFunc(policies, func(p keyturn.Policy) bool { return p.Select.Match(u) })
	})
	if len(units) > 0 {
		if err := l.store.SaveUnits(ctx, units); err != nil {
			return nil, err
		}
	}
	found := map[keyturn.ObservedKey]int{}
	units = slices.DeleteFunc(units, func(u keyturn.Unit) bool { return !u.Rotatable })
	v := &view{l: l, sys: sys, target: spec, gate: l.rotator.gates.of(target), found: found}
	for group := range slices.Chunk(units, lookGroup) {
		busy, err := l.store.RenewLook(ctx, target, l.owner, lookLease)
		if err != nil {
			return found, err
		}
		if busy && !beside {
			return found, errYields
		}
		if err := v.group(ctx, group); err != nil {
			return found, err
		}
	}
	return found, nil
}

// selected is a selection that selects at least what the policies do, so that the target is asked once.
func selected(policies []keyturn.Policy) keyturn.Selection {
	var all keyturn.Selection
	for _, p := range policies {
		if len(p.Select.Projects) == 0 {
			return keyturn.Selection{}
		}
		all.Projects = append(all.Projects, p.Select.Projects...)
	}
	return all
}

// view is a look at a target under way.
type view struct {
	l      *looker
	sys    System
	target keyturn.Target
	gate   *gate

	mu    sync.Mutex
	found map[keyturn.ObservedKey]int
	seen  []keyturn.Observation
	err   error // the target is in trouble
}

// group looks at some units and records what it saw.
func (v *view) group(ctx context.Context, units []keyturn.Unit) error {
	ids := make([]string, len(units))
	for i, u := range units {
		ids[i] = u.ID
	}
	known, err := v.l.store.KnownKeys(ctx, ids) // before the look: what is recorded later is newer
	if err != nil {
		return err
	}
	v.seen = v.seen[:0]
	slots := make(chan struct{}, max(1, v.target.WithDefaults().Limits.Concurrency/lookShare))
	var asking sync.WaitGroup
	for _, id := range ids {
		was, ok := known[id]
		if !ok || was.Busy {
			v.count(keyturn.ObservedRefused)
			continue
		}
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			v.one(ctx, id, was.KeyID)
		})
	}
	asking.Wait()
	if err := v.record(ctx); err != nil {
		return err
	}
	if v.err != nil {
		return v.err
	}
	return v.name(ctx)
}

// one asks for the key of a unit. What is wrong with one unit does not keep the others from being looked at; a
// target in trouble is left alone.
func (v *view) one(ctx context.Context, unit, known string) {
	v.mu.Lock()
	broken := v.err != nil
	v.mu.Unlock()
	if broken || ctx.Err() != nil {
		return
	}
	now := v.l.now()
	if held := v.gate.held(now); held > 0 {
		v.fail(fmt.Errorf("target %s is held for %s", v.target.Name, held.Round(time.Millisecond)))
		return
	}
	askCtx, cancel := context.WithTimeout(ctx, v.target.WithDefaults().Timeouts.Request.Std())
	defer cancel()
	key, err := v.sys.Current(askCtx, unit)
	v.l.metrics.observeCall("observe", v.l.now().Sub(now), err)
	if err == nil {
		v.gate.success()
		v.l.health.answered(ctx, v.target.Name)
		since := v.since(askCtx, unit, known, key)
		v.mu.Lock()
		v.seen = append(v.seen, keyturn.Observation{Unit: unit, Known: known, KeyID: key, Since: since})
		v.mu.Unlock()
		return
	}
	v.count("error")
	failure := keyturn.AsSystemError(err, keyturn.KindTransient)
	v.l.metrics.errors.WithLabelValues(v.target.Name, failure.Code).Inc()
	v.l.health.failed(ctx, v.target.Name, failure)
	if d := v.gate.failure(failure, v.l.now()); d > 0 {
		v.l.rotator.hold(ctx, v.target.Name, failure.Error(), d)
		v.fail(fmt.Errorf("asking for the key of unit %s: %w", unit, err))
	}
}

// since is when a key came into use, if that can be known. The first key of a unit is as old as the key itself; a later
// one came into use after the one before it, whenever it was made.
func (v *view) since(ctx context.Context, unit, known, key string) time.Time {
	dater, ok := As[KeyDater](v.sys)
	if known != "" || !ok {
		return sinceOf(key)
	}
	made, err := dater.KeyMade(ctx, unit, key)
	if err != nil {
		v.l.log.Info("the age of a key can't be had: it begins now", zap.String("unit", unit), zap.Error(err))
	}
	return made
}

func (v *view) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil {
		v.err = err
	}
}

func (v *view) count(result keyturn.ObservedKey) {
	v.mu.Lock()
	v.found[result]++
	v.mu.Unlock()
	v.l.metrics.lookedAt.WithLabelValues(v.target.Name, string(result)).Inc()
}

func (v *view) record(ctx context.Context) error {
	if len(v.seen) == 0 {
		return ctx.Err()
	}
	results, err := v.l.store.Observe(ctx, v.seen)
	if err != nil {
		return err
	}
	for i, result := range results {
		v.count(result)
		if result == keyturn.ObservedChanged {
			v.l.log.Info("somebody else turned a key", zap.String("unit", v.seen[i].Unit),
				zap.String("before", v.seen[i].Known), zap.String("now", v.seen[i].KeyID))
		}
	}
	return nil
}
