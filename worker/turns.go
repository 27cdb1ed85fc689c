package worker

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	turnEach    = 250 * time.Millisecond // how often it is asked whose turn it is, over all that wait
	turnLeast   = 8 * time.Second
	turnLongest = 2 * time.Minute
	turnForget  = 3 * turnLongest // who has not asked for so long does not wait any more
)

// turns counts the units that wait for the same exclusive thing, so that the more there are the less often each
// asks for its turn: the next one is found as soon, and hundreds do not keep the database and the target busy for hours.
type turns struct {
	mu      sync.Mutex
	waiting map[string]map[string]time.Time // by exclusive thing and unit: when it asked last
	swept   time.Time
}

// wait notes that the unit waits and returns for how long.
func (t *turns) wait(exclusive, unit string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = make(map[string]map[string]time.Time)
	}
	if now.Sub(t.swept) > turnLongest {
		t.swept = now
		t.sweep(now)
	}
	units := t.waiting[exclusive]
	if units == nil {
		units = make(map[string]time.Time)
		t.waiting[exclusive] = units
	}
	units[unit] = now
	d := min(max(turnEach*time.Duration(len(units)), turnLeast), turnLongest)
	return d/2 + rand.N(d/2) //nolint:gosec // spreading load needs no secrecy
}

// goes notes that the unit's turn has come.
func (t *turns) goes(exclusive, unit string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waiting[exclusive], unit)
}

// sweep forgets those whose turn came elsewhere, or never will. The caller holds mu.
func (t *turns) sweep(now time.Time) {
	for exclusive, units := range t.waiting {
		for unit, asked := range units {
			if now.Sub(asked) > turnForget {
				delete(units, unit)
			}
		}
		if len(units) == 0 {
			delete(t.waiting, exclusive)
		}
	}
}
