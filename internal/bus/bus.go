// Package bus carries tasks, wake-ups, triggers and events over NATS JetStream,
// on a server of its own inside this process or on one that is there already.
// It is the only package that knows NATS.
//
// The bus is transport, never truth: losing everything in it loses no work, and
// a message that comes twice does nothing twice, because the rows decide.
package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/worker"
)

var (
	_ worker.Queue        = (*Bus)(nil)
	_ worker.Delivery     = (*delivery)(nil)
	_ scheduler.Publisher = (*Bus)(nil)
)

// ErrClosed is returned by a bus that was closed.
var ErrClosed = errors.New("the connection to NATS is closed")

// requestWait is the longest that one question to the server waits for its
// answer, whatever the caller's context allows.
const requestWait = 10 * time.Second

// shortWait bounds questions that are not worth waiting for: a probe's, and those to a server that is
// gone already.
const shortWait = 2 * time.Second

// Bus is a connection to NATS. It is safe for concurrent use.
type Bus struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	topo  topology
	log   *zap.Logger
	lost  func(stream string)
	epoch map[string]*atomic.Uint64 // by stream; counts its losses
	count counters

	mu      sync.Mutex // held while a stream is looked at or declared
	created map[string]time.Time
}

type counters struct {
	published, redelivered, handedBack, panics, lost atomic.Uint64
	deadLetters                                      map[string]*atomic.Uint64
}

// Stats counts what happened since Connect.
type Stats struct {
	Published   uint64            // messages that the server has stored for us
	Redelivered uint64            // deliveries that were not a message's first
	HandedBack  uint64            // messages that were given back unfinished when consuming ended
	Panics      uint64            // handlers that panicked
	Lost        uint64            // times that a stream was missing or replaced
	DeadLetters map[string]uint64 // messages rejected, by "trigger", "rotation" and "task"
}

// Stats returns the counters.
func (b *Bus) Stats() Stats {
	s := Stats{
		Published:   b.count.published.Load(),
		Redelivered: b.count.redelivered.Load(),
		HandedBack:  b.count.handedBack.Load(),
		Panics:      b.count.panics.Load(),
		Lost:        b.count.lost.Load(),
		DeadLetters: make(map[string]uint64, len(b.count.deadLetters)),
	}
	for kind, n := range b.count.deadLetters {
		s.DeadLetters[kind] = n.Load()
	}
	return s
}

func newBus(nc *nats.Conn, js jetstream.JetStream, cfg Config) *Bus {
	b := &Bus{
		nc:      nc,
		js:      js,
		topo:    topology{prefix: cfg.Prefix, replicas: cfg.Replicas, ackWait: cfg.AckWait, diskTasks: cfg.DiskTasks},
		log:     cfg.Logger,
		lost:    cfg.Lost,
		epoch:   make(map[string]*atomic.Uint64),
		created: make(map[string]time.Time),
	}
	for _, kind := range streamKinds() {
		b.epoch[kind] = new(atomic.Uint64)
	}
	b.count.deadLetters = map[string]*atomic.Uint64{
		StreamTrigger: new(atomic.Uint64), StreamRotation: new(atomic.Uint64), StreamTask: new(atomic.Uint64),
	}
	return b
}

// Healthy answers nil when the server is connected and JetStream answers.
func (b *Bus) Healthy(ctx context.Context) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("not connected to NATS: it is %s", b.nc.Status())
	}
	ctx, cancel := context.WithTimeout(ctx, shortWait)
	defer cancel()
	if _, err := b.js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("asking JetStream: %w", err)
	}
	return nil
}

// Close sends what is still to be sent and closes the connection. Consuming
// must have ended. An error means that acknowledgements may be missing: those messages come again.
func (b *Bus) Close(ctx context.Context) error {
	err := b.flush(ctx)
	b.nc.Close()
	return err
}

func (b *Bus) flush(ctx context.Context) error {
	wait := requestWait
	if !b.nc.IsConnected() {
		wait = shortWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := b.nc.FlushWithContext(ctx); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("flushing to NATS: %w", err)
	}
	return nil
}
