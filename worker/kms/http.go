package kms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// Connections are how a provider is reached.
type Connections struct {
	CAFile string         // PEM; empty: Roots
	Roots  *x509.CertPool // nil: the system's authorities
	// Ours reports whether a request is one that flights are to follow: not those that only ask for a token.
	Ours func(*http.Request) bool
	// Check refuses answers that the provider's library could not bear; may be nil.
	Check func(*http.Response) error
}

// Client returns a client whose connections are kept and reused. It follows no redirect, and speaks HTTP/1.1: a
// connection carries one request at a time, so that its bytes are those of the change it carries.
func (c Connections) Client() (*http.Client, error) {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         watched((&net.Dialer{Timeout: 10 * time.Second}).DialContext),
		TLSHandshakeTimeout: 10 * time.Second,
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		MaxIdleConnsPerHost: 16,
		// Before the other side does: a change that meets a connection in the act of closing has an unknown outcome.
		IdleConnTimeout:        15 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the certificate authorities: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the certificate authorities: %s holds no certificate in PEM", c.CAFile)
		}
	}
	return &http.Client{
		Transport:     &transport{base: t, ours: c.Ours, check: c.Check},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the connections.
func (t *transport) CloseIdleConnections() { t.base.CloseIdleConnections() }

func watched(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &watchedConn{Conn: conn}, nil
	}
}
