package simulator

import (
	"crypto/rand"
	"encoding/base64"
	"sync"
	"sync/atomic"
	"time"
)

// maxNonces bounds the memory for clients that ask for a challenge before
// every request: the oldest nonces are forgotten first, and become stale.
const maxNonces = 1 << 17

// nonce remembers which counts were used with it. The first 64 need no
// further memory, because most clients that ask often use few.
type nonce struct {
	value string
	born  time.Time
	first atomic.Uint64
	more  atomic.Pointer[[]atomic.Uint64]
}

// use marks a count and reports whether it was free.
func (n *nonce) use(count uint64, uses int) bool {
	word := &n.first
	if count >= 64 {
		more := n.more.Load()
		if more == nil {
			words := make([]atomic.Uint64, (uses+63)/64)
			n.more.CompareAndSwap(nil, &words)
			more = n.more.Load()
		}
		word = &(*more)[count/64]
	}
	bit := uint64(1) << (count % 64)
	return word.Or(bit)&bit == 0
}

// nonces are the nonces that one server gave out.
type nonces struct {
	life time.Duration
	last atomic.Pointer[nonce] // most requests carry the newest

	mu    sync.RWMutex
	byVal map[string]*nonce
	queue []*nonce // oldest first
}

func newNonces(life time.Duration) *nonces {
	return &nonces{life: life, byVal: map[string]*nonce{}}
}

// issue makes a nonce: 24 random bytes in base64, as the real server's.
func (s *nonces) issue(now time.Time) *nonce {
	var raw [24]byte
	_, _ = rand.Read(raw[:]) // never fails, says its documentation
	n := &nonce{value: base64.StdEncoding.EncodeToString(raw[:]), born: now}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	s.byVal[n.value] = n
	s.queue = append(s.queue, n)
	s.last.Store(n)
	return n
}

// forget drops the nonces that ended. The caller holds mu.
func (s *nonces) forget(now time.Time) {
	drop := 0
	for drop < len(s.queue) && (now.Sub(s.queue[drop].born) >= s.life || len(s.queue)-drop >= maxNonces) {
		delete(s.byVal, s.queue[drop].value)
		s.queue[drop] = nil
		drop++
	}
	s.queue = s.queue[drop:]
}

// find returns a nonce that is still good; nil: unknown or too old.
func (s *nonces) find(value string, now time.Time) *nonce {
	n := s.last.Load()
	if n == nil || n.value != value {
		s.mu.RLock()
		n = s.byVal[value]
		s.mu.RUnlock()
	}
	if n == nil || now.Sub(n.born) >= s.life {
		return nil
	}
	return n
}
