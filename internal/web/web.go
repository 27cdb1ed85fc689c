// Package web serves the pages that people look at: rendered by the server, readable without JavaScript,
// and with no authority of their own. Every change, and most of what is shown, goes through the handler
// of the HTTP API, in this process and in the name of whoever is signed in: so the API decides who may
// do what, and what is written into the audit.
package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/fleet"
)

// Store is what the pages read and write besides the API.
type Store interface {
	SessionStore
	OverviewStore
	FleetStore
	LiveStore
}

// OverviewStore sums up.
type OverviewStore interface {
	// Overview sums up everything that there is: one pass over the units.
	Overview(ctx context.Context) (keyturn.Overview, error)
}

// SessionStore keeps who is signed in, so that every replica knows them. Times are the database's.
type SessionStore interface {
	// CreateSession keeps a session for maxAge at most. A hash that exists is ErrConflict.
	CreateSession(ctx context.Context, hash [32]byte, session keyturn.Session, maxAge time.Duration) error
	// SessionByHash answers ErrNotFound for a session that is unknown, over, not used for as long as idle, or
	// begun with a token that has ended. The role is the token's of now.
	SessionByHash(ctx context.Context, hash [32]byte, idle time.Duration) (keyturn.Session, error)
	// TouchSession notes that a session is used.
	TouchSession(ctx context.Context, hash [32]byte) error
	// EndSession ends a session. Ending one that is not there changes nothing.
	EndSession(ctx context.Context, hash [32]byte) error
}

// Check is one thing that must work: the overview shows whether it does.
type Check struct {
	Name   string // "database", "nats"
	Run    func(ctx context.Context) error
	Advice string // what stands still while it doesn't work, and what to do
}

// Config is what the pages need. API and Store are required.
type Config struct {
	API   http.Handler // with everything below /api/v1
	Store Store
	Ready []Check
	// PublicURL is where people reach the pages. If it is https, requests for its host are taken as made under TLS.
	PublicURL string
	// SessionIdle is how long a session lives without being used, SessionMax how long at most.
	SessionIdle time.Duration // default 8 h
	SessionMax  time.Duration // default 24 h
	// OIDCSessionMax is how long a session lives at most that OIDC began: the provider is not asked again before it ends.
	OIDCSessionMax time.Duration // default 4 h; never more than SessionMax

	// OIDC names people by an OpenID Connect provider; nil: people sign in with tokens only.
	OIDC *OIDC

	Logger  *zap.Logger
	Version string           // of this program
	Now     func() time.Time // default time.Now
}

func (c Config) withDefaults() Config {
	if c.SessionIdle <= 0 {
		c.SessionIdle = 8 * time.Hour
	}
	if c.SessionMax <= 0 {
		c.SessionMax = 24 * time.Hour
	}
	if c.OIDCSessionMax <= 0 {
		c.OIDCSessionMax = 4 * time.Hour
	}
	c.OIDCSessionMax = min(c.OIDCSessionMax, c.SessionMax)
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Site serves the pages. Close it when the server shuts down.
type Site struct {
	Config
	assets    *assets
	templates *templates
	mux       *http.ServeMux
	handler   http.Handler
	limiter   *limiter
	codes     codes
	overviews shared[keyturn.Overview]
	fleets    shared[*fleet.Map]
	watches   watches
	streams   streams
	oidc      *provider // nil: there is none
	tlsHost   string    // who asks for this host speaks TLS, to whatever is in between

	live context.Context // ends what goes on after an answer has begun
	stop context.CancelFunc
	work sync.WaitGroup
}

// New makes the site.
func New(cfg Config) (*Site, error) {
	if cfg.API == nil || cfg.Store == nil {
		return nil, errors.New("the pages need an API and a store")
	}
	s := &Site{Config: cfg.withDefaults(), mux: http.NewServeMux()}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.templates, err = loadTemplates(s.assets); err != nil {
		return nil, err
	}
	s.live, s.stop = context.WithCancel(context.Background())
	s.limiter = newLimiter(s.Now)
	s.codes.now = s.Now
	s.overviews.read, s.overviews.life, s.overviews.timeout, s.overviews.now = s.Store.Overview, overviewLife, overviewTimeout, s.Now
	s.fleets.read, s.fleets.life, s.fleets.timeout, s.fleets.now = s.readFleet, fleetLife, fleetTimeout, s.Now
	if u, err := url.Parse(cfg.PublicURL); err == nil && u.Scheme == "https" {
		s.tlsHost = u.Host
	}
	if cfg.OIDC != nil {
		s.oidc = newProvider(*cfg.OIDC)
	}
	s.routes()
	s.handler = s.outside(s.sameOrigin(s.mux))
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Close ends live pages: their browsers ask another replica, or this one when it is back.
func (s *Site) Close() {
	s.stop()
	s.work.Wait()
	if s.oidc != nil {
		s.oidc.close()
	}
}
