package worker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	commitMost = 512 // writes in one group commit

	planConcurrency    = 4 // rotations that are planned at once, over all workers
	triggerConcurrency = 8 // trigger messages at once, over all workers

	targetsEvery = 2 * time.Second // how often the list of targets is looked at
	targetsMost  = time.Minute     // one look
)

// Store is everything a worker needs of the database.
type Store interface {
	TaskStore
	PlanStore
	FeedStore
	AnnounceStore
	TriggerStore
	WatchStore
	LookStore
	HealthStore
}

// TargetLister lists the targets that there are now.
type TargetLister interface {
	Targets(ctx context.Context) ([]keyturn.Target, error)
}

// Config is what a worker is made of.
type Config struct {
	Owner   string // names this process in leases; unique among replicas
	Source  string // the CloudEvents source; default "/keyturn"
	Store   Store
	Queue   Queue
	Systems Systems
	Targets TargetLister
	Logger  *zap.Logger
	Metrics *Metrics
	Now     func() time.Time // default time.Now
	Timing  Timing           // zero: the defaults
	// PlanPart is how many units of a plan are saved at a time. Default 512; only tests change it.
	PlanPart int

	// Deliveries, Webhooks and Sender tell webhooks what happened; nil: nobody is told.
	Deliveries DeliveryStore
	Webhooks   WebhookLister
	Sender     WebhookSender
}

// Worker plans rotations, turns keys, hands out tasks and announces results.
type Worker struct {
	cfg       Config
	rotator   *rotator
	planner   *Planner
	sweeper   *sweeper
	announcer *announcer
	triggers  *triggers
	looker    *looker
	deliverer *deliverer

	mu      sync.Mutex
	feeders map[string]*feeder
	changed chan struct{} // wakes the watch over targets
}

// New wires a worker. It starts nothing.
func New(cfg Config) *Worker {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Source = cmp.Or(cfg.Source, "/keyturn")
	cfg.Timing, cfg.PlanPart = cfg.Timing.withDefaults(), cmp.Or(cfg.PlanPart, partMost)
	cfg.Store = bounded{cfg.Store}
	w := &Worker{cfg: cfg, feeders: map[string]*feeder{}, changed: make(chan struct{}, 1)}
	health := &health{store: cfg.Store, now: cfg.Now, log: cfg.Logger}
	w.planner = &Planner{
		owner: cfg.Owner, now: cfg.Now, systems: cfg.Systems, store: cfg.Store, health: health,
		planned: w.feed, part: cfg.PlanPart, timing: cfg.Timing, log: cfg.Logger, metrics: cfg.Metrics,
	}
	w.sweeper = newSweeper()
	w.sweeper.store, w.sweeper.queue, w.sweeper.feed, w.sweeper.targets = cfg.Store, cfg.Queue, w.feed, w.served
	w.sweeper.requeueAfter, w.sweeper.log, w.sweeper.metrics = cfg.Timing.RequeueAfter, cfg.Logger, cfg.Metrics
	w.deliverer = newDeliverer(cfg)
	w.announcer = &announcer{
		source: cfg.Source, store: cfg.Store, queue: cfg.Queue, lease: cfg.Timing.AnnounceLease, log: cfg.Logger,
		outbox: outbox{store: cfg.Deliveries, webhooks: cfg.Webhooks, wake: w.deliverer.wake},
	}
	w.triggers = &triggers{store: cfg.Store, queue: cfg.Queue, log: cfg.Logger, metrics: cfg.Metrics}
	w.rotator = &rotator{
		owner: cfg.Owner, now: cfg.Now, systems: cfg.Systems, store: cfg.Store, health: health,
		hold: w.hold, gates: &gates{}, flights: flights{now: cfg.Now}, failed: w.sweeper.mayHaveEnded, timing: cfg.Timing, log: cfg.Logger, metrics: cfg.Metrics,
		intents: &batcher[keyturn.IntentWrite, keyturn.IntentOutcome]{
			flush: cfg.Store.Intend, max: commitMost, observe: cfg.Metrics.observeCommit("intent"),
		},
		results: &batcher[keyturn.TaskResult, bool]{
			flush: w.record, max: commitMost, observe: cfg.Metrics.observeCommit("result"),
		},
	}
	w.looker = &looker{
		owner: cfg.Owner, now: cfg.Now, store: cfg.Store, targets: cfg.Targets, systems: cfg.Systems,
		rotator: w.rotator, health: health, asked: make(chan struct{}, 1), log: cfg.Logger, metrics: cfg.Metrics,
	}
	return w
}

// record makes results durable, and keeps what there is to tell of them for the announcer.
func (w *Worker) record(ctx context.Context, results []keyturn.TaskResult) ([]bool, error) {
	done, err := w.cfg.Store.Finish(ctx, results)
	if err != nil {
		return nil, err
	}
	w.announcer.recorded.add(done.Told)
	return done.Taken, nil
}

// Plan returns what a rotation of the policy would do now: with a rollout, in the order and with the number of
// the waves. It changes nothing.
func (w *Worker) Plan(ctx context.Context, policy keyturn.Policy, only keyturn.Selection) ([]keyturn.Unit, error) {
	units, err := w.planner.Plan(ctx, policy, only)
	if err != nil || !policy.Rollout.Enabled() {
		return units, err
	}
	plan, err := inWaves(policy.Rollout, units)
	if err != nil {
		return nil, err
	}
	return numbered(plan), nil
}

// KeyInUse asks the unit's target which key it uses now. It changes nothing.
func (w *Worker) KeyInUse(ctx context.Context, unit string) (string, error) {
	target, _, _, err := keyturn.SplitUnitID(unit)
	if err != nil {
		return "", err
	}
	sys, settings, err := w.cfg.Systems.System(ctx, target, 0)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, settings.Timeouts.Request.Std())
	defer cancel()
	return sys.Current(ctx, unit)
}

// Look makes this process look soon whether keys of a target are due to be looked at. It never blocks.
func (w *Worker) Look() { notify(w.looker.asked) }

// QueueLost tells the worker that the queue lost messages: what nobody holds
// is handed out again at once. It never blocks.
func (w *Worker) QueueLost() { w.sweeper.queueLost() }

// TargetsChanged makes the worker look at the list of targets now.
func (w *Worker) TargetsChanged() { notify(w.changed) }

// WebhooksChanged makes the worker end what is for webhooks that were removed, and send what waited for a change.
func (w *Worker) WebhooksChanged() { w.deliverer.webhooksChanged() }

// Run works until ctx ends, then finishes what it has begun.
func (w *Worker) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { w.sweeper.run(ctx) })
	running.Go(func() { w.announcer.run(ctx) })
	running.Go(func() { (&watch{w.cfg.Store, w.cfg.Logger, w.cfg.Metrics}).run(ctx) })
	running.Go(func() { w.looker.run(ctx) })
	if w.cfg.Sender != nil {
		running.Go(func() { w.deliverer.run(ctx) })
	}
	running.Go(func() {
		w.keepConsuming(ctx, "rotations", func() error {
			return w.cfg.Queue.ConsumeRotations(ctx, planConcurrency, w.planner.handle)
		})
	})
	running.Go(func() {
		w.keepConsuming(ctx, "triggers", func() error {
			return w.cfg.Queue.ConsumeTriggers(ctx, triggerConcurrency, w.triggers.handle)
		})
	})
	w.watchTargets(ctx)
	running.Wait()
	return nil
}

// keepConsuming starts a consumer again when it could not be set up, for
// example because the bus is away.
func (w *Worker) keepConsuming(ctx context.Context, what string, consume func() error) {
	for try := 0; ; try++ {
		err := consume()
		if ctx.Err() != nil {
			return
		}
		w.cfg.Logger.Warn("consumer ended; starting it again", zap.String("of", what), zap.Error(err))
		if !sleep(ctx, retryAfter(min(try, 4))) {
			return
		}
	}
}

// watchTargets keeps one consumer and one feeder for each target, and changes
// them when a target comes, goes or gets another concurrency.
func (w *Worker) watchTargets(ctx context.Context) {
	ticker := time.NewTicker(targetsEvery)
	defer ticker.Stop()
	serving := map[string]*serving{}
	defer func() {
		for _, s := range serving {
			<-s.done
		}
	}()
	for {
		if err := w.matchTargets(ctx, serving); err != nil && ctx.Err() == nil {
			w.cfg.Logger.Warn("listing targets", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-w.changed:
		}
	}
}

type serving struct {
	concurrency int
	stop        context.CancelFunc
	done        chan struct{}
}

func (w *Worker) matchTargets(ctx context.Context, have map[string]*serving) error {
	targets, err := w.targets(ctx)
	if err != nil {
		return err
	}
	want := make(map[string]int, len(targets))
	for _, t := range targets {
		want[t.Name] = t.WithDefaults().Limits.Concurrency
	}
	for name, s := range have {
		if want[name] != s.concurrency {
			s.stop() // its successor is started when it has finished its tasks
		}
		select {
		case <-s.done:
			delete(have, name)
		default:
		}
	}
	for name, concurrency := range want {
		if have[name] == nil { // at most one consumer of a target here at a time
			have[name] = w.serve(ctx, name, concurrency)
		}
	}
	return nil
}

// targets has a time limit: a database that hangs, or a connection whose other
// end is gone without a word, must not keep new targets waiting for as long as TCP keeps hoping.
func (w *Worker) targets(ctx context.Context) ([]keyturn.Target, error) {
	ctx, cancel := context.WithTimeout(ctx, targetsMost)
	defer cancel()
	return w.cfg.Targets.Targets(ctx)
}

func (w *Worker) serve(ctx context.Context, target string, concurrency int) *serving {
	ctx, cancel := context.WithCancel(ctx)
	s := &serving{concurrency: concurrency, stop: cancel, done: make(chan struct{})}
	f := newFeeder(target, concurrency)
	f.store, f.queue, f.log, f.drain = w.cfg.Store, w.cfg.Queue, w.cfg.Logger, w.sweeper.mayHaveEnded
	w.mu.Lock()
	w.feeders[target] = f
	w.mu.Unlock()
	at := new(places)
	handle := func(ctx context.Context, d Delivery) {
		f.begun()
		tasks := 1 // of a handler that panics
		defer func() { f.ended(tasks) }()
		tasks = w.rotator.handle(ctx, at, d)
	}
	go func() {
		defer close(s.done)
		defer cancel()
		var both sync.WaitGroup
		both.Go(func() { f.run(ctx) })
		both.Go(func() {
			w.keepConsuming(ctx, "tasks of "+target, func() error {
				return w.cfg.Queue.ConsumeTasks(ctx, target, concurrency, handle)
			})
		})
		both.Wait()
		w.mu.Lock()
		delete(w.feeders, target)
		w.mu.Unlock()
	}()
	f.wake()
	return s
}

// feed makes this process look for tasks of the target to hand out.
func (w *Worker) feed(target string) {
	w.mu.Lock()
	f := w.feeders[target]
	w.mu.Unlock()
	if f != nil {
		f.wake()
		return
	}
	w.TargetsChanged()
}

// served returns the targets whose tasks are consumed here.
func (w *Worker) served() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.feeders))
}

// hold keeps a target's tasks from being handed out. It is only a courtesy to
// the target: when it can't be written down, tasks find out for themselves.
func (w *Worker) hold(ctx context.Context, target, reason string, d time.Duration) {
	if err := w.cfg.Store.Hold(ctx, target, reason, d); err != nil {
		w.cfg.Logger.Warn("holding target", zap.String("target", target), zap.Error(err))
		return
	}
	w.cfg.Logger.Warn("target held", zap.String("target", target), zap.Duration("for", d), zap.String("reason", reason))
}

// gates are the gates of all targets.
type gates struct {
	mu sync.Mutex
	by map[string]*gate
}

func (g *gates) of(target string) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.by == nil {
		g.by = map[string]*gate{}
	}
	if g.by[target] == nil {
		g.by[target] = &gate{}
	}
	return g.by[target]
}
