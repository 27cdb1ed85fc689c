package digest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// attempt is one request of the caller on its way.
type attempt struct {
	t    *Transport
	o    *origin
	req  *http.Request
	body func() (io.ReadCloser, error) // nil: no body
	last *session                      // the one that was used last
}

// keepBody sees to it that the body can be sent more than once.
func (a *attempt) keepBody() error {
	if a.req.Body == nil || a.req.Body == http.NoBody {
		return nil
	}
	if a.body = a.req.GetBody; a.body != nil {
		return a.req.Body.Close() // each time a new one is used
	}
	kept, err := io.ReadAll(a.req.Body)
	err = errors.Join(err, a.req.Body.Close())
	if err != nil {
		return fmt.Errorf("reading the request's body: %w", err)
	}
	a.body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(kept)), nil }
	return nil
}

func (a *attempt) run() (*http.Response, error) {
	p, err := a.o.acquire(a.req.Context(), a.t.now)
	switch {
	case err != nil:
		return nil, err
	case p.lead != nil:
		return a.lead(p.lead)
	case p.session == nil: // the origin asked nobody for credentials: perhaps us
		return a.lead(&flight{done: make(chan struct{})})
	default:
		return a.authenticate(p.session, p.n)
	}
}

// lead gets the challenge that the others wait for, and then goes its own way.
func (a *attempt) lead(f *flight) (*http.Response, error) {
	defer a.o.land(f)
	resp, err := a.ask()
	if err != nil {
		if a.req.Context().Err() == nil { // else it is no fault of the server
			f.err = asChallengeError(err)
		}
		return nil, err
	}
	c, ok := challenge{}, false
	if resp.StatusCode == http.StatusUnauthorized {
		c, ok = fromHeader(resp.Header)
	}
	if !ok {
		return a.unchallenged(f, resp)
	}
	drain(resp)
	s := newSession(c, a.t.username, a.t.password, a.t.now())
	n := s.nc.Add(1)
	if a.o.proven.Load() {
		s.shared.Store(true)
		f.session = s
		a.o.land(f)
		return a.authenticate(s, n)
	}
	// Nobody knows yet whether the credentials are right: the others wait for
	// the answer, so that wrong ones are not tried by all of them.
	resp, err = a.authenticate(s, n)
	if err != nil || !refused(resp) {
		f.session = a.last
	}
	return resp, err
}

// ask sends what makes the server send a challenge: the request itself, if it
// can do no harm, otherwise a GET in its place.
func (a *attempt) ask() (*http.Response, error) {
	if a.safe() {
		return a.t.base.RoundTrip(a.req)
	}
	probe := a.req.WithContext(untraced{a.req.Context()})
	probe.Method, probe.Body, probe.GetBody, probe.ContentLength = http.MethodGet, nil, nil, 0
	probe.TransferEncoding, probe.Trailer = nil, nil
	resp, err := a.t.base.RoundTrip(probe)
	if err != nil {
		return nil, &ChallengeError{Err: err}
	}
	return resp, nil
}

// unchallenged deals with an answer that is no challenge.
func (a *attempt) unchallenged(f *flight, resp *http.Response) (*http.Response, error) {
	failure := &ChallengeError{Status: resp.StatusCode, Header: resp.Header}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError {
		f.err = failure
	} else {
		f.open = true
	}
	if a.safe() {
		return resp, nil
	}
	drain(resp)
	return nil, failure
}

// errReplayed reports that the base lost the connection and sent a request
// again by itself, with a count that was used up: the refusal says nothing.
var errReplayed = errors.New("the connection broke before there was an answer")

// authenticate sends the request with the nth use of a nonce. After a refusal
// that may have been bad luck it does so again with a nonce of its own, at most twice.
func (a *attempt) authenticate(s *session, n uint32) (*http.Response, error) {
	const retries = 2
	first := s
	for try := 0; ; try++ {
		a.last = s
		own := n == 1 && !s.shared.Load()
		resp, replayed, err := a.sendWith(s, n, own)
		if err != nil {
			return nil, err
		}
		if !refused(resp) {
			a.o.worked(first, s)
			return resp, nil
		}
		c, _ := fromHeader(resp.Header)
		switch {
		case try == retries && replayed:
			drain(resp)
			return nil, errReplayed
		case try == retries, own && !s.shared.Load() && !c.stale && !replayed:
			return resp, nil
		case c.nonce == s.challenge.nonce && try > 0:
			return resp, nil
		}
		drain(resp)
		if c.nonce == s.challenge.nonce { // one nonce for all: only the count can have been wrong
			n = s.nc.Add(1)
			continue
		}
		next := newSession(c, a.t.username, a.t.password, a.t.now())
		n = next.nc.Add(1)
		if c.stale && try == 0 {
			a.o.replace(s, next)
		}
		s = next
	}
}

// sendWith sends the request with the nth use of a nonce. If the nonce is the request's own,
// so that a refusal would be real, it also reports whether net/http sent the request more than once, as
// it does with a GET when a connection that was used before breaks.
func (a *attempt) sendWith(s *session, n uint32, own bool) (resp *http.Response, replayed bool, err error) {
	if !own {
		resp, err = a.send(a.req.Context(), s, n)
		return resp, false, err
	}
	var conns atomic.Int32
	resp, err = a.send(httptrace.WithClientTrace(a.req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { conns.Add(1) },
	}), s, n)
	return resp, conns.Load() > 1, err
}

// send sends a copy of the request with credentials.
func (a *attempt) send(ctx context.Context, s *session, n uint32) (*http.Response, error) {
	req := a.req.WithContext(ctx)
	req.Header = make(http.Header, len(a.req.Header)+1)
	maps.Copy(req.Header, a.req.Header)
	req.Header["Authorization"] = []string{a.t.authorization(s, req, n)}
	if a.body != nil {
		body, err := a.body()
		if err != nil {
			return nil, fmt.Errorf("rewinding the request's body: %w", err)
		}
		req.Body = body
	}
	return a.t.base.RoundTrip(req)
}

func (t *Transport) authorization(s *session, req *http.Request, n uint32) string {
	scratch := t.buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	defer t.buffers.Put(scratch)
	*scratch = s.authorization(*scratch, methodOf(req), req.URL.RequestURI(), n)
	return string(*scratch)
}

// safe reports whether the request can be sent without credentials and without harm.
func (a *attempt) safe() bool {
	switch methodOf(a.req) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return a.body == nil
	default:
		return false
	}
}

func methodOf(req *http.Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}

// refused reports a 401 that asks for Digest credentials. One that does not
// is the application's, not about the nonce.
func refused(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	_, ok := fromHeader(resp.Header)
	return ok
}

// drain reads the rest of a body, so that the connection can be used again.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, drainLimit)
	_ = resp.Body.Close()
}

// untraced is a context without the hooks of httptrace: what is sent under it
// is not the caller's request.
type untraced struct{ context.Context }

func (c untraced) Value(key any) any {
	v := c.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return nil
	}
	return v
}
