package scheduler

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics counts what a scheduler does. None of them has a label for the
// policy: there may be a million of those.
type Metrics struct {
	fired   prometheus.Counter
	missed  prometheus.Counter
	overlap prometheus.Counter
	invalid prometheus.Counter
	errors  *prometheus.CounterVec
	lag     prometheus.Histogram
}

// NewMetrics registers the metrics. It panics if they are registered already.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	return &Metrics{
		fired: f.NewCounter(prometheus.CounterOpts{
			Name: "keyturn_scheduler_rotations_fired_total",
			Help: "Rotations that the schedules of policies started.",
		}),
		missed: f.NewCounter(prometheus.CounterOpts{
			Name: "keyturn_scheduler_slots_missed_total",
			Help: "Slots that passed while no scheduler ran and did not fire; at most 100 are counted for each policy at a time.",
		}),
		overlap: f.NewCounter(prometheus.CounterOpts{
			Name: "keyturn_scheduler_slots_overlapped_total",
			Help: "Slots that did not fire because a rotation of their policy was under way.",
		}),
		invalid: f.NewCounter(prometheus.CounterOpts{
			Name: "keyturn_scheduler_invalid_schedules_total",
			Help: "Times at which a stored schedule could not be read.",
		}),
		errors: f.NewCounterVec(prometheus.CounterOpts{
			Name: "keyturn_scheduler_errors_total",
			Help: "Errors of the scheduler by operation: fire, next_due, publish, resume, windows or supersede.",
		}, []string{"operation"}),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "keyturn_scheduler_due_lag_seconds",
			Help:    "Time from a slot to the moment at which its rotation was started.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400},
		}),
	}
}

func (m *Metrics) firedAfter(lag time.Duration) {
	if m == nil {
		return
	}
	m.fired.Inc()
	m.lag.Observe(max(0, lag.Seconds()))
}

func (m *Metrics) overlappedSlot() {
	if m != nil {
		m.overlap.Inc()
	}
}

func (m *Metrics) missedSlots(n int) {
	if m != nil {
		m.missed.Add(float64(n))
	}
}

func (m *Metrics) invalidSchedule() {
	if m != nil {
		m.invalid.Inc()
	}
}

func (m *Metrics) failed(operation string) {
	if m != nil {
		m.errors.WithLabelValues(operation).Inc()
	}
}
