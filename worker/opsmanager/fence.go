package opsmanager

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

// fenced makes a dialer's connections fenced.
func fenced(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &fencedConn{Conn: conn}, nil
	}
}

// fence keeps the request of ctx, which has a deadline, from being written
// after it. lift must be called when the request is over.
func fence(ctx context.Context) (_ context.Context, lift func()) {
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
