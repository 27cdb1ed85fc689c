package web

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// An address may fail tries times at once, and once more every refill.
	tries, refill = 10, 6 * time.Second
	// All addresses together may fail allTries times at once, and once more every allRefill. Who has not failed
	// lately is let in all the same.
	allTries, allRefill = 300, 200 * time.Millisecond
	// maxAddresses bounds the memory. Who comes when it is full is counted with all others who do.
	maxAddresses = 4096
)

// limiter slows guessing down. It counts failures only: who signs in is never slowed by themselves. A
// bucket is the time at which all its failures are forgiven.
type limiter struct {
	now func() time.Time

	mu        sync.Mutex
	all       time.Time
	overflow  time.Time
	addresses map[netip.Prefix]time.Time
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, addresses: map[netip.Prefix]time.Time{}}
}

// wait is how long the address has to wait before it may try again; 0: not at all.
func (l *limiter) wait(remote string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	own, known := l.addresses[network(remote)]
	if !known && len(l.addresses) >= maxAddresses {
		own = l.overflow
	}
	if !own.After(now) {
		return 0 // it has failed nothing: who guesses from many addresses must not lock out everybody else
	}
	return max(over(own, now, tries, refill), over(l.all, now, allTries, allRefill))
}

// over is how long it takes until the bucket has room for one more.
func over(bucket, now time.Time, size int, each time.Duration) time.Duration {
	if !bucket.After(now) {
		return 0
	}
	return max(0, bucket.Sub(now)-time.Duration(size-1)*each)
}

// failed counts an attempt that failed.
func (l *limiter) failed(remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.all = later(l.all, now).Add(allRefill)
	key := network(remote)
	if _, known := l.addresses[key]; !known && len(l.addresses) >= maxAddresses {
		l.forgive(now)
	}
	if _, known := l.addresses[key]; !known && len(l.addresses) >= maxAddresses {
		l.overflow = later(l.overflow, now).Add(refill)
		return
	}
	l.addresses[key] = later(l.addresses[key], now).Add(refill)
}

// forgive forgets those whose failures are forgiven.
func (l *limiter) forgive(now time.Time) {
	for key, until := range l.addresses {
		if !until.After(now) {
			delete(l.addresses, key)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// network is whom an address is counted with: itself, or in IPv6 its /64, of which everybody has many addresses.
func network(remote string) netip.Prefix {
	addr, err := netip.ParseAddr(hostOf(remote))
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
