package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyturn/keyturn"
)

// Metrics are what a worker counts. Labels are bounded: targets, policies and
// fixed words, never units, keys or ids.
type Metrics struct {
	rotations   *prometheus.CounterVec
	tasks       *prometheus.CounterVec
	triggers    *prometheus.CounterVec
	waves       *prometheus.CounterVec
	halted      *prometheus.CounterVec
	looks       *prometheus.CounterVec
	lookedAt    *prometheus.CounterVec
	errors      *prometheus.CounterVec
	refused     prometheus.Counter
	guarded     prometheus.Counter
	inFlight    prometheus.Gauge
	units       *prometheus.GaugeVec
	keyAge      *prometheus.GaugeVec
	taskSeconds prometheus.Histogram
	planSeconds prometheus.Histogram
	callSeconds *prometheus.HistogramVec
	commitSize  *prometheus.HistogramVec
	commitTime  *prometheus.HistogramVec
	watch       watchMetrics
	deliveries  *deliveryMetrics
}

// NewMetrics registers the worker's metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	seconds := prometheus.ExponentialBuckets(0.001, 2, 16) // 1 ms to 33 s
	m := &Metrics{
		rotations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyturn_rotations_total", Help: "Rotations that ended.",
		}, []string{"policy", "state"}),
		tasks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyturn_tasks_total", Help: "Tasks that ended.",
		}, []string{"target", "state", "resolution"}),
		triggers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyturn_trigger_messages_total", Help: "Manual trigger messages.",
		}, []string{"result"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyturn_target_errors_total", Help: "Errors of calls to targets.",
		}, []string{"target", "code"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keyturn_results_refused_total", Help: "Results that the database refused because another worker had taken over.",
		}),
		guarded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keyturn_sends_guarded_total", Help: "Changes that were not sent because the process had been stopped for too long since the intent.",
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keyturn_tasks_in_flight", Help: "Tasks that this worker works on.",
		}),
		units: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "keyturn_units", Help: "Units by whether their key was ever seen.",
		}, []string{"target", "key"}),
		keyAge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "keyturn_key_age_oldest_seconds", Help: "Age of the oldest known key of a target's units, at least.",
		}, []string{"target"}),
		taskSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keyturn_task_duration_seconds", Help: "Time from the delivery that ended a task to its durable result.", Buckets: seconds,
		}),
		planSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keyturn_plan_duration_seconds", Help: "Time to ask a target for the units of a rotation.", Buckets: seconds,
		}),
		callSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "keyturn_target_call_duration_seconds", Help: "Calls to targets by step of the protocol.", Buckets: seconds,
		}, []string{"step", "result"}),
		commitSize: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "keyturn_group_commit_size", Help: "Writes that went to the database in one commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}, []string{"kind"}),
		commitTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "keyturn_group_commit_duration_seconds", Help: "Time of one group commit.", Buckets: seconds,
		}, []string{"kind"}),
	}
	m.addRollouts()
	reg.MustRegister(m.waves, m.halted, m.looks, m.lookedAt)
	reg.MustRegister(m.rotations, m.tasks, m.triggers, m.errors, m.refused, m.guarded, m.inFlight, m.units, m.keyAge,
		m.taskSeconds, m.planSeconds, m.callSeconds, m.commitSize, m.commitTime)
	m.watch = newWatchMetrics(reg)
	m.deliveries = newDeliveryMetrics(reg)
	return m
}

func (m *Metrics) addRollouts() {
	m.waves = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_rollout_waves_total", Help: "Waves of rollouts that were opened after the first.",
	}, []string{"policy"})
	m.halted = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_rollouts_halted_total", Help: "Rotations that their rollout halted.",
	}, []string{"policy"})
	m.looks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_observe_sweeps_total", Help: "Looks at all the keys of a target.",
	}, []string{"target", "result"})
	m.lookedAt = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_observed_keys_total", Help: "Keys that were looked at by what was seen.",
	}, []string{"target", "result"})
}

// observeAges replaces what was known of the keys' ages.
func (m *Metrics) observeAges(ages []keyturn.KeyAge) {
	m.units.Reset()
	m.keyAge.Reset()
	for _, a := range ages {
		m.units.WithLabelValues(a.Target, "known").Set(float64(a.Units - a.Unknown))
		m.units.WithLabelValues(a.Target, "unknown").Set(float64(a.Unknown))
		if a.Units > a.Unknown {
			m.keyAge.WithLabelValues(a.Target).Set(a.Oldest.Seconds())
		}
	}
}

func (m *Metrics) observeCall(step string, took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = string(keyturn.AsSystemError(err, keyturn.KindAmbiguous).Kind)
	}
	m.callSeconds.WithLabelValues(step, result).Observe(took.Seconds())
}

func (m *Metrics) observeCommit(kind string) func(int, time.Duration) {
	size, took := m.commitSize.WithLabelValues(kind), m.commitTime.WithLabelValues(kind)
	return func(n int, d time.Duration) {
		size.Observe(float64(n))
		took.Observe(d.Seconds())
	}
}
