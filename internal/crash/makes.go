//go:build unix

package crash

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// Makes is a folder in which keys are made before every change, as they are in a key management service: a file
// each, with the task in its name. Empty: targets make their keys by themselves, as they do. What is made is not what is put into
// use; it shows how often each task had something made.
type Makes string

// Worker puts the folder before every target.
func (m Makes) Worker(cfg worker.Config) worker.Config {
	if m != "" {
		cfg.Systems = makingSystems{cfg.Systems, string(m), &firstLooks{}}
	}
	return cfg
}

// MadeFor lists, by task, what was made in a folder.
func MadeFor(folder string) (map[string][]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("listing what was made: %w", err)
	}
	made := map[string][]string{}
	for _, entry := range entries {
		task, _, _ := strings.Cut(entry.Name(), ".")
		made[task] = append(made[task], entry.Name())
	}
	return made, nil
}

type makingSystems struct {
	worker.Systems
	folder string
	looks  *firstLooks
}

func (s makingSystems) System(ctx context.Context, target string, generation int64) (worker.System, keyturn.Target, error) {
	sys, t, err := s.Systems.System(ctx, target, generation)
	if err == nil {
		sys = makingSystem{sys, s.folder, s.looks}
	}
	return sys, t, err
}

// makingSystem is a system whose keys are made in a folder first, and whose changes are under way for a moment.
type makingSystem struct {
	worker.System
	folder string
	looks  *firstLooks
}

// Unwrap returns the system itself.
func (s makingSystem) Unwrap() worker.System { return s.System }

// Make finds what was made for the task, or makes it: as with most key services, nothing but looking first
// keeps it from making two.
func (s makingSystem) Make(ctx context.Context, _ string, order keyturn.KeyOrder, intent keyturn.Intent) (keyturn.Intent, error) {
	made, err := MadeFor(s.folder)
	if err != nil {
		return intent, err
	}
	names := made[order.Task.String()]
	if len(names) == 0 {
		names = []string{order.Task.String() + "." + rand.Text()}
		if err := os.WriteFile(filepath.Join(s.folder, names[0]), nil, 0o600); err != nil {
			return intent, fmt.Errorf("making a key: %w", err)
		}
	}
	select {
	case <-time.After(2 * duringDelay): // so that there is a time during which it is called
	case <-ctx.Done():
	}
	intent.Data = fmt.Appendf(nil, `{"made":%q}`, names[0])
	return intent, nil
}

// Apply is the system's own: it knows nothing of what was made.
func (s makingSystem) Apply(ctx context.Context, unit string, intent keyturn.Intent) error {
	intent.Data = nil
	return s.System.Apply(ctx, unit, intent)
}

// Confirm shows each change as under way at the first look.
func (s makingSystem) Confirm(ctx context.Context, unit string, intent keyturn.Intent) (keyturn.Sight, error) {
	key, err := s.Current(ctx, unit)
	switch {
	case err != nil:
		return keyturn.Sight{}, err
	case !intent.ChangedBy(key):
		return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone}, nil
	case s.looks.first(unit, key):
		return keyturn.Sight{Key: key, Progress: keyturn.ProgressUnder, Note: "was seen once"}, nil
	default:
		return keyturn.Sight{Key: key, Progress: keyturn.ProgressDone}, nil
	}
}

// firstLooks are the keys that were seen, by unit.
type firstLooks struct {
	mu   sync.Mutex
	seen map[string]string
}

func (l *firstLooks) first(unit, key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[string]string{}
	}
	before := l.seen[unit]
	l.seen[unit] = key
	return before != key
}
