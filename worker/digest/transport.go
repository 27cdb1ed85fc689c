package digest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The limits of a nonce. Jetty, whose rules Ops Manager's challenges follow, forgets one after 60 seconds or
// 1,024 uses (maxNonceAge, maxNonceCount). From the soft limit on one request fetches a new one; up to
// the hard limit the others go on with the old. Between the two lie more requests than are usually in flight.
const (
	softUses = 700
	hardUses = 1000
	softAge  = 45 * time.Second
	hardAge  = 50 * time.Second
)

// drainLimit is how much of a refusal's body is read to keep its connection.
const drainLimit = 256 << 10

// Config is what a Transport needs.
type Config struct {
	// Base sends the requests; nil means a plain http.Transport.
	Base http.RoundTripper
	// Username and Password are the credentials; an API's public and private key.
	Username, Password string
	// Origin is the only one that gets the credentials ("https://host:8443"); requests to others
	// pass through untouched. Empty means any origin that is asked directly: one that a
	// redirect led to never gets them.
	Origin string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Transport is an http.RoundTripper that logs in by HTTP Digest. It is safe
// for concurrent use, and best shared by all requests of the same credentials.
type Transport struct {
	base               http.RoundTripper
	username, password string
	only               *originKey
	now                func() time.Time
	buffers            sync.Pool // of *[]byte: what is hashed, and the header while it is put together

	mu      sync.RWMutex
	origins map[originKey]*origin
}

// ChallengeError reports that no challenge could be had for a request. The
// request itself was not sent.
type ChallengeError struct {
	// Status is the answer to the question for a challenge; 0: there was none, and Err says why.
	Status int
	// Header is that of the answer.
	Header http.Header
	Err    error
}

func (e *ChallengeError) Error() string {
	if e.Err != nil {
		return "asking for a digest challenge: " + e.Err.Error()
	}
	return fmt.Sprintf("asking for a digest challenge: the server answered %d instead", e.Status)
}

func (e *ChallengeError) Unwrap() error { return e.Err }

func asChallengeError(err error) error {
	if _, ok := errors.AsType[*ChallengeError](err); ok {
		return err
	}
	return &ChallengeError{Err: err}
}

// NewTransport returns a Transport.
func NewTransport(cfg Config) *Transport {
	t := &Transport{
		base: cfg.Base, username: cfg.Username, password: cfg.Password, now: cfg.Now,
		origins: make(map[originKey]*origin),
		buffers: sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }},
	}
	if t.base == nil {
		t.base = &http.Transport{Proxy: http.ProxyFromEnvironment}
	}
	if t.now == nil {
		t.now = time.Now
	}
	if scheme, host, ok := strings.Cut(cfg.Origin, "://"); ok {
		host, _, _ = strings.Cut(host, "/")
		key := newOriginKey(scheme, host)
		t.only = &key
	}
	return t
}

// CloseIdleConnections closes those of the base.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip sends the request with credentials. It leaves the request as it
// is. Hooks of net/http/httptrace in the request's context see each time that the request
// itself is sent, and no question for a challenge that is sent instead of it.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	key := newOriginKey(req.URL.Scheme, req.URL.Host)
	if !t.trusts(key, req) || req.Header.Get("Authorization") != "" {
		return t.base.RoundTrip(req)
	}
	a := attempt{t: t, o: t.origin(key), req: req}
	if err := a.keepBody(); err != nil {
		return nil, err
	}
	resp, err := a.run()
	if resp != nil {
		resp.Request = req // and not the one that carries the credentials
	}
	return resp, err
}

// trusts reports whether the origin may have the credentials.
func (t *Transport) trusts(key originKey, req *http.Request) bool {
	if t.only != nil {
		return *t.only == key
	}
	for via := req.Response; via != nil && via.Request != nil; via = via.Request.Response {
		if u := via.Request.URL; newOriginKey(u.Scheme, u.Host) != key {
			return false
		}
	}
	return true
}

func (t *Transport) origin(key originKey) *origin {
	t.mu.RLock()
	o := t.origins[key]
	t.mu.RUnlock()
	if o != nil {
		return o
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if o = t.origins[key]; o == nil {
		o = &origin{}
		t.origins[key] = o
	}
	return o
}
