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
}

// success ends a row of failures.
func (g *gate) success() {
	g.mu.Lock()
	g.failures = 0
	g.mu.Unlock()
}

// failure returns how long the target must be left alone; 0: go on.
func (g *gate) failure(err *keyturn.SystemError) time.Duration {
	if !err.Target {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures++
	if err.RetryAfter > 0 {
		return err.RetryAfter
	}
	if g.failures < gateTolerance {
		return 0
	}
	return min(gateLongest, gateFirst<<min(g.failures-gateTolerance, 10))
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
