package opsmanager

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/digest"
	"github.com/keyturn/keyturn/worker/rest"
)

const apiPath = "/api/public/v1.0"

// surveyors is how many projects are looked into at once, if the target's limit allows it. Each takes memory for the lists of its project.
const surveyors = 32

// configReaders is how many automation configs are read at once. Each can have megabytes, and is in memory once, with what
// is kept of it.
const configReaders = surveyors

// idleTimeout closes connections before the server does (Jetty: 30s by default).
// A PUT that meets a connection in the act of closing has an unknown outcome.
const idleTimeout = 20 * time.Second

// Config is what a Client needs.
type Config struct {
	Target keyturn.Target
	// PublicKey and PrivateKey are those of an API key: the secrets themselves, not references.
	PublicKey, PrivateKey string
	// Base sends the requests, without credentials; nil means a transport made for the target.
	Base http.RoundTripper
	// Logger is told what is odd about a server; nil means nobody is.
	Logger *zap.Logger
	// Version of Keyturn, for the User-Agent.
	Version string
	// Observe is told of every call after it has ended; may be nil.
	Observe func(Call)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Call is one call of the API, for metrics.
type Call struct {
	Operation string        // "get_key", "put_key", "list_clusters", …
	Code      string        // "ok", or that of the error
	Took      time.Duration // with the wait for a challenge, without that for a rate limit
}

// Client is one Ops Manager or Cloud Manager. It is a worker.System, and safe
// for concurrent use.
type Client struct {
	target  keyturn.Target
	base    url.URL // https://host:8443/prefix/api/public/v1.0
	secret  string  // to keep out of error texts
	rt      http.RoundTripper
	limiter *rate.Limiter // nil: no limit
	log     *zap.Logger
	observe func(Call)
	now     func() time.Time
	buffers sync.Pool     // of *[]byte: what answers are read through
	configs chan struct{} // who holds a place reads an automation config

	projects projects // what was read lately
	ways     ways     // how keys are turned
	unsent   unsent   // changes that this process prepared and never sent
	patience patience // with agents that tasks wait for
	// plain reports that the target has no /automationConfig/noSecrets.
	plain atomic.Bool

	// Shared by all requests, never changed.
	readHeader, keyHeader, putHeader http.Header
}

// New returns a client. It calls nobody.
func New(cfg Config) (*Client, error) {
	target := cfg.Target.WithDefaults()
	base, err := parseURL(target.URL)
	if err != nil {
		return nil, fmt.Errorf("spec.url: %w", err)
	}
	if cfg.PublicKey == "" || cfg.PrivateKey == "" {
		return nil, errors.New("spec.credentials: an empty key can't log in")
	}
	if cfg.Base == nil {
		transport, err := rest.Transport(target, 3*surveyors, idleTimeout) // a surveyor asks for up to three things at a time
		if err != nil {
			return nil, err
		}
		transport.DisableCompression = true // most answers are smaller than what it would save
		cfg.Base = transport
	}
	c := &Client{
		target: target, base: base, secret: cfg.PrivateKey, log: cfg.Logger, observe: cfg.Observe, now: cfg.Now,
		buffers: sync.Pool{New: func() any { b := make([]byte, readSize); return &b }},
		configs: make(chan struct{}, configReaders),
		rt: digest.NewTransport(digest.Config{
			Base: cfg.Base, Username: cfg.PublicKey, Password: cfg.PrivateKey,
			Origin: base.Scheme + "://" + base.Host, Now: cfg.Now,
		}),
	}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.projects.now = c.now
	if perSecond := target.Limits.RequestsPerSecond; perSecond > 0 {
		c.limiter = rate.NewLimiter(rate.Limit(perSecond), keyTurns)
	}
	c.setHeaders("keyturn/" + cmp.Or(cfg.Version, "dev"))
	return c, nil
}

func (c *Client) setHeaders(agent string) {
	c.readHeader = http.Header{"User-Agent": {agent}, "Accept": {"application/json"}}
	c.keyHeader = c.readHeader.Clone()
	c.keyHeader.Set("Cache-Control", "no-cache") // an old answer would look like a key that did not turn
	c.putHeader = c.readHeader.Clone()
	c.putHeader.Set("Content-Type", "application/json")
}

// Close closes the connections that are not in use.
func (c *Client) Close() {
	if rt, ok := c.rt.(interface{ CloseIdleConnections() }); ok {
		rt.CloseIdleConnections()
	}
}

// parseURL accepts the URL that a browser shows, and the API's own.
func parseURL(s string) (url.URL, error) {
	u, err := rest.Base(s, "https://ops-manager.example.com:8443", apiPath)
	u.Path += apiPath
	return u, err
}
