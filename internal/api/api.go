// Package api serves Keyturn's HTTP API: /api/v1 with bearer tokens and roles,
// OpenAPI 3.1 at /openapi.json, errors as application/problem+json (RFC 9457),
// and /healthz, /readyz and /metrics for whoever operates it.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// Planner asks a target what a rotation would do now.
type Planner interface {
	// Plan returns the units that the policy, narrowed by only, selects now. It changes nothing.
	Plan(ctx context.Context, policy string, only keyturn.Selection) ([]keyturn.Unit, error)
}

// Waker tells a planner that a rotation waits. Losing the call loses nothing:
// the rotation's row is found again.
type Waker interface {
	PublishRotation(ctx context.Context, id keyturn.ID) error
}

// KeyReader asks a target which key a unit uses now. It changes nothing.
type KeyReader interface {
	KeyInUse(ctx context.Context, unit string) (string, error)
}

// Check is one thing that must work before traffic is sent here.
type Check struct {
	Name string // "database", "nats"
	Run  func(ctx context.Context) error
	// Advice says what stands still while it doesn't work, and what to do.
	Advice string
}

// Config is what the API needs. Store is required; what else is left out is
// either a no-op or answers 501.
type Config struct {
	Store   Store
	Planner Planner
	Keys    KeyReader
	Doctor  Doctor
	Waker   Waker
	// Retained knows which keys must be kept.
	Retained KeyKeeper

	// Deliveries, Tester, Hooks and Alerts are for webhooks and hooks; without Hooks there is no /hooks.
	Deliveries DeliveryStore
	Tester     WebhookTester
	Hooks      HookStore
	Alerts     AlertRaiser
	Registerer prometheus.Registerer // gets the metrics of hooks

	// CheckSchedule refuses a schedule that can't be read or never fires.
	CheckSchedule func(keyturn.Schedule) error
	// FirstSlot returns a schedule's first slot after the time; nil: none.
	FirstSlot func(keyturn.Schedule, time.Time) (*keyturn.Slot, error)
	// OnChange is called after resources changed, so that schedulers and workers look again.
	OnChange func()
	// OnLook is called after somebody asked for a look at keys, so that a worker looks soon.
	OnLook func()

	Ready   []Check
	Metrics prometheus.Gatherer
	Logger  *zap.Logger
	Version string           // of this program
	Now     func() time.Time // default time.Now
}

func (c Config) withDefaults() Config {
	if c.CheckSchedule == nil {
		c.CheckSchedule = func(keyturn.Schedule) error { return nil }
	}
	if c.FirstSlot == nil {
		c.FirstSlot = func(keyturn.Schedule, time.Time) (*keyturn.Slot, error) { return nil, nil } //nolint:nilnil // nil is "no slot"
	}
	if c.OnChange == nil {
		c.OnChange = func() {}
	}
	if c.OnLook == nil {
		c.OnLook = func() {}
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

type server struct {
	Config
	tokens *tokenCache
	huma   huma.API
	health health

	schedules scheduler.Reader
	examining chan struct{} // full: examinations wait
}

// New returns the handler of everything that this package serves.
func New(cfg Config) http.Handler {
	cfg = cfg.withDefaults()
	s := &server{Config: cfg, tokens: newTokenCache(cfg.Store, cfg.Now)}
	mux := http.NewServeMux()
	s.huma = humago.New(mux, humaConfig(cfg.Version))
	s.registerRotations()
	s.registerControl()
	s.registerAudit()
	s.registerListings()
	s.registerResources()
	s.registerPolicies()
	s.registerSchedule()
	s.registerBackfill()
	s.registerForecast()
	s.registerClosed()
	s.registerObserve()
	s.registerDoctor()
	s.registerTokens()
	s.registerKeys()
	s.registerAlerts()
	s.registerVersion()
	s.registerWhoAmI()
	s.registerWebhooks()
	if s.Hooks != nil {
		s.registerHooks(mux)
	}

	s.registerOperations(mux)
	mux.Handle("GET /openapi.json", specHandler(s.huma.OpenAPI()))
	return s.outside(withProblems(mux))
}

// NewOperations returns the handler of a server without the API: /healthz,
// /readyz and /metrics only, for whoever operates it.
func NewOperations(cfg Config) http.Handler {
	s := &server{Config: cfg.withDefaults()}
	mux := http.NewServeMux()
	s.registerOperations(mux)
	return s.outside(withProblems(mux))
}

func (s *server) registerOperations(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
}

// humaConfig leaves out what huma adds by default: documentation pages that
// load scripts from elsewhere, and $schema links in every answer.
func humaConfig(version string) huma.Config {
	cfg := huma.DefaultConfig("Keyturn", version)
	cfg.Info.Description = "Turns the encryption keys of a whole MongoDB estate on schedule, never twice, and can prove it."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil
	cfg.RejectUnknownQueryParameters = true
	cfg.Transformers = []huma.Transformer{clearDetail}
	cfg.Formats = maps.Clone(cfg.Formats)
	for name, format := range cfg.Formats {
		cfg.Formats[name] = huma.Format{Marshal: format.Marshal, Unmarshal: storable(format.Unmarshal)}
	}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A token made with `keyturn token create`."},
	}
	return cfg
}

// storable refuses bodies that a database could not keep.
func storable(unmarshal func([]byte, any) error) func([]byte, any) error {
	return func(body []byte, into any) error {
		if !keyturn.StorableJSON(body) {
			return errors.New(`a text in it has a NUL character (\u0000): leave it out`)
		}
		return unmarshal(body, into)
	}
}

// specHandler serves the OpenAPI document, marshalled once: huma's own handler
// does it lazily and without a lock.
func specHandler(spec *huma.OpenAPI) http.Handler {
	body, err := json.Marshal(spec)
	if err != nil {
		panic(fmt.Sprintf("marshalling the OpenAPI document: %v", err)) // a mistake in this package
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(body)
	})
}

type versionOutput struct {
	Body Version
}

// Version is what GET /api/v1/version answers.
type Version struct {
	Version string `json:"version" doc:"of the server"`
}

func (s *server) registerVersion() {
	handle(s, operation{
		id: "get-version", method: http.MethodGet, path: "/version", role: keyturn.RoleViewer,
		summary: "The server's version", tag: "server",
	}, func(context.Context, *struct{}) (*versionOutput, error) {
		return &versionOutput{Body: Version{Version: s.Version}}, nil
	})
}
