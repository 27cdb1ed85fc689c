package simulator

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Server is a simulator that listens.
type Server struct {
	*Simulator

	URL        string // without a slash at the end
	PublicKey  string // the first API key's
	PrivateKey string
	CAPEM      []byte // with TLS: the authority that signed the certificate

	http   *http.Server
	closed sync.Once
	done   chan struct{}
	stop   func() bool
	err    error
}

// Start serves a simulator until the context ends or Close is called.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	sim, err := New(cfg)
	if err != nil {
		return nil, err
	}
	key := sim.Keys()[0]
	s := &Server{Simulator: sim, PublicKey: key.Public, PrivateKey: key.Private, done: make(chan struct{})}
	l, err := s.listen(ctx)
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // a connection of HTTP/2 can't be reset for one request
	s.http = &http.Server{
		Handler: sim, Protocols: protocols,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: zap.NewStdLog(zap.NewNop()), // clients that give up are what a simulator is for
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.err = fmt.Errorf("serving the simulator on %s: %w", l.Addr(), err)
		}
	}()
	s.stop = context.AfterFunc(ctx, s.end)
	sim.log.Info("simulator started", zap.String("url", s.URL), zap.String("public_key", s.PublicKey))
	return s, nil
}

func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	cfg := s.cfg
	addr := cmp.Or(cfg.Addr, "127.0.0.1:0")
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for the simulator on %s: %w", addr, err)
	}
	s.URL = "http://" + l.Addr().String()
	if !cfg.TLS {
		return l, nil
	}
	s.URL = "https://" + l.Addr().String()
	ca, certificate, err := NewCertificate(time.Now(), l.Addr())
	if err == nil && cfg.CAFile != "" {
		err = os.WriteFile(cfg.CAFile, ca, 0o600)
	}
	if err != nil {
		_ = l.Close() // the first error counts
		return nil, fmt.Errorf("preparing TLS for the simulator: %w", err)
	}
	s.CAPEM = ca
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"},
	}), nil
}

// Close ends the server and its connections at once, and returns why it ended
// before, if it did.
func (s *Server) Close() error {
	s.stop()
	s.end()
	<-s.done
	return s.err
}

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

func (s *Server) end() {
	s.closed.Do(func() {
		s.Simulator.Close()
		_ = s.http.Close() // what can fail is closing a listener that is closed
	})
}
