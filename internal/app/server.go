package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/internal/filelock"
	"github.com/keyturn/keyturn/internal/resource"
	"github.com/keyturn/keyturn/internal/retain"
	"github.com/keyturn/keyturn/internal/web"
	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/worker"
	"github.com/keyturn/keyturn/worker/webhook"
)

// adminTokenFile is where the first start leaves the administrator's token, in the data directory.
const adminTokenFile = "admin-token"

// Server is one process: whatever roles it has, on whatever database and bus.
type Server struct {
	cfg     Config
	log     *zap.Logger
	store   Store
	bus     *bus.Bus
	nats    *bus.Embedded // nil: somebody else's
	lost    bool          // the bus lost messages before the worker was made
	worker  *worker.Worker
	clients *systems
	sched   *scheduler.Scheduler
	alerts  *alerts.Evaluator
	keeper  *retain.Keeper
	http    *http.Server
	site    *web.Site // nil: without the role
	socket  net.Listener
	closers []namedCloser // in the order in which things were opened
	test    instruments   // nothing, unless built for tests that kill processes
}

type namedCloser struct {
	name  string
	close func(context.Context) error
}

// Open opens the database and the bus and makes a server of them, which does
// nothing until Run. What it opened before an error is closed again.
func Open(ctx context.Context, cfg Config, version string, log *zap.Logger) (_ *Server, err error) {
	s := &Server{cfg: cfg, log: log}
	if s.test, err = newInstruments(log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close(context.WithoutCancel(ctx))
		}
	}()
	if err := s.openDataDir(); err != nil {
		return nil, err
	}
	if err := s.openStore(ctx); err != nil {
		return nil, err
	}
	if err := s.openBus(ctx); err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.registerBus(registry)
	s.makeWorker(version, registry)
	s.sched = scheduler.New(s.test.scheduler(scheduler.Config{
		Store: s.store, Publisher: s.bus, Log: log.Named("scheduler"), Metrics: scheduler.NewMetrics(registry),
	}))
	s.alerts = alerts.New(s.test.alerts(alerts.Config{
		Owner: owner(), Store: s.store, Logger: s.log.Named("alerts"), Metrics: alerts.NewMetrics(registry),
		Sources: []alerts.Source{{Kinds: retain.AlertKinds(), Facts: s.keeper.Facts}},
	}))
	if err := s.openHTTP(ctx, version, registry); err != nil {
		return nil, err
	}
	return s, nil
}

// URL is where the API answers; without the role only /healthz, /readyz and /metrics.
func (s *Server) URL() string {
	return "http://" + s.socket.Addr().String()
}

// NATSAddr is where other NATS clients reach the embedded server; empty: nowhere.
func (s *Server) NATSAddr() string {
	if s.nats == nil {
		return ""
	}
	return s.nats.Addr()
}

// AdminTokenFile is where the administrator's token is.
func (s *Server) AdminTokenFile() string { return filepath.Join(s.cfg.DataDir, adminTokenFile) }

func (s *Server) opened(name string, closer func(context.Context) error) {
	s.closers = append(s.closers, namedCloser{name, closer})
}

// openDataDir takes the lock on the data directory when something is kept in it.
func (s *Server) openDataDir() error {
	embedded := s.cfg.DatabaseURL == "" || s.cfg.NATSURL == ""
	if !embedded && !s.cfg.Has(RoleAPI) {
		return nil // nothing is written there
	}
	if err := MakeDataDir(s.cfg); err != nil {
		return err
	}
	if !embedded {
		return nil
	}
	lock, err := filelock.Acquire(filepath.Join(s.cfg.DataDir, "lock"))
	if held, ok := errors.AsType[*filelock.HeldError](err); ok {
		return fmt.Errorf("data_dir %s is in use by process %d: stop it, or give this server a data_dir of its own", s.cfg.DataDir, held.PID)
	}
	if err != nil {
		return fmt.Errorf("data_dir %s can't be used: %w; set data_dir (KEYTURN_DATA_DIR) to a folder that %s may write to", s.cfg.DataDir, err, whoami())
	}
	s.opened("lock of data_dir", func(context.Context) error { return lock.Release() })
	return nil
}

// MakeDataDir makes the data directory, if it is not there.
func MakeDataDir(cfg Config) error {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir can't be made: %w; set data_dir (KEYTURN_DATA_DIR) to a folder that %s may write to", err, whoami())
	}
	return nil
}

func whoami() string { return fmt.Sprintf("user %d", os.Getuid()) }

func (s *Server) openStore(ctx context.Context) error {
	store, err := OpenStore(ctx, s.cfg, s.log)
	if err != nil {
		return err
	}
	s.store = store
	s.opened("database", func(context.Context) error { return store.Close() })
	return store.Migrate(ctx)
}

func (s *Server) makeWorker(version string, registry prometheus.Registerer) {
	clients := newSystems(s.store, version, s.log.Named("target"))
	s.clients = clients
	sender := webhook.New(webhook.Config{Version: version, AllowLoopback: s.cfg.loopback()})
	s.opened("connections to webhooks", func(context.Context) error { sender.Close(); return nil })
	s.worker = worker.New(s.test.worker(worker.Config{
		Owner: owner(), Source: "/keyturn", Store: s.store, Queue: s.bus, Systems: clients, Targets: clients,
		Logger: s.log.Named("worker"), Metrics: worker.NewMetrics(registry),
		Deliveries: s.store, Webhooks: webhooks{s.store}, Sender: sender,
	}))
	s.keeper = retain.New(retain.Config{
		Owner: owner(), Store: s.store, Targets: clients, Systems: clients, Servers: keyServers{},
		Logger: s.log.Named("keys"), Metrics: retain.NewMetrics(registry),
	})
	if s.lost {
		s.worker.QueueLost()
	}
}

// owner names this process in leases. It is new at every start: a lease of an
// earlier life is not ours.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), keyturn.NewID(time.Now()).String()[24:])
}

// plans lets the API ask a worker what a policy would do.
type plans struct {
	store  resourceReader
	worker *worker.Worker
}

func (p plans) Plan(ctx context.Context, policy string, only keyturn.Selection) ([]keyturn.Unit, error) {
	stored, err := p.store.Resource(ctx, keyturn.KindPolicy, policy)
	if err != nil {
		return nil, err
	}
	spec, err := resource.PolicyOf(stored)
	if err != nil {
		return nil, err
	}
	return p.worker.Plan(ctx, spec, only)
}

func (s *Server) openHTTP(ctx context.Context, version string, registry *prometheus.Registry) error {
	cfg := api.Config{
		Store: s.test.api(s.store), Planner: plans{s.store, s.worker}, Keys: s.worker, Waker: s.bus, Retained: s.keeper, Doctor: s.doctor(),
		Deliveries: s.store, Tester: s.worker, Hooks: s.store, Alerts: raiser{s.store}, Registerer: registry,
		CheckSchedule: checkSchedule, FirstSlot: firstSlot, OnChange: s.changed, OnLook: s.worker.Look,
		Ready:   s.checks(),
		Metrics: registry, Logger: s.log.Named("api"), Version: version,
	}
	handler := api.NewOperations(cfg)
	if s.cfg.Has(RoleAPI) {
		created, err := api.EnsureAdminToken(ctx, s.store, s.AdminTokenFile())
		if err != nil {
			return fmt.Errorf("making the administrator's token: %w", err)
		}
		if created {
			s.log.Info("administrator's token written", zap.String("file", s.AdminTokenFile()))
		}
		if handler, err = s.openPages(api.New(cfg), cfg.Ready, version); err != nil {
			return err
		}
	}
	socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("the API can't listen on %s: %w; set listen (KEYTURN_LISTEN) to another address", s.cfg.Listen, err)
	}
	s.socket = socket
	s.http = &http.Server{
		Handler: s.behindProxies(handler), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
		WriteTimeout: 5 * time.Minute, // a plan of a large estate takes its time
		IdleTimeout:  2 * time.Minute, ErrorLog: zap.NewStdLog(s.log.Named("http")),
	}
	if s.site != nil {
		s.http.RegisterOnShutdown(s.site.Close)
	}
	return nil
}

// checks are what /readyz asks.
func (s *Server) checks() []api.Check {
	return []api.Check{
		{
			Name: "database", Run: s.store.Ping,
			Advice: "nothing is begun and nothing is sent to targets until the database answers again; then work goes on by itself. " +
				"Look at the database, and at database_url",
		},
		{
			Name: "nats", Run: s.bus.Healthy,
			Advice: "tasks that were handed out go on, no new ones are until NATS answers again; then the sweeper hands them out by itself. " +
				"Look at the NATS server, and at nats_url",
		},
	}
}

// checkSchedule refuses what can't be read, never fires, or has nothing left to fire.
func checkSchedule(schedule keyturn.Schedule) error {
	return new(scheduler.Reader).CheckAt(schedule, time.Now())
}

func firstSlot(schedule keyturn.Schedule, now time.Time) (*keyturn.Slot, error) {
	table, err := scheduler.Parse(schedule)
	if err != nil {
		return nil, err
	}
	slot, ok := table.First(now)
	if !ok {
		return nil, nil //nolint:nilnil // no schedule, or one that has ended
	}
	return &slot, nil
}

// changed is called after resources changed.
func (s *Server) changed() {
	s.sched.Wake()
	s.worker.TargetsChanged()
	s.worker.WebhooksChanged()
}

// Run works until ctx ends, then lets running tasks finish, for ShutdownGrace
// at most, and closes everything. What did not finish goes on at the next start.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	if s.cfg.Has(RoleScheduler) {
		parts.Go(func() { s.sched.Run(ctx) })
	}
	if s.cfg.Has(RoleWorker) {
		parts.Go(func() {
			if err := s.worker.Run(ctx); err != nil {
				cancel(fmt.Errorf("worker: %w", err))
			}
		})
		parts.Go(func() { s.keeper.Run(ctx) })
	}
	// Every process is ready to evaluate alerts, whatever its roles: the one that does not do the work
	// must see that nobody does it.
	parts.Go(func() { s.alerts.Run(ctx) })
	parts.Go(func() {
		if err := s.http.Serve(s.socket); !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("serving the API: %w", err))
		}
	})
	s.log.Info("keyturn serves", zap.Strings("roles", s.cfg.Roles), zap.String("url", s.URL()))
	<-ctx.Done()
	s.log.Info("shutting down: running tasks finish", zap.Duration("grace", s.cfg.ShutdownGrace))
	s.finish(ctx, &parts)
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (s *Server) finish(ctx context.Context, parts *sync.WaitGroup) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownGrace)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut short", zap.Error(err))
	}
	done := make(chan struct{})
	go func() {
		parts.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.log.Warn("tasks were still running at the end of the grace; their rows are taken up at the next start")
	}
	closeCtx, cancelClose := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancelClose()
	s.close(closeCtx)
}

// Close gives back what Open opened, when Run is not going to be called.
func (s *Server) Close(ctx context.Context) { s.close(ctx) }

// close gives back, in the reverse order, what was opened.
func (s *Server) close(ctx context.Context) {
	if s.socket != nil {
		_ = s.socket.Close() // closed already after Run
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		c := s.closers[i]
		if err := c.close(ctx); err != nil {
			s.log.Warn("closing", zap.String("what", c.name), zap.Error(err))
		}
	}
	s.closers = nil
}
