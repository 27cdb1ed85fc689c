package digest

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// originKey names an origin (RFC 6454): lower case, without the default port.
type originKey struct{ scheme, host string }

func newOriginKey(scheme, host string) originKey {
	scheme, host = strings.ToLower(scheme), strings.ToLower(host)
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return originKey{scheme, host}
}

// origin is what is known of one server.
type origin struct {
	current atomic.Pointer[session]
	proven  atomic.Bool // the server has accepted the credentials before

	mu     sync.Mutex
	flight *flight // the fetching of a new nonce that is under way
}

// flight is the fetching of one challenge that others may wait for. Its
// results are written before done is closed.
type flight struct {
	done   chan struct{}
	landed bool // under origin.mu

	session *session
	err     error // what those that waited get
	open    bool  // the server did not ask for credentials
}

// pass is the leave to send a request: with the nth use of a session, or, if
// lead is set, after having fetched a challenge, or, with neither, without credentials.
type pass struct {
	session *session
	n       uint32
	lead    *flight
}

// acquire finds a nonce to use, and waits for one that somebody else is
// fetching if there is no other.
func (o *origin) acquire(ctx context.Context, now func() time.Time) (pass, error) {
	for {
		s, n, at := o.current.Load(), uint32(0), now()
		if s != nil {
			n = s.nc.Add(1)
			if s.usable(n, at, softUses, softAge) {
				return pass{session: s, n: n}, nil
			}
		}
		f, lead := o.join(s)
		switch {
		case f == nil: // a newer one has come meanwhile
			continue
		case lead:
			return pass{lead: f}, nil
		case s != nil && s.usable(n, at, hardUses, hardAge):
			return pass{session: s, n: n}, nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return pass{}, &ChallengeError{Err: context.Cause(ctx)}
		}
		if f.err != nil || f.open {
			return pass{}, f.err
		}
	}
}

// join returns the flight under way, or a new one that the caller leads; nil
// if the session that the caller knows is not the current one any more.
func (o *origin) join(known *session) (f *flight, lead bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.current.Load() != known {
		return nil, false
	}
	if o.flight == nil {
		o.flight = &flight{done: make(chan struct{})}
		lead = true
	}
	return o.flight, lead
}

// land ends a flight, once.
func (o *origin) land(f *flight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f.landed {
		return
	}
	f.landed = true
	if f.session != nil {
		f.session.shared.Store(true)
		o.current.Store(f.session)
	}
	if o.flight == f {
		o.flight = nil
	}
	close(f.done)
}

// replace makes next the current session in the place of one that the server
// has forgotten, unless somebody else was faster.
func (o *origin) replace(forgotten, next *session) {
	next.shared.Store(true)
	if !o.current.CompareAndSwap(forgotten, next) {
		next.shared.Store(false)
	}
}

// worked records that the server accepted a session; first is the one with
// which the request was tried first. If that was refused and is still current, its successor
// takes its place: the server may have forgotten it without saying so.
func (o *origin) worked(first, s *session) {
	if !o.proven.Load() {
		o.proven.Store(true)
	}
	if first != s && o.current.Load() == first {
		o.replace(first, s)
	}
}
