package atlas

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn/worker/digest/digesttest"
)

// Config says what is simulated.
type Config struct {
	Projects []Project
	// Keys says whether Atlas can use a key: empty, or the code that it answers with.
	Keys func(provider, key, region string) (code string)

	// The credentials that are let in; empty ones are made.
	ClientID, ClientSecret string
	PublicKey, PrivateKey  string

	Latency       time.Duration // added to every answer
	ValidAfter    time.Duration // until a changed key is found valid
	ClustersAfter time.Duration // until clusters begin to go through a change
	UpdatingFor   time.Duration // for how long each of them does; 0: not at all
	TokenLife     time.Duration // 0: an hour
	// WantWhole refuses a PATCH that does not say all of a provider.
	WantWhole bool
	// NotOnAccessList refuses the use of credentials, though not the making of tokens.
	NotOnAccessList bool
	// Ended and Deprecated are the ends of versions, as dates, by resource: "encryptionAtRest", "clusters", "groups". An ended one is refused.
	Ended, Deprecated map[string]string
	// Remaining is what RateLimit-Remaining says at first of each project; 0: no limit, and no such headers.
	Remaining int
	Faults    Faults
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Simulator is an http.Handler. It is safe for concurrent use.
type Simulator struct {
	cfg    Config
	state  *state
	digest http.Handler
	done   chan struct{}
	once   sync.Once
	late   sync.WaitGroup // changes that are carried out after their connection is gone

	mu     sync.Mutex
	tokens map[string]time.Time // until when each is good
	counts map[string]int       // requests by "METHOD path"
	draws  map[string]uint64
	used   map[string]int // of the rate limit, by project
	access bool
	faults Faults
}

// New returns a simulator.
func New(cfg Config) *Simulator {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.ClientID = cmp.Or(cfg.ClientID, "mdb_sa_id_"+randomHex(12))
	cfg.ClientSecret = cmp.Or(cfg.ClientSecret, "mdb_sa_sk_"+randomHex(20))
	cfg.PublicKey = cmp.Or(cfg.PublicKey, strings.ToLower(rand.Text()[:8]))
	cfg.PrivateKey = cmp.Or(cfg.PrivateKey, randomHex(18))
	cfg.TokenLife = cmp.Or(cfg.TokenLife, time.Hour)
	s := &Simulator{
		cfg: cfg, state: newState(cfg), done: make(chan struct{}), tokens: map[string]time.Time{}, counts: map[string]int{},
		draws: map[string]uint64{}, used: map[string]int{}, access: !cfg.NotOnAccessList, faults: cfg.Faults,
	}
	s.digest = digesttest.New(digesttest.Rules{Username: cfg.PublicKey, Password: cfg.PrivateKey}, http.HandlerFunc(s.serveAPI))
	return s
}

func randomHex(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails, says its documentation
	return hex.EncodeToString(raw)
}

// Close carries out what is still to be carried out later, and ends what waits.
func (s *Simulator) Close() {
	s.once.Do(func() { close(s.done) })
	s.late.Wait()
}

// Credentials returns those that are let in.
func (s *Simulator) Credentials() (clientID, clientSecret, publicKey, privateKey string) {
	return s.cfg.ClientID, s.cfg.ClientSecret, s.cfg.PublicKey, s.cfg.PrivateKey
}

// SetFaults puts other faults to work.
func (s *Simulator) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// SetAccess says whether the client's address is on the access list.
func (s *Simulator) SetAccess(listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access = listed
}

// Revoke ends all tokens.
func (s *Simulator) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Requests returns how many requests of a kind came in and were let in: "GET /groups", "PATCH encryptionAtRest", "POST token".
func (s *Simulator) Requests(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[kind]
}

func (s *Simulator) count(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[kind]++
}

// Server is a simulator that listens.
type Server struct {
	*Simulator
	URL string

	http   *http.Server
	served chan error
}

// Start listens on addr, 127.0.0.1:0 if it is empty, until Close.
func Start(ctx context.Context, addr string, cfg Config) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cmp.Or(addr, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("listening for the simulated Atlas: %w", err)
	}
	s := &Server{Simulator: New(cfg), URL: "http://" + listener.Addr().String(), served: make(chan error, 1)}
	s.http = &http.Server{Handler: s.Simulator, ReadHeaderTimeout: 10 * time.Second}
	go func() { s.served <- s.http.Serve(listener) }()
	return s, nil
}

// Close ends the server and all connections.
func (s *Server) Close() error {
	err := s.http.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.Simulator.Close()
	return err
}
