package azure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/internal/simulator"
)

// Server answers for a vault over https, with a certificate of its own.
type Server struct {
	URL   string // https://HOST:PORT: both the endpoint and the authority
	CAPEM []byte // the certificate of the authority that signed the server's

	http *http.Server
	done chan struct{}
}

// Listen serves a vault at the address until Close.
func Listen(ctx context.Context, address string, k *KMS) (*Server, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for the simulated vault: %w", err)
	}
	ca, certificate, err := simulator.NewCertificate(time.Now(), l.Addr())
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	s := &Server{
		URL: "https://" + l.Addr().String(), CAPEM: ca, done: make(chan struct{}),
		http: &http.Server{
			Handler: k, ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:  zap.NewStdLog(zap.NewNop()), // callers say themselves what is wrong with certificates
			TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
		},
	}
	go func() {
		defer close(s.done)
		if err := s.http.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			_ = l.Close() // calls are refused from now on, which says enough
		}
	}()
	return s, nil
}

// Close ends it.
func (s *Server) Close() {
	_ = s.http.Close() // what can fail is closing a listener that is closed
	<-s.done
}
