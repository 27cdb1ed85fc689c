package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	// deliverEvery is how long something that nobody was woken for waits: what another process added, and retries.
	deliverEvery = time.Second
	deliverMost  = 16 // attempts at once for each webhook of each worker
	// drainMost is for how long a webhook is drained without a look at its spec.
	drainMost = 2 * time.Second
	// deliverMargin is what a lease has beyond the time that an attempt may take.
	deliverMargin = 30 * time.Second
	// giveUpAfter is how long a receiver may be away until what it should have been told is parked: a bit
	// longer than all tries of one delivery take.
	giveUpAfter = 4 * 24 * time.Hour

	endEvery    = 30 * time.Second
	pruneEvery  = 10 * time.Minute
	pruneMost   = 1000
	deliveryAge = 30 * 24 * time.Hour // for which what was delivered can be looked at
)

// deliverAfter is how long a delivery waits after its first, second, … failure. The begin heals short
// outages soon; from the hours on it is the schedule that Standard Webhooks proposes:
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
func deliverAfter(attempts int) (after time.Duration, ok bool) {
	steps := [...]time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, 30 * time.Second, 30 * time.Second,
		time.Minute, time.Minute, 2 * time.Minute, 2 * time.Minute, 5 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute,
		30 * time.Minute, time.Hour, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
	if attempts > len(steps) {
		return 0, false
	}
	return steps[max(attempts, 1)-1], true
}

// deliverer sends what the rows say is to be told. Any number of them work side by side.
type deliverer struct {
	store    DeliveryStore
	webhooks WebhookLister
	sender   WebhookSender
	log      *zap.Logger
	metrics  *deliveryMetrics

	woken   chan struct{}
	changed chan struct{} // webhooks were changed: some may be gone

	mu      sync.Mutex
	sending map[string]bool // by webhook: somebody drains it here
}

func newDeliverer(cfg Config) *deliverer {
	return &deliverer{
		store: cfg.Deliveries, webhooks: cfg.Webhooks, sender: cfg.Sender, log: cfg.Logger, metrics: cfg.Metrics.deliveries,
		woken: make(chan struct{}, 1), changed: make(chan struct{}, 1), sending: map[string]bool{},
	}
}

// run sends until ctx ends, then lets attempts that are under way end.
func (d *deliverer) run(ctx context.Context) {
	tick, end, prune := time.NewTicker(deliverEvery), time.NewTicker(endEvery), time.NewTicker(pruneEvery)
	defer tick.Stop()
	defer end.Stop()
	defer prune.Stop()
	var draining sync.WaitGroup
	defer draining.Wait()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			err = d.look(ctx, &draining)
		case <-d.woken:
			err = d.look(ctx, &draining)
		case <-d.changed:
			err = d.end(ctx)
		case <-end.C:
			err = d.end(ctx)
		case <-prune.C:
			err = d.prune(ctx)
		}
		if err != nil && ctx.Err() == nil {
			d.log.Warn("delivering to webhooks; tried again", zap.Error(err))
		}
	}
}

// look starts to drain each webhook that has something to be sent, each in a goroutine of its own: a slow
// receiver makes no other wait.
func (d *deliverer) look(ctx context.Context, draining *sync.WaitGroup) error {
	hooks, err := d.due(ctx)
	if err != nil {
		return err
	}
	for _, hook := range hooks {
		if hook.Paused || !d.begin(hook.Name) {
			continue
		}
		draining.Go(func() {
			defer d.ended(hook.Name)
			if err := d.drain(ctx, hook); err != nil && ctx.Err() == nil {
				d.log.Warn("delivering to a webhook; tried again", zap.String("webhook", hook.Name), zap.Error(err))
			}
		})
	}
	return nil
}

// due returns the webhooks that have something to be sent.
func (d *deliverer) due(ctx context.Context) ([]keyturn.Webhook, error) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	names, err := d.store.DueWebhooks(ctx)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	hooks, err := d.webhooks.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(hooks, func(w keyturn.Webhook) bool { return !slices.Contains(names, w.Name) }), nil
}

func (d *deliverer) begin(webhook string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sending[webhook] {
		return false
	}
	d.sending[webhook] = true
	return true
}

func (d *deliverer) ended(webhook string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sending, webhook)
}

// drain sends what is due for a webhook, until nothing is, or until its spec should be read anew.
func (d *deliverer) drain(ctx context.Context, hook keyturn.Webhook) error {
	for begin := time.Now(); ctx.Err() == nil && time.Since(begin) < drainMost; {
		n, err := d.round(ctx, hook)
		if err != nil || n == 0 {
			return err
		}
	}
	d.wake()
	return nil
}

// round makes one attempt for each of a few deliveries, at once, and records what came of them. Attempts
// that have begun are not cut short by ctx: a receiver that has the message would get it once more.
func (d *deliverer) round(ctx context.Context, hook keyturn.Webhook) (int, error) {
	hook = hook.WithDefaults()
	claimed, err := d.claim(ctx, hook)
	if err != nil || len(claimed) == 0 {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx)
	results := make([]keyturn.DeliveryResult, len(claimed))
	var attempts sync.WaitGroup
	for i, delivery := range claimed {
		attempts.Go(func() { results[i] = d.attempt(ctx, hook, delivery) })
	}
	attempts.Wait()
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := d.store.FinishDeliveries(ctx, hook.Name, results, giveUpAfter); err != nil {
		return 0, err // they are sent again when their lease ends, under the same ids
	}
	return len(claimed), nil
}

func (d *deliverer) claim(ctx context.Context, hook keyturn.Webhook) ([]keyturn.Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return d.store.ClaimDeliveries(ctx, hook.Name, deliverMost, hook.Timeout.Std()+deliverMargin)
}

func (d *deliverer) attempt(ctx context.Context, hook keyturn.Webhook, delivery keyturn.Delivery) keyturn.DeliveryResult {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, hook.Timeout.Std())
	answer := d.sender.Send(ctx, hook, delivery)
	cancel()
	result := judge(delivery, answer)
	d.metrics.observe(hook.Name, result, time.Since(begin))
	if result.State != keyturn.DeliveryDelivered {
		d.log.Warn("a webhook did not take a delivery", zap.String("webhook", hook.Name), zap.Stringer("delivery", delivery.ID),
			zap.String("event", delivery.EventID), zap.Int("attempt", delivery.Attempts), zap.Int("status", answer.Status),
			zap.String("state", string(result.State)), zap.Duration("again", result.After), zap.String("error", result.Error))
	}
	return result
}

// judge says what an answer means for the delivery and for its receiver.
func judge(delivery keyturn.Delivery, answer keyturn.SendResult) keyturn.DeliveryResult {
	result := keyturn.DeliveryResult{ID: delivery.ID, Attempts: delivery.Attempts, State: keyturn.DeliveryDelivered, Status: answer.Status}
	if answer.Err == nil {
		return result
	}
	result.Error = answer.Err.Error()
	result.Whole, result.Gone, result.Asked = answer.Whole, answer.Gone, min(answer.RetryAfter, keyturn.Day)
	after, again := deliverAfter(delivery.Attempts)
	if !again || answer.Gone {
		result.State = keyturn.DeliveryParked
		return result
	}
	result.State = keyturn.DeliveryPending
	result.After = max(time.Duration(float64(after)*(0.9+0.2*rand.Float64())), result.Asked) //nolint:gosec // spreads retries, keeps no secret
	return result
}

// end ends what is for webhooks that were removed.
func (d *deliverer) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	n, err := d.store.EndDeliveries(ctx)
	if n > 0 {
		d.log.Info("deliveries of removed webhooks ended", zap.Int("deliveries", n))
	}
	return err
}

// prune removes what nobody looks at any more: what webhooks were told, and what hooks were.
func (d *deliverer) prune(ctx context.Context) error {
	return errors.Join(pruneAll(ctx, d.store.PruneDeliveries, deliveryAge), pruneAll(ctx, d.store.PruneHookRequests, keyturn.HookKept))
}

func pruneAll(ctx context.Context, some func(ctx context.Context, age time.Duration, limit int) (int, error), age time.Duration) error {
	for {
		one, cancel := context.WithTimeout(ctx, flushTimeout)
		n, err := some(one, age, pruneMost)
		cancel()
		if err != nil || n < pruneMost {
			return err
		}
	}
}

// wake makes the deliverer look now.
func (d *deliverer) wake() { notify(d.woken) }

// webhooksChanged makes it end what is for webhooks that were removed.
func (d *deliverer) webhooksChanged() {
	notify(d.changed)
	notify(d.woken)
}

// deliveryMetrics are counted by webhook: there are dozens.
type deliveryMetrics struct {
	attempts *prometheus.CounterVec
	seconds  prometheus.Histogram
}

func newDeliveryMetrics(reg prometheus.Registerer) *deliveryMetrics {
	m := &deliveryMetrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyturn_webhook_attempts_total", Help: "Attempts to tell webhooks.",
		}, []string{"webhook", "result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keyturn_webhook_attempt_duration_seconds", Help: "Time of an attempt to tell a webhook.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}),
	}
	reg.MustRegister(m.attempts, m.seconds)
	return m
}

func (m *deliveryMetrics) observe(webhook string, result keyturn.DeliveryResult, took time.Duration) {
	word := string(result.State)
	if result.State == keyturn.DeliveryPending {
		word = "failed"
	}
	m.attempts.WithLabelValues(webhook, word).Inc()
	m.seconds.Observe(took.Seconds())
}

// TestWebhook tells a webhook now that this is a test, and returns what its receiver answered. Formats
// that only know alerts get one that fires and is over at once.
func (w *Worker) TestWebhook(ctx context.Context, hook keyturn.Webhook) keyturn.SendResult {
	if w.cfg.Sender == nil {
		return keyturn.SendResult{Err: errors.New("this server sends nothing to webhooks")}
	}
	hook = hook.WithDefaults()
	var answer keyturn.SendResult
	for _, event := range w.testEvents(hook) {
		id := keyturn.NewID(w.cfg.Now())
		attempt, cancel := context.WithTimeout(ctx, hook.Timeout.Std())
		answer = w.cfg.Sender.Send(attempt, hook, keyturn.Delivery{ID: id, Webhook: hook.Name, EventID: event.ID, Event: event.Type, Body: event.Data})
		cancel()
		if answer.Err != nil {
			return answer
		}
	}
	return answer
}

func (w *Worker) testEvents(hook keyturn.Webhook) []Event {
	now := w.cfg.Now().UTC()
	id := keyturn.NewID(now).String()
	var events []Event
	if !hook.Format.AlertsOnly() {
		data := map[string]string{"webhook": hook.Name, "message": "This is a test of the webhook " + hook.Name + "."}
		events, _ = w.announcer.add(nil, "webhook.test", id, now, data) // a map of strings can always be written
		return events
	}
	notice := keyturn.Notice{
		ID: keyturn.NewID(now), Group: "webhook.test/" + hook.Name + "/" + id, Kind: keyturn.AlertExternal, Severity: keyturn.SeverityInfo,
		Message: "This is a test of the webhook " + hook.Name + ". It is over at once.", Since: now, At: now, Alerts: []keyturn.Alert{},
	}
	for _, notice.State = range []keyturn.AlertState{keyturn.AlertFiring, keyturn.AlertResolved} {
		events, _ = w.announcer.add(events, "alert."+string(notice.State), id, now, notice)
	}
	return events
}
