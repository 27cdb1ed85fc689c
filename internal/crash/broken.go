//go:build unix

package crash

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// Broken names a step that is broken on purpose, so that a test can see that
// its checker notices.
type Broken string

// The broken steps.
const (
	BrokenNothing Broken = ""
	// BrokenBlind sends the change of an open intent again without looking whether it was carried out.
	BrokenBlind Broken = "blind"
	// BrokenForget drops some results that say which key a task made: no key record is written.
	BrokenForget Broken = "forget"
	// BrokenLose never hands out again what a worker left behind.
	BrokenLose Broken = "lose"
)

// forgetEach is which results BrokenForget drops: each so many-th. After a crash there may be no more than one left.
const forgetEach = 1

// ParseBroken reads the name of a broken step.
func ParseBroken(text string) (Broken, error) {
	switch b := Broken(text); b {
	case BrokenNothing, BrokenBlind, BrokenForget, BrokenLose:
		return b, nil
	default:
		return "", fmt.Errorf("there is no broken step %q: %s, %s and %s are", text, BrokenBlind, BrokenForget, BrokenLose)
	}
}

// Worker breaks a worker's ports.
func (b Broken) Worker(cfg worker.Config) worker.Config {
	switch b {
	case BrokenBlind:
		unseen := &unseen{}
		cfg.Store = blindStore{cfg.Store, unseen}
		cfg.Systems = blindSystems{cfg.Systems, unseen}
	case BrokenForget:
		cfg.Store = &forgetStore{Store: cfg.Store}
	case BrokenLose:
		cfg.Store = loseStore{cfg.Store}
	}
	return cfg
}

// unseen are the keys before of units whose intent was taken over: what a
// system that nobody asked is believed to show.
type unseen struct {
	mu   sync.Mutex
	keys map[string]string // by unit
}

func (u *unseen) put(unit, key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.keys == nil {
		u.keys = map[string]string{}
	}
	u.keys[unit] = key
}

func (u *unseen) take(unit string) (string, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key, ok := u.keys[unit]
	delete(u.keys, unit)
	return key, ok
}

// blindStore says that every open intent has settled long ago.
type blindStore struct {
	worker.Store
	unseen *unseen
}

func (s blindStore) Take(ctx context.Context, task keyturn.ID, owner string, lease, settle time.Duration) (keyturn.Taken, error) {
	taken, err := s.Store.Take(ctx, task, owner, lease, settle)
	if err != nil {
		return taken, err
	}
	tasks, _, err := s.AnnouncedTasks(ctx, []keyturn.ID{task})
	for _, t := range tasks {
		s.unseen.put(t.Unit, taken.Intent.Before)
	}
	taken.SettledIn, taken.AnsweredFor = -1, -1
	return taken, err
}

type blindSystems struct {
	worker.Systems
	unseen *unseen
}

func (s blindSystems) System(ctx context.Context, target string, generation int64) (worker.System, keyturn.Target, error) {
	sys, t, err := s.Systems.System(ctx, target, generation)
	if err != nil {
		return sys, t, err
	}
	return blindSystem{sys, s.unseen}, t, nil
}

// blindSystem answers the first question after a take-over itself.
type blindSystem struct {
	worker.System
	unseen *unseen
}

// Unwrap returns the system that is not looked at.
func (s blindSystem) Unwrap() worker.System { return s.System }

func (s blindSystem) Current(ctx context.Context, unit string) (string, error) {
	if key, ok := s.unseen.take(unit); ok {
		return key, nil
	}
	return s.System.Current(ctx, unit)
}

// Confirm believes that nothing was changed where Current would.
func (s blindSystem) Confirm(ctx context.Context, unit string, intent keyturn.Intent) (keyturn.Sight, error) {
	if key, ok := s.unseen.take(unit); ok {
		return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone}, nil
	}
	if confirmer, ok := worker.As[worker.Confirmer](s.System); ok {
		return confirmer.Confirm(ctx, unit, intent)
	}
	key, err := s.System.Current(ctx, unit)
	if err == nil && intent.ChangedBy(key) {
		return keyturn.Sight{Key: key, Progress: keyturn.ProgressDone}, nil
	}
	return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone}, err
}

// forgetStore ends some tasks that have turned their unit without the key that they made.
type forgetStore struct {
	worker.Store
	turned atomic.Int64
}

func (s *forgetStore) Finish(ctx context.Context, results []keyturn.TaskResult) (keyturn.Finished, error) {
	kept := slices.Clone(results)
	for i := range kept {
		if kept[i].State == keyturn.TaskSucceeded && s.turned.Add(1)%forgetEach == 0 {
			kept[i].State, kept[i].Reason = keyturn.TaskFailed, "dropped on purpose"
			kept[i].KeyAfter, kept[i].Resolution = "", ""
		}
	}
	return s.Store.Finish(ctx, kept)
}

// loseStore never finds what was handed out and left behind.
type loseStore struct{ worker.Store }

func (s loseStore) Requeue(ctx context.Context, _ time.Duration, busy []string) ([]string, error) {
	return s.Store.Requeue(ctx, 1000*time.Hour, busy)
}
