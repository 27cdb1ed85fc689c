package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	watchEvery = 15 * time.Second
	// SlotGrace is how late a slot may fire before it counts as missed.
	SlotGrace = time.Minute
	// StuckAfter is how long nothing may happen in a rotation that may go on.
	StuckAfter = 15 * time.Minute
)

// WatchStore tells what should have happened and did not. It is asked by
// workers, so that it is noticed also when every scheduler is gone.
type WatchStore interface {
	// MissedPolicies returns policies whose slot is overdue by more than grace and has no rotation, at most 1000, oldest first.
	MissedPolicies(ctx context.Context, grace time.Duration) ([]keyturn.MissedPolicy, error)
	// StuckRotations returns rotations in which nothing has happened for longer than after, although
	// neither windows, a pause, a held target, a delay nor the rotation before holds or held them in that time; at most
	// 1000, oldest first.
	StuckRotations(ctx context.Context, after time.Duration) ([]keyturn.StuckRotation, error)
	// PastDeadlines returns policies of which a key gets too old before the next window opens, at most 1000, most urgent first.
	PastDeadlines(ctx context.Context) ([]keyturn.PastDeadline, error)
}

// watch keeps the metrics of what did not happen.
type watch struct {
	store   WatchStore
	log     *zap.Logger
	metrics *Metrics
}

func (w *watch) run(ctx context.Context) {
	for {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("watching for what did not happen", zap.Error(err))
		}
		if !sleep(ctx, watchEvery) {
			return
		}
	}
}

func (w *watch) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	missed, err := w.store.MissedPolicies(ctx, SlotGrace)
	if err != nil {
		return fmt.Errorf("looking for slots that were missed: %w", err)
	}
	stuck, err := w.store.StuckRotations(ctx, StuckAfter)
	if err != nil {
		return fmt.Errorf("looking for rotations that stand still: %w", err)
	}
	past, err := w.store.PastDeadlines(ctx)
	if err != nil {
		return fmt.Errorf("looking for windows that open too late: %w", err)
	}
	w.metrics.watch.observe(missed, stuck, past)
	return nil
}

// watchMetrics count what did not happen.
type watchMetrics struct {
	overdue, late, stuck, deadlines prometheus.Gauge
}

func newWatchMetrics(reg prometheus.Registerer) watchMetrics {
	m := watchMetrics{
		overdue: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keyturn_policies_overdue", Help: "Policies whose slot is overdue by more than a minute and has no rotation; at most 1000 are counted.",
		}),
		late: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keyturn_policy_overdue_seconds", Help: "How long the oldest of those slots is overdue; 0 if there is none.",
		}),
		stuck: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keyturn_rotations_stuck", Help: "Rotations that may go on and in which nothing has happened for 15 minutes; at most 1000 are counted.",
		}),
		deadlines: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keyturn_policies_past_deadline", Help: "Policies of which a key gets too old before the next window opens; at most 1000 are counted.",
		}),
	}
	reg.MustRegister(m.overdue, m.late, m.stuck, m.deadlines)
	return m
}

func (m watchMetrics) observe(missed []keyturn.MissedPolicy, stuck []keyturn.StuckRotation, past []keyturn.PastDeadline) {
	m.overdue.Set(float64(len(missed)))
	m.late.Set(0)
	if len(missed) > 0 {
		m.late.Set(missed[0].Late.Seconds())
	}
	m.stuck.Set(float64(len(stuck)))
	m.deadlines.Set(float64(len(past)))
}
