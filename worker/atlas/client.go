package atlas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/digest"
	"github.com/keyturn/keyturn/worker/rest"
)

const (
	pathV1    = "/api/atlas/v1.0"
	pathV2    = "/api/atlas/v2"
	tokenPath = "/api/oauth/token" //nolint:gosec // a path

	// surveyors is how many projects are looked into at once, if the target's limit allows it.
	surveyors = 16
	// idleTimeout closes connections before most servers do: a change that meets a connection in the act of
	// closing has an unknown outcome.
	idleTimeout = 20 * time.Second
	// steadyFor is how long clusters must have been seen at rest with the new key: Atlas needs a moment to find
	// out that they have something to do.
	steadyFor = 2 * time.Second
)

// KeyService is a cloud's key management service, as the packages below worker/kms are. keyturn.KMSOrder says what
// each method does.
type KeyService interface {
	Make(ctx context.Context, order keyturn.KMSOrder) (keyturn.KMSKey, error)
	Newest(ctx context.Context, current keyturn.KMSRef) (keyturn.KMSKey, error)
	Describe(ctx context.Context, key keyturn.KMSRef) (keyturn.KMSKey, error)
	Disable(ctx context.Context, key keyturn.KMSRef) error
	Close()
}

// materialTurner is a KeyService that can give a key new material without giving it a new id.
type materialTurner interface {
	Rotate(ctx context.Context, key keyturn.KMSRef) error
}

// Config is what a Client needs.
type Config struct {
	Target keyturn.Target
	// PublicKey and PrivateKey are those of an API key, ClientID and ClientSecret those of a service account: the
	// secrets themselves, not references. One of the two.
	PublicKey, PrivateKey  string
	ClientID, ClientSecret string
	// Keys are the providers' key services. One that is missing, or that fails, leaves units of strategy
	// "provided" usable if their trigger names the key.
	Keys map[keyturn.KMSProvider]KeyService
	// Base sends the requests, without credentials; nil means a transport made for the target.
	Base http.RoundTripper
	// Steady is how long clusters must be seen at rest with a new key; 0 means 2s.
	Steady time.Duration
	// Logger is told what is odd about a server; nil means nobody is.
	Logger *zap.Logger
	// Version of Keyturn, for the User-Agent.
	Version string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Client is one Atlas organization, or whatever its credentials let it see. It is a worker.System, and safe for
// concurrent use.
type Client struct {
	target  keyturn.Target
	base    url.URL // https://cloud.mongodb.com/api/atlas/v2
	secrets []string
	rt      http.RoundTripper
	tokens  *tokens // nil: an API key
	keys    map[keyturn.KMSProvider]KeyService
	limiter *rate.Limiter // nil: no limit
	buckets buckets
	steady  steadiness
	notices notices
	agent   string
	log     *zap.Logger
	now     func() time.Time
}

// New returns a client. It calls nobody.
func New(cfg Config) (*Client, error) {
	target := cfg.Target.WithDefaults()
	base, err := parseURL(target.URL, target.API)
	if err != nil {
		return nil, fmt.Errorf("spec.url: %w", err)
	}
	if cfg.Base == nil {
		if cfg.Base, err = rest.Transport(target, surveyors, idleTimeout); err != nil {
			return nil, err
		}
	}
	c := &Client{
		target: target, base: base, keys: cfg.Keys, agent: "keyturn/" + cmp.Or(cfg.Version, "dev"),
		log: cfg.Logger, now: cfg.Now,
	}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.buckets.now = c.now
	c.steady = steadiness{need: cmp.Or(cfg.Steady, steadyFor), now: c.now}
	c.notices = notices{log: c.log, target: target.Name}
	if perSecond := target.Limits.RequestsPerSecond; perSecond > 0 {
		c.limiter = rate.NewLimiter(rate.Limit(perSecond), turnRequests)
	}
	return c, c.login(cfg)
}

// login makes the transport that logs in.
func (c *Client) login(cfg Config) error {
	switch {
	case cfg.ClientID != "" && cfg.ClientSecret != "":
		if c.target.API == "v1" {
			return errors.New("spec.credentials: version 1 of Atlas's API knows no service accounts: give publicKey and privateKey, or write api: v2")
		}
		c.tokens = &tokens{c: c, base: cfg.Base, id: cfg.ClientID, secret: cfg.ClientSecret}
		c.secrets = []string{cfg.ClientSecret, url.QueryEscape(cfg.ClientSecret), c.tokens.basic()}
		c.rt = c.tokens
	case cfg.PublicKey != "" && cfg.PrivateKey != "":
		c.secrets = []string{cfg.PrivateKey}
		c.rt = digest.NewTransport(digest.Config{
			Base: cfg.Base, Username: cfg.PublicKey, Password: cfg.PrivateKey,
			Origin: c.base.Scheme + "://" + c.base.Host, Now: cfg.Now,
		})
	default:
		return errors.New("spec.credentials: empty credentials can't log in")
	}
	return nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() {
	if rt, ok := c.rt.(interface{ CloseIdleConnections() }); ok {
		rt.CloseIdleConnections()
	}
	for _, k := range c.keys {
		k.Close()
	}
}

// parseURL accepts the URL that a browser shows, and those of the APIs.
func parseURL(s, api string) (url.URL, error) {
	u, err := rest.Base(s, "https://cloud.mongodb.com", pathV1, pathV2)
	version := pathV2
	if api == "v1" {
		version = pathV1
	}
	u.Path += version
	return u, err
}

// steadiness remembers since when the clusters of a unit have been seen at rest with a key. A process that begins
// anew only waits a little longer.
type steadiness struct {
	need time.Duration
	now  func() time.Time

	mu    sync.Mutex
	since map[string]calm
}

type calm struct {
	key string
	at  time.Time
}

// seen notes what was seen of a unit and reports whether it has been so for long enough.
func (s *steadiness) seen(unit, key string, atRest bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !atRest {
		delete(s.since, unit)
		return false
	}
	if s.since == nil {
		s.since = map[string]calm{}
	}
	now := s.now()
	if was, ok := s.since[unit]; !ok || was.key != key || now.Before(was.at) {
		s.since[unit] = calm{key: key, at: now}
		return false
	}
	if now.Sub(s.since[unit].at) < s.need {
		return false
	}
	delete(s.since, unit)
	return true
}
