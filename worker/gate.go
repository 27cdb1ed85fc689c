package worker

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	gateTolerance = 5                      // failures in a row before a target is held
	gateFirst     = 250 * time.Millisecond // the first hold; each further one is twice as long
	gateLongest   = 30 * time.Second
)

// gate counts a target's troubles and says how long to leave it alone. A 429
// holds it at once; other troubles only when several came in a row without a
// success in between, so that one lost connection among hundreds does not stop
// the rest.
type gate struct {
	mu       sync.Mutex
	failures int
	until    time.Time // the target is held
}

// held returns how long the target is still to be left alone.
func (g *gate) held(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until.Sub(now)
}

// success ends a row of failures.
func (g *gate) success() {
	g.mu.Lock()
	g.failures = 0
	g.mu.Unlock()
}

// failure returns how long the target must be left alone from now on; 0: it
// need not be, or is already held for that long.
func (g *gate) failure(err *keyturn.SystemError, now time.Time) time.Duration {
	if !err.Target {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures++
	hold := err.RetryAfter
	if hold == 0 && g.failures >= gateTolerance {
		hold = min(gateLongest, gateFirst<<min(g.failures-gateTolerance, 10))
	}
	if !now.Add(hold).After(g.until.Add(hold / 4)) { // calls that were under way together tell the same
		return 0
	}
	g.until = now.Add(hold)
	return hold
}

const (
	retryFirst   = 500 * time.Millisecond
	retryLongest = time.Minute
	retryMost    = 12 // tries of one task before its change, then it has failed
)

// retryAfter is how long a task waits after its n-th failure (from 0), half
// of it at random so that tasks that failed together do not come back together.
func retryAfter(n int) time.Duration {
	d := min(retryLongest, retryFirst<<min(max(n, 0), 10))
	return d/2 + rand.N(d/2) //nolint:gosec // spreading load needs no secrecy
}
