package storm_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy passes TCP connections on, until it is told to do worse.
type proxy struct {
	listener *net.TCPListener
	upstream string
	delay    atomic.Int64 // longest delay of each piece, in nanoseconds
	refusing atomic.Bool  // new connections are reset

	mu     sync.Mutex
	links  map[*link]bool
	frozen chan struct{} // closed when it thaws; nil: it is not frozen
	closed bool
	wait   sync.WaitGroup
}

// link is one connection, both halves of it.
type link struct{ down, up *net.TCPConn }

func newProxy(upstream string) (*proxy, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, upstream: upstream, links: map[*link]bool{}}
	p.wait.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		conn, err := p.listener.AcceptTCP()
		if err != nil {
			return // closed
		}
		p.wait.Go(func() { p.serve(conn) })
	}
}

func (p *proxy) serve(down *net.TCPConn) {
	if p.refusing.Load() {
		reset(down)
		return
	}
	up, err := dialTCP(p.upstream)
	if err != nil {
		reset(down)
		return
	}
	l := &link{down, up}
	p.mu.Lock()
	p.links[l] = true
	closed := p.closed
	p.mu.Unlock()
	if closed {
		l.cut()
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(l.up, l.down) })
	both.Go(func() { p.copy(l.down, l.up) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	_, _ = l.down.Close(), l.up.Close()
}

func dialTCP(addr string) (*net.TCPConn, error) {
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	return net.DialTCP("tcp", nil, to)
}

// copy passes on what one side says until it ends, and then that it has ended.
func (p *proxy) copy(to, from *net.TCPConn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.hold()
			if _, werr := to.Write(buf[:n]); werr != nil {
				reset(from)
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite()
			return
		default:
			reset(to)
			return
		}
	}
}

// hold delays a piece, and keeps it while the proxy is frozen.
func (p *proxy) hold() {
	if most := p.delay.Load(); most > 0 {
		<-time.After(time.Duration(rand.Int64N(most)))
	}
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// reset ends a connection so that the other side sees a reset, and not an end.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

func (l *link) cut() {
	reset(l.down)
	reset(l.up)
}

// cut resets a share of the connections.
func (p *proxy) cut(share float64, r *rand.Rand) int {
	return p.each(share, r, (*link).cut)
}

// halfClose ends one direction of a share of the connections.
func (p *proxy) halfClose(share float64, r *rand.Rand) int {
	return p.each(share, r, func(l *link) { _ = l.up.CloseWrite() })
}

func (p *proxy) each(share float64, r *rand.Rand, do func(*link)) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if r.Float64() < share {
			do(l)
			n++
		}
	}
	return n
}

// freeze passes nothing on until thaw.
func (p *proxy) freeze() (thaw func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		return func() {}
	}
	frozen := make(chan struct{})
	p.frozen = frozen
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.frozen == frozen {
			p.frozen = nil
			close(frozen)
		}
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
	for l := range p.links {
		l.cut()
	}
	p.mu.Unlock()
	p.wait.Wait()
}

// TestProxy_DoesWhatItIsTold holds the tool to what the storm counts on.
func TestProxy_DoesWhatItIsTold(t *testing.T) {
	t.Parallel()
	echo, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			})
		}
	})
	p, err := newProxy(echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	dial := func() net.Conn {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.addr())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	say := func(conn net.Conn) (string, error) {
		_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := conn.Write([]byte("ping")); err != nil {
			return "", err
		}
		buf := make([]byte, 4)
		_, err := io.ReadFull(conn, buf)
		return string(buf), err
	}
	r := rand.New(rand.NewPCG(1, 1))
	conn := dial()
	if got, err := say(conn); got != "ping" || err != nil {
		t.Errorf("through the proxy: %q, %v", got, err)
	}
	thaw := p.freeze()
	if _, err := say(conn); err == nil {
		t.Error("it answers although it is frozen")
	}
	thaw()
	_ = conn.Close()

	conn = dial()
	_, _ = say(conn)
	if n := p.cut(1, r); n == 0 {
		t.Error("it cut nothing")
	}
	if _, err := say(conn); err == nil {
		t.Error("a connection that was cut goes on")
	}
	_ = conn.Close()

	conn = dial()
	_, _ = say(conn)
	p.halfClose(1, r)
	if _, err := io.ReadFull(conn, make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("half closed: %v, want the end", err)
	}
	_ = conn.Close()

	p.refusing.Store(true)
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.addr()); err == nil { // else it was fast
		if _, err := say(conn); err == nil {
			t.Error("it serves although it refuses")
		}
		_ = conn.Close()
	}
	p.close()
	_ = echo.Close()
	serving.Wait()
}
