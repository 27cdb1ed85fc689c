package retain

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyturn/keyturn"
)

// Metrics are what a keeper counts. Labels are targets and fixed words.
type Metrics struct {
	jobs    *prometheus.CounterVec
	looks   *prometheus.CounterVec
	audited *prometheus.GaugeVec
	last    *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyturn_retained_looks_total", Help: "Looks at all snapshots of a target, and audits of all its keys.",
		}, []string{"target", "what", "result"}),
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyturn_snapshot_listings_total", Help: "Units whose snapshots were listed.",
		}, []string{"target", "result"}),
		audited: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "keyturn_audited_keys", Help: "Keys by what the KMIP server said of them, at the last audit by this process.",
		}, []string{"target", "state"}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "keyturn_key_audit_timestamp_seconds", Help: "When this process last audited a target's keys to the end.",
		}, []string{"target"}),
	}
	reg.MustRegister(m.jobs, m.looks, m.audited, m.last)
	return m
}

func (m *Metrics) job(job keyturn.KeyJob, result string, audit *keyturn.KeyAudit, now time.Time) {
	if m == nil {
		return
	}
	m.jobs.WithLabelValues(job.Target, string(job.Kind), result).Inc()
	if audit == nil {
		return
	}
	m.audited.DeletePartialMatch(prometheus.Labels{"target": job.Target})
	for state, n := range audit.States {
		m.audited.WithLabelValues(job.Target, string(state)).Set(float64(n))
	}
	m.audited.WithLabelValues(job.Target, "orphan").Set(float64(audit.Orphans))
	m.last.WithLabelValues(job.Target).Set(float64(now.Unix()))
}

func (m *Metrics) looked(target string, err error) {
	if m == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.looks.WithLabelValues(target, result).Inc()
}
