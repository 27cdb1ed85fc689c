package retain

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

const (
	lookGroup = 100 // units that are looked at between two renewals
	saveMost  = 500 // snapshots that are held in memory, and saved at once
	// listMost is the longest that listing the snapshots of one unit may take, in requests that may each take
	// as long as the target's timeout.
	listMost = 20
	// lookShare is the part of a target's concurrency that a look may use.
	lookShare = 8
)

// look lists the snapshots of all units of a target.
func (k *Keeper) look(ctx context.Context, job keyturn.KeyJob, target keyturn.Target) error {
	sys, spec, err := k.system(ctx, target.Name)
	if err != nil {
		return err
	}
	lister, ok := sys.(worker.SnapshotLister)
	if !ok {
		return nil // its keys stay those of which it is not known who needs them
	}
	// A look that has waited for too long begins beside rotations; any other yields to them.
	beside, err := k.renew(ctx, job)
	if err != nil {
		return err
	}
	for after := ""; ; {
		units, err := k.cfg.Store.UnitsOf(ctx, target.Name, after, lookGroup)
		if err != nil || len(units) == 0 {
			return err
		}
		busy, err := k.renew(ctx, job)
		if err != nil {
			return err
		}
		if busy && !beside {
			return errYields
		}
		ids := make([]string, len(units))
		for i, u := range units {
			ids[i] = u.ID
		}
		if err := k.lookAt(ctx, lister, spec, ids); err != nil {
			return err
		}
		after = ids[len(ids)-1]
	}
}

// system returns the client of a target, which is read in the database.
func (k *Keeper) system(ctx context.Context, target string) (worker.System, keyturn.Target, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return k.cfg.Systems.System(ctx, target, 0)
}

// lookAt lists the snapshots of some units. What is wrong with one unit is written down, and does not keep the
// others from being looked at; a target in trouble is left alone.
func (k *Keeper) lookAt(ctx context.Context, lister worker.SnapshotLister, target keyturn.Target, units []string) error {
	looks, err := k.cfg.Store.BeginSnapshotLooks(ctx, units)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := &view{k: k, lister: lister, target: target.WithDefaults(), stop: cancel}
	slots := make(chan struct{}, max(1, v.target.Limits.Concurrency/lookShare))
	var asking sync.WaitGroup
	for i := range looks {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			v.one(ctx, &looks[i])
		})
	}
	asking.Wait()
	if err := v.flush(ctx, 0); err != nil && v.err == nil {
		v.err = err
	}
	if v.err != nil {
		return v.err
	}
	return k.cfg.Store.EndSnapshotLooks(ctx, looks)
}

// view is a look at a group of units under way.
type view struct {
	k      *Keeper
	lister worker.SnapshotLister
	target keyturn.Target
	stop   context.CancelFunc

	mu   sync.Mutex
	seen []keyturn.SeenSnapshot
	err  error // the target, or the database, is in trouble
}

func (v *view) one(ctx context.Context, look *keyturn.SnapshotLook) {
	if ctx.Err() != nil {
		v.fail(ctx.Err())
		return
	}
	askCtx, cancel := context.WithTimeout(ctx, listMost*v.target.Timeouts.Request.Std())
	defer cancel()
	var saving error
	err := v.lister.Snapshots(askCtx, look.Unit, func(s keyturn.Snapshot) bool {
		s.Unit = look.Unit
		v.mu.Lock()
		v.seen = append(v.seen, keyturn.SeenSnapshot{Snapshot: s, Look: look.Number})
		v.mu.Unlock()
		saving = v.flush(ctx, saveMost)
		return saving == nil
	})
	v.k.cfg.Metrics.looked(v.target.Name, err)
	switch {
	case saving != nil:
		v.fail(saving)
	case ctx.Err() != nil:
		v.fail(ctx.Err())
	case err != nil:
		v.failed(ctx, look, err)
	}
}

// failed deals with a unit whose snapshots can't be listed.
func (v *view) failed(ctx context.Context, look *keyturn.SnapshotLook, err error) {
	failure := keyturn.AsSystemError(err, keyturn.KindTransient)
	if !failure.Target {
		look.Trouble = failure.Error()
		return
	}
	if failure.RetryAfter > 0 {
		if err := v.k.cfg.Store.Hold(ctx, v.target.Name, failure.Error(), failure.RetryAfter); err != nil {
			v.fail(err)
			return
		}
	}
	v.fail(fmt.Errorf("listing the snapshots of unit %s: %w", look.Unit, err))
}

func (v *view) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil {
		v.err = err
		v.stop()
	}
}

// flush saves what was seen, if there is as much as least.
func (v *view) flush(ctx context.Context, least int) error {
	v.mu.Lock()
	if len(v.seen) == 0 || len(v.seen) < least {
		v.mu.Unlock()
		return nil
	}
	seen := v.seen
	v.seen = nil
	v.mu.Unlock()
	return v.k.cfg.Store.SaveSnapshots(ctx, seen)
}

// refresh lists the snapshots of a few units now, if the last look at them is older than age, or than the end of the key's use.
func (k *Keeper) refresh(ctx context.Context, uses []keyturn.KeyUse, now time.Time, age time.Duration) error {
	byTarget := map[string][]string{}
	for _, u := range uses {
		if u.LookedAt == nil || u.Trouble != "" || u.LookedEarly() || now.Sub(*u.LookedAt) > age {
			byTarget[u.Unit.Target] = append(byTarget[u.Unit.Target], u.Unit.ID)
		}
	}
	for target, units := range byTarget {
		sys, spec, err := k.system(ctx, target)
		if err != nil {
			return err
		}
		lister, ok := sys.(worker.SnapshotLister)
		if !ok {
			continue
		}
		if err := k.lookAt(ctx, lister, spec, unique(units)); err != nil {
			return err
		}
	}
	return nil
}
