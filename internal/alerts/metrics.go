package alerts

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyturn/keyturn"
)

// Metrics are what the evaluation counts. Labels are fixed words.
type Metrics struct {
	open    *prometheus.GaugeVec
	notices *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	last    *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "keyturn_alerts_open", Help: "Open alerts, as the process that evaluates them counts.",
		}, []string{"kind", "severity"}),
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyturn_notices_total", Help: "Notices of alerts that began, were reminded of, or ended.",
		}, []string{"kind", "state"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "keyturn_alert_sweep_duration_seconds", Help: "Time of one look at the facts, by part.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16), // 1 ms to 33 s
		}, []string{"part"}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "keyturn_alert_sweep_timestamp_seconds", Help: "When the facts were last looked at, by part.",
		}, []string{"part"}),
	}
	reg.MustRegister(m.open, m.notices, m.seconds, m.last)
	return m
}

// retire forgets what another process counts from now on.
func (m *Metrics) retire() {
	if m != nil {
		m.open.Reset()
		m.last.Reset()
	}
}

func (m *Metrics) observe(part string, took time.Duration, at time.Time) {
	if m != nil {
		m.seconds.WithLabelValues(part).Observe(took.Seconds())
		m.last.WithLabelValues(part).Set(float64(at.UnixMilli()) / 1000)
	}
}

func (m *Metrics) count(counts []keyturn.AlertCount) {
	if m == nil {
		return
	}
	m.open.Reset()
	for _, c := range counts {
		m.open.WithLabelValues(string(c.Kind), string(c.Severity)).Set(float64(c.Open))
	}
}

func (m *Metrics) told(kind keyturn.AlertKind, state keyturn.AlertState) {
	if m != nil {
		m.notices.WithLabelValues(string(kind), string(state)).Inc()
	}
}
