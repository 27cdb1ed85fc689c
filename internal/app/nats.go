package app

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/internal/secret"
)

// connectWait bounds the first connection to NATS; later ones are retried for ever.
const connectWait = 30 * time.Second

func (s *Server) openBus(ctx context.Context) error {
	password := ""
	if s.cfg.NATSPassword != "" {
		var err error
		if password, err = secret.Resolve(s.cfg.NATSPassword); err != nil {
			return fmt.Errorf("nats_password: %w", err)
		}
	}
	cfg := bus.Config{
		URL: s.cfg.NATSURL, Prefix: s.cfg.NATSPrefix, Replicas: s.cfg.NATSReplicas, Logger: s.log.Named("bus"),
		CredsFile: s.cfg.NATSCreds, NKeySeedFile: s.cfg.NATSNKey, User: s.cfg.NATSUser, Password: password,
		TLS:  bus.TLS{CAFile: s.cfg.NATSCAFile, CertFile: s.cfg.NATSCertFile, KeyFile: s.cfg.NATSKeyFile},
		Lost: s.queueLost,
	}
	if s.cfg.NATSURL == "" {
		embedded, err := bus.StartEmbedded(ctx, bus.EmbeddedConfig{
			StoreDir: filepath.Join(s.cfg.DataDir, "nats"), Listen: s.cfg.NATSListen, User: s.cfg.NATSUser, Password: password,
			Prefix: s.cfg.NATSPrefix, Logger: s.log.Named("nats"),
		})
		if err != nil {
			return fmt.Errorf("starting the embedded NATS: %w", err)
		}
		s.nats = embedded
		s.opened("embedded NATS", embedded.Shutdown)
		cfg.Embedded, cfg.User, cfg.Password = embedded, "", ""
	}
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	b, err := bus.Connect(ctx, s.test.bus(cfg))
	if err != nil {
		return err
	}
	s.bus = b
	s.opened("bus", b.Close)
	return b.Declare(ctx)
}

// queueLost is called when a stream was missing and made anew, as the queue of
// tasks is at each start of the embedded server: it is kept in memory.
func (s *Server) queueLost(string) {
	if s.worker == nil { // declared before the worker was made; nothing else runs yet
		s.lost = true
		return
	}
	s.worker.QueueLost()
}

// registerBus exports the bus's counters.
func (s *Server) registerBus(registry prometheus.Registerer) {
	counter := func(name, help string, labels prometheus.Labels, value func(bus.Stats) uint64) {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value(s.bus.Stats())) }))
	}
	counter("keyturn_bus_published_total", "Messages that NATS has stored.", nil, func(st bus.Stats) uint64 { return st.Published })
	counter("keyturn_bus_redelivered_total", "Deliveries that were not a message's first.", nil, func(st bus.Stats) uint64 { return st.Redelivered })
	counter("keyturn_bus_lost_total", "Times that a stream was missing or replaced.", nil, func(st bus.Stats) uint64 { return st.Lost })
	for kind := range s.bus.Stats().DeadLetters {
		counter("keyturn_dead_letters_total", "Messages that were moved to the dead letter.", prometheus.Labels{"kind": kind},
			func(st bus.Stats) uint64 { return st.DeadLetters[kind] })
	}
}
