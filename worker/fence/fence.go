// Package fence keeps a request that changes something from being written after its deadline, and tells whether
// it can have been written at all. It serves all adapters whose change is one HTTP request.
package fence

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// errLate is the answer to a write that comes too late.
var errLate = errors.New("the time to send it is over: this process was stopped or suspended in between")

// fencedConn does not write what must not be sent any more. A context alone
// does not see to that: net/http looks at it before it hands a request to the
// goroutine that writes, and a process that is stopped (SIGSTOP, a suspended
// machine) after that look would go on with the write, however much later.
type fencedConn struct {
	net.Conn
	until atomic.Pointer[time.Time] // nil: for ever
}

// Write asks both clocks right before the system call: the monotonic one stands
// still while a machine is suspended, the wall clock can be set back.
func (c *fencedConn) Write(b []byte) (int, error) {
	if until := c.until.Load(); until != nil {
		if now := time.Now(); now.After(*until) || now.Round(0).After(until.Round(0)) {
			return 0, errLate
		}
	}
	return c.Conn.Write(b)
}

// Dial makes a dialer's connections such that Request can fence them.
func Dial(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &fencedConn{Conn: conn}, nil
	}
}

// Request keeps the request of ctx, which has a deadline, from being written
// after it. lift must be called when the request is over.
func Request(ctx context.Context) (_ context.Context, lift func()) {
	until, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	var held atomic.Pointer[fencedConn]
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		conn := info.Conn
		if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
			conn = wrapped.NetConn()
		}
		if c, ok := conn.(*fencedConn); ok {
			c.until.Store(&until)
			held.Store(c)
		}
	}})
	return ctx, func() {
		if c := held.Load(); c != nil {
			c.until.CompareAndSwap(&until, nil) // it may serve another request already
		}
	}
}

// Watch returns a context whose request is watched, and whether some of it may have been written.
//
// That is so from the moment on at which the request has a connection: net/http may write at any time after, even
// while it gives up. It asks for another connection only if nothing was written, or, in a transport above that
// logs in, after a 401, which comes before anything is done.
func Watch(ctx context.Context) (_ context.Context, sent func() bool) {
	var has atomic.Bool
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { has.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { has.Store(true) },
	}), has.Load
}
