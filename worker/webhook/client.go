package webhook

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/secret"
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
	maxIdle     = 16
	maxHeader   = 32 << 10
)

// clients keeps one HTTP client for each webhook, so that connections are reused, and makes a new one when
// the webhook, its proxy or its authorities have changed.
type clients struct {
	loopback bool

	mu sync.Mutex
	by map[string]*client
}

type client struct {
	*http.Client
	key   string // what it was made of
	guard guard
	roots *x509.CertPool // nil: the system's
	proxy func(*http.Request) (*url.URL, error)
}

func (c *clients) of(hook keyturn.Webhook) (*client, error) {
	proxy, err := resolve(hook.Proxy)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	var pem []byte
	if hook.TLS.CAFile != "" {
		if pem, err = os.ReadFile(hook.TLS.CAFile); err != nil {
			return nil, fmt.Errorf("tls.caFile: %w", err)
		}
	}
	key := fmt.Sprintf("%d %q %q %q", hook.Generation, proxy, pem, hook.AllowPrivate)
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.by[hook.Name]
	if held != nil && held.key == key {
		return held, nil
	}
	made, err := c.make(hook, proxy, pem)
	if err != nil {
		return nil, err
	}
	if held != nil {
		held.CloseIdleConnections()
	}
	made.key = key
	c.by[hook.Name] = made
	return made, nil
}

func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, held := range c.by {
		held.CloseIdleConnections()
	}
	clear(c.by)
}

func (c *clients) make(hook keyturn.Webhook, proxy string, pem []byte) (*client, error) {
	made := &client{guard: newGuard(hook.AllowPrivate, c.loopback), proxy: http.ProxyFromEnvironment}
	if pem != nil {
		made.roots = x509.NewCertPool()
		if !made.roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.caFile: %s holds no certificate", hook.TLS.CAFile)
		}
	}
	if proxy != "" {
		made.proxy = nil
	}
	if proxy != "" && proxy != "none" {
		u, err := url.Parse(proxy)
		if err != nil || u.Host == "" {
			return nil, errors.New("proxy: this is no URL")
		}
		made.proxy = http.ProxyURL(u)
	}
	made.Client = &http.Client{
		Transport: &http.Transport{
			Proxy: made.proxy, DialContext: made.dial,
			TLSClientConfig:     &tls.Config{RootCAs: made.roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true,
			MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return made, nil
}

type proxyKey struct{}

// via notes which proxy a request goes through, for dial. A proxy is where the operator put it; what lies
// behind it is its own to guard, but for addresses that are written as such.
func (c *client) via(req *http.Request) (*http.Request, error) {
	if c.proxy == nil {
		return req, nil
	}
	proxy, err := c.proxy(req)
	if err != nil {
		return nil, errors.New("the proxy of the environment can't be read")
	}
	if proxy == nil {
		return req, nil
	}
	if addr, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
		if err := c.guard.check(req.URL.Hostname(), addr); err != nil {
			return nil, err
		}
	}
	ports := map[string]string{"https": "443", "socks5": "1080", "socks5h": "1080"}
	port := cmp.Or(proxy.Port(), ports[proxy.Scheme], "80")
	return req.WithContext(context.WithValue(req.Context(), proxyKey{}, net.JoinHostPort(proxy.Hostname(), port))), nil
}

func (c *client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if proxy, ok := ctx.Value(proxyKey{}).(string); ok && proxy == address {
		return (&net.Dialer{Timeout: dialTimeout, KeepAlive: time.Minute}).DialContext(ctx, network, address)
	}
	return c.guard.dial(ctx, network, address)
}

// resolve returns what a value that may be a reference stands for.
func resolve(value string) (string, error) {
	if len(value) > 4 && (value[:4] == "env:" || len(value) > 5 && value[:5] == "file:") {
		return secret.Resolve(value)
	}
	return value, nil
}
