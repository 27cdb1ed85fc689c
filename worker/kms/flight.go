package kms

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// ErrLate is the answer to a change that would come too late: net/http looks at the context before it hands a
// request to the goroutine that writes it, and a process that is stopped (SIGSTOP, a suspended machine) after
// that look would go on with the write, however much later.
var ErrLate = errors.New("the time to send it is over: this process was stopped or suspended in between")

// errTwice is the answer to a library that sends a change again.
var errTwice = errors.New("a change is sent only once")

// Flight follows the requests of one call: how far they got. If the call changes something, the flight keeps its
// request from being sent after the deadline of the context, and from being sent twice.
type Flight struct {
	change bool
	until  *time.Time
	tried  atomic.Bool
	status atomic.Int32
	sent   atomic.Bool
	over   atomic.Bool // it was answered, or the connection broke: whatever comes now is another request
	conn   atomic.Pointer[watchedConn]
}

type flightKey struct{}

// Follow returns a context for one call, and its flight. change: doing it twice would be wrong.
func Follow(ctx context.Context, change bool) (context.Context, *Flight) {
	f := &Flight{change: change}
	if until, ok := ctx.Deadline(); ok {
		f.until = &until
	}
	return context.WithValue(ctx, flightKey{}, f), f
}

// Sent reports whether a change may have been executed, if no answer says otherwise.
func (f *Flight) Sent() bool { return f.change && f.sent.Load() }

// Tried reports whether there was a request at all: before it, libraries look for credentials.
func (f *Flight) Tried() bool { return f.tried.Load() }

// Status is that of the last answer; 0: there was none.
func (f *Flight) Status() int { return int(f.status.Load()) }

// late asks both clocks: the monotonic one stands still while a machine is suspended, the wall clock can be set back.
func (f *Flight) late() bool {
	if f.until == nil {
		return false
	}
	now := time.Now()
	return now.After(*f.until) || now.Round(0).After(f.until.Round(0))
}

// watchedConn tells the flight that it carries when bytes are written, and asks it whether they still may be.
type watchedConn struct {
	net.Conn
	flight atomic.Pointer[Flight] // nil: it carries no change
}

func (c *watchedConn) Write(b []byte) (int, error) {
	if f := c.flight.Load(); f != nil {
		if f.late() {
			return 0, ErrLate
		}
		f.sent.Store(true)
	}
	return c.Conn.Write(b)
}

// transport lets flights watch the requests that are changes.
type transport struct {
	base  *http.Transport
	ours  func(*http.Request) bool
	check func(*http.Response) error // may be nil
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.roundTrip(req)
	if err != nil || t.check == nil {
		return resp, err
	}
	if err := t.check(resp); err != nil {
		_ = resp.Body.Close() // the answer is of no use
		return nil, err
	}
	return resp, nil
}

func (t *transport) roundTrip(req *http.Request) (*http.Response, error) {
	f, _ := req.Context().Value(flightKey{}).(*Flight)
	if f == nil || !t.ours(req) {
		return t.base.RoundTrip(req)
	}
	f.tried.Store(true)
	f.status.Store(0)
	if !f.change {
		resp, err := t.base.RoundTrip(req)
		if err == nil {
			f.status.Store(int32(resp.StatusCode)) //nolint:gosec // three digits
		}
		return resp, err
	}
	if f.over.Load() {
		return nil, errTwice
	}
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: f.board})
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if c := f.conn.Swap(nil); c != nil {
		c.flight.CompareAndSwap(f, nil) // it may carry another request already
	}
	if err == nil {
		f.status.Store(int32(resp.StatusCode)) //nolint:gosec // three digits
	}
	switch {
	case err == nil && resp.StatusCode == http.StatusUnauthorized:
		f.sent.Store(false) // refused before anything was done: libraries come again with another token
	case err == nil || f.sent.Load():
		f.over.Store(true)
	}
	return resp, err
}

// board is told on which connection the request is about to be written.
func (f *Flight) board(info httptrace.GotConnInfo) {
	conn := info.Conn
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = wrapped.NetConn()
	}
	c, ok := conn.(*watchedConn)
	if !ok {
		f.sent.Store(true) // nobody will tell
		return
	}
	c.flight.Store(f)
	f.conn.Store(c)
}
