package simulator

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Config says what is simulated and how. Only Estate is needed.
type Config struct {
	Addr   string // where Start listens; empty means 127.0.0.1:0
	TLS    bool   // Start serves TLS with a certificate of its own
	CAFile string // where Start writes the PEM of the authority that signed it; empty: nowhere

	Estate  *Estate // several simulators may share one, as the nodes of one Ops Manager do
	Auth    Auth
	Faults  Faults
	Latency time.Duration // added to every request of the API

	// PutStatus is what a PUT is answered with: 200, 201 (also if 0), 202 or 204.
	PutStatus int
	// PutBody puts the entity into the answer of a PUT, with the key before the change.
	PutBody bool
	// CentralURL is what the links in answers start with; empty means one that can't be reached.
	CentralURL string
	// Version is the version of Ops Manager in X-MongoDB-Service-Version; empty means 4.4.29.
	Version string
	// ListsOmitEncryption leaves encryptionEnabled out of the list of backup configurations.
	ListsOmitEncryption bool

	Logger *zap.Logger // nil: nothing is logged
}

// Simulator answers as an Ops Manager does. Make it with New; it is safe for
// concurrent use.
type Simulator struct {
	cfg     Config
	estate  *Estate
	auth    *authenticator
	plan    atomic.Pointer[plan]
	latency time.Duration
	central string
	href    string // the beginning of a link, as JSON writes it
	headers headers
	putCode int
	started time.Time
	control http.Handler
	log     *zap.Logger

	stats    stats
	requests atomic.Uint64 // numbers the requests that bring no id
	gets     atomic.Uint64 // faults drawn for what belongs to no unit, and is no PUT of a config
	calls    sync.Pool
	listings sync.Pool // of *jsonBuf: what big listings are written into
	timers   sync.Pool

	closing chan struct{}
	once    sync.Once
}

// headers are values of headers that are the same in every answer, made once.
type headers struct{ json, html, version []string }

func newHeaders(version string) headers {
	return headers{
		json: []string{"application/json"}, html: []string{"text/html"},
		version: []string{"gitHash=0000000000000000000000000000000000000000; versionString=" + version},
	}
}

// New makes a simulator. Close ends what it still waits for.
func New(cfg Config) (*Simulator, error) {
	if cfg.Estate == nil {
		return nil, errors.New("making a simulator: there is no estate; make one with NewEstate or EstateOf")
	}
	auth, err := newAuthenticator(cfg.Auth)
	if err != nil {
		return nil, fmt.Errorf("making a simulator: %w", err)
	}
	s := &Simulator{
		cfg: cfg, estate: cfg.Estate, auth: auth, latency: cfg.Latency,
		central: strings.TrimSuffix(cmp.Or(cfg.CentralURL, "http://ops-manager.central.invalid:8080"), "/"),
		headers: newHeaders(cmp.Or(cfg.Version, "4.4.29")),
		putCode: cmp.Or(cfg.PutStatus, http.StatusCreated),
		started: time.Now(),
		log:     cfg.Logger,
		closing: make(chan struct{}),
	}
	quoted := appendJSON(nil, s.central+apiPrefix)
	s.href = string(quoted[1 : len(quoted)-1])
	if s.log == nil {
		s.log = zap.NewNop()
	}
	switch s.putCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
	default:
		return nil, fmt.Errorf("making a simulator: a PUT can't be answered with %d: use 200, 201, 202 or 204", s.putCode)
	}
	if err := s.SetFaults(cfg.Faults); err != nil {
		return nil, fmt.Errorf("making a simulator: %w", err)
	}
	s.calls.New = func() any { return &call{buf: jsonBuf{b: make([]byte, 0, 1024)}} }
	s.control = s.controlHandler()
	return s, nil
}

// Close ends every wait of the simulator. PUTs that are late are not executed
// any more.
func (s *Simulator) Close() { s.once.Do(func() { close(s.closing) }) }

// Faults returns the faults that are on.
func (s *Simulator) Faults() Faults { return s.plan.Load().faults }

// SetFaults replaces the faults, from the next request on.
func (s *Simulator) SetFaults(f Faults) error {
	if err := f.Validate(); err != nil {
		return fmt.Errorf("setting the faults: %w", err)
	}
	s.plan.Store(newPlan(f))
	s.estate.agents.Store(&f.Agents)
	return nil
}

// Truth returns every change of a key in the order in which they happened.
func (s *Simulator) Truth() []Record { return s.estate.Truth() }

// Estate returns what is simulated.
func (s *Simulator) Estate() *Estate { return s.estate }

// Keys returns the API keys that are let in.
func (s *Simulator) Keys() []APIKey {
	keys := make([]APIKey, len(s.auth.order))
	for i, acc := range s.auth.order {
		keys[i] = acc.key
	}
	return keys
}

// ServeHTTP implements http.Handler.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/simulator/") {
		s.control.ServeHTTP(w, r)
		return
	}
	s.stats.requests.inc()
	s.stats.inFlight.enter()
	defer s.stats.inFlight.leave()

	c, _ := s.calls.Get().(*call)
	c.start(s, w, r)
	defer c.end()
	s.serveAPI(c)
}

func (s *Simulator) serveAPI(c *call) {
	switch c.plan.faults.Outage {
	case OutageReset:
		c.abort(true)
	case OutageUnavailable:
		c.proxyError(http.StatusServiceUnavailable)
		return
	case OutageNone:
	}
	p := c.route()
	s.stats.endpoints[c.endpoint].inc()
	now := time.Now()
	acc, stale := s.auth.check(c.r, now)
	if acc == nil {
		s.wait(c, s.latency)
		s.challenge(c, now, stale)
		return
	}
	acc.requests.inc()
	acc.inFlight.enter()
	defer acc.inFlight.leave()
	s.wait(c, s.latency)
	c.account = acc
	if p == nil {
		p = c.find()
	}
	c.serve(p)
}

// challenge answers 401.
func (s *Simulator) challenge(c *call, now time.Time, stale bool) {
	s.stats.unauthorized.inc()
	h := c.w.Header()
	h["Www-Authenticate"] = s.auth.challenges(now, stale)
	h["Content-Type"] = s.headers.json
	c.w.WriteHeader(http.StatusUnauthorized)
	_, _ = c.w.Write([]byte(unauthorizedBody))
}

// wait waits, whatever the client does meanwhile: a server goes on with a
// request whose client went away. When the simulator is closed it gives the
// connection up.
func (s *Simulator) wait(c *call, d time.Duration) {
	if d <= 0 {
		return
	}
	t, ok := s.timers.Get().(*time.Timer)
	if ok {
		t.Reset(d)
	} else {
		t = time.NewTimer(d)
	}
	select {
	case <-t.C:
		s.timers.Put(t)
	case <-s.closing:
		t.Stop()
		c.abort(false)
	}
}

// later executes a PUT after its connection is gone.
func (s *Simulator) later(e *entity, ch change, after time.Duration) {
	s.stats.latePending.Add(1)
	time.AfterFunc(after, func() {
		defer s.stats.latePending.Add(-1)
		select {
		case <-s.closing:
		default:
			s.execute(e, ch)
		}
	})
}

func (s *Simulator) execute(e *entity, ch change) (before string, done bool) {
	r, ok := s.estate.turn(e, ch)
	if ok {
		s.stats.processed.inc()
	}
	return r.KeyBefore, ok
}

func (s *Simulator) requestID(r *http.Request) string {
	if id := r.Header["X-Request-Id"]; len(id) > 0 && id[0] != "" {
		return id[0]
	}
	return "r-" + strconv.FormatUint(s.requests.Add(1), 10)
}
