package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/worker"
)

const (
	// minPull and maxPull bound how many messages one pull asks for. A pull asks for
	// the whole concurrency, because the server keeps to MaxAckPending over all
	// workers and serves their pulls in turn: nothing waits here without a handler, and a slot
	// that an acknowledgement frees is filled without being asked again.
	minPull = 4
	maxPull = 512

	pullExpiry    = 30 * time.Second
	pullHeartbeat = 5 * time.Second

	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second

	// drainWait is how long messages that are still on their way are waited for at the end.
	drainWait = 5 * time.Second
)

// ConsumeTasks calls handle, in its own goroutine for each, for the messages with the
// target's tasks, with at most concurrency of them unfinished over all workers. When ctx
// ends it waits for the handlers; what they neither acknowledged nor rejected by then, and
// what came too late for one, is handed back at once. The context that handlers get ends with ctx.
//
// A message whose handler returns without having ended it comes again after AckWait. A stream or
// consumer that vanishes is declared again.
func (b *Bus) ConsumeTasks(ctx context.Context, target string, concurrency int, handle func(context.Context, worker.Delivery)) error {
	if !plain(target) {
		return fmt.Errorf("consuming tasks: %q can't be the name of a target", target)
	}
	cfg := b.topo.consumer(target, b.topo.tasks(target)+".>", concurrency)
	return b.consume(ctx, StreamTask, cfg, handle)
}

// ConsumeRotations does for rotations what ConsumeTasks does for tasks.
func (b *Bus) ConsumeRotations(ctx context.Context, concurrency int, handle func(context.Context, worker.Delivery)) error {
	return b.consume(ctx, StreamRotation, b.topo.consumer("planner", b.topo.rotations(), concurrency), handle)
}

// ConsumeTriggers does for manual triggers what ConsumeTasks does for tasks.
func (b *Bus) ConsumeTriggers(ctx context.Context, concurrency int, handle func(context.Context, worker.Delivery)) error {
	return b.consume(ctx, StreamTrigger, b.topo.consumer("trigger", b.topo.triggers(), concurrency), handle)
}

// consumer is one call of consume, with the deliveries that are in its handlers.
type consumer struct {
	bus    *Bus
	kind   string
	stream string
	handle func(context.Context, worker.Delivery)

	mu       sync.Mutex
	drained  bool        // no more messages arrive
	returned []*delivery // to hand back as soon as drained: before, they would come to us again
	inflight map[messageKey]*delivery
	handlers sync.WaitGroup
}

func (b *Bus) consume(ctx context.Context, kind string, cfg jetstream.ConsumerConfig, handle func(context.Context, worker.Delivery)) error {
	if cfg.MaxAckPending < 1 {
		return fmt.Errorf("consuming from %s: a concurrency of %d: expected at least 1", b.topo.streamName(kind), cfg.MaxAckPending)
	}
	c := &consumer{bus: b, kind: kind, stream: b.topo.streamName(kind), handle: handle, inflight: make(map[messageKey]*delivery)}
	beating, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	var heart sync.WaitGroup
	heart.Go(func() { c.beat(beating, cfg.AckWait/3) })

	err := c.run(ctx, cfg)
	c.finishDraining()
	c.handlers.Wait()
	stopBeating()
	heart.Wait()
	if flushErr := b.flush(context.WithoutCancel(ctx)); flushErr != nil {
		b.log.Warn("the last acknowledgements may be missing; those messages come again", zap.Error(flushErr))
	}
	return err
}

// run keeps a consumer going until ctx ends.
func (c *consumer) run(ctx context.Context, cfg jetstream.ConsumerConfig) error {
	backoff, failing := firstBackoff, false
	for ctx.Err() == nil {
		cons, err := c.bus.bind(ctx, c.kind, cfg)
		if err == nil {
			if failing {
				c.bus.log.Info("consuming again", zap.String("consumer", cfg.Durable))
			}
			backoff, failing = firstBackoff, false
			err = c.pull(ctx, cons, cfg.MaxAckPending)
		}
		if ctx.Err() != nil {
			return nil
		}
		if c.bus.nc.IsClosed() {
			return ErrClosed
		}
		if !failing {
			c.bus.log.Warn("consuming was interrupted; going on", zap.String("consumer", cfg.Durable), zap.Error(err))
			failing = true
		}
		if pause(ctx, backoff) != nil {
			return nil
		}
		backoff = min(2*backoff, lastBackoff)
	}
	return nil
}

// pull receives messages until ctx ends or the consumer seems to be gone.
func (c *consumer) pull(ctx context.Context, cons jetstream.Consumer, concurrency int) error {
	size := min(max(concurrency, minPull), maxPull)
	broken := make(chan error, 1)
	pulling, err := cons.Consume(
		func(msg jetstream.Msg) { c.arrive(ctx, msg) },
		jetstream.PullMaxMessages(size),
		jetstream.PullThresholdMessages(size/2),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if !c.isGone(err) {
				return
			}
			select {
			case broken <- err:
			default:
			}
		}),
	)
	if err != nil {
		return fmt.Errorf("pulling from %s: %w", c.stream, err)
	}
	select {
	case <-ctx.Done():
	case err = <-broken:
	}
	pulling.Drain()
	late := time.NewTimer(drainWait)
	defer late.Stop()
	select {
	case <-pulling.Closed():
	case <-late.C: // what comes later is given back on arrival, or comes again
	}
	return err
}

// isGone reports whether an error means that the consumer must be looked at. While the
// connection is down, silence means nothing: nats.go pulls again by itself afterwards.
func (c *consumer) isGone(err error) bool {
	switch {
	case errors.Is(err, jetstream.ErrNoHeartbeat), errors.Is(err, nats.ErrNoResponders):
		return c.bus.nc.IsConnected()
	default:
		return errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
			errors.Is(err, jetstream.ErrBadRequest) || errors.Is(err, jetstream.ErrConnectionClosed)
	}
}

// finishDraining hands back what was kept until no more messages arrive.
func (c *consumer) finishDraining() {
	c.mu.Lock()
	returned := c.returned
	c.drained, c.returned = true, nil
	c.mu.Unlock()
	for _, d := range returned {
		d.handBack()
	}
}

// giveBack hands a delivery back, at the earliest when we are drained.
func (c *consumer) giveBack(d *delivery) {
	c.mu.Lock()
	wait := !c.drained
	if wait {
		c.returned = append(c.returned, d)
	}
	c.mu.Unlock()
	if !wait {
		d.handBack()
	}
}

// arrive starts the handler of a message.
func (c *consumer) arrive(ctx context.Context, msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil { // not a message of JetStream
		c.bus.log.Warn("a message without a delivery subject was ignored", zap.String("subject", msg.Subject()))
		return
	}
	if meta.NumDelivered > 1 {
		c.bus.count.redelivered.Add(1)
	}
	d := &delivery{
		msg:   msg,
		of:    c,
		key:   messageKey{seq: meta.Sequence.Stream, stored: meta.Timestamp.UnixNano()},
		epoch: c.bus.epoch[c.kind].Load(),
		again: meta.NumDelivered > 1,
	}
	started, refused := c.begin(ctx, d)
	switch {
	case refused:
		c.giveBack(d)
	case started:
		go c.work(ctx, d)
	}
}

// begin takes a delivery into the books. It is not started when its message is in a handler of
// ours already: the heartbeats were late, and the handler that has it keeps it.
func (c *consumer) begin(ctx context.Context, d *delivery) (started, refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inflight[d.key] != nil {
		return false, false
	}
	if c.drained || ctx.Err() != nil {
		return false, true
	}
	c.inflight[d.key] = d
	c.handlers.Add(1)
	return true, false
}

// forget ends the heartbeats of a delivery.
func (c *consumer) forget(d *delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inflight[d.key] == d {
		delete(c.inflight, d.key)
	}
}

// work runs the handler. A handler that panics leaves its message: it comes
// again after AckWait, here or elsewhere.
func (c *consumer) work(ctx context.Context, d *delivery) {
	defer c.handlers.Done()
	defer c.forget(d)
	defer func() {
		if r := recover(); r != nil {
			c.bus.count.panics.Add(1)
			c.bus.log.Error("a handler panicked; its message comes again",
				zap.String("message", d.Key()), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
			return
		}
		if ctx.Err() != nil && !d.ended.Load() {
			c.giveBack(d)
		}
	}()
	c.handle(ctx, d)
}

// beat tells the server every now and then that the deliveries in our handlers
// are still ours. One goroutine does it for all of them.
func (c *consumer) beat(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, d := range c.inHand() {
			if !d.current() {
				continue
			}
			if err := d.msg.InProgress(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
				c.bus.log.Debug("could not keep a delivery; it may come again", zap.Error(err))
			}
		}
	}
}

func (c *consumer) inHand() []*delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	ds := make([]*delivery, 0, len(c.inflight))
	for _, d := range c.inflight {
		ds = append(ds, d)
	}
	return ds
}
