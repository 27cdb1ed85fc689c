package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// noRoom is how JetStream refuses a stream that may grow larger than what is left of its storage: if nobody says otherwise,
// three quarters of what was free on its disk when it started.
const noRoom = jetstream.ErrorCode(server.JSStorageResourcesExceededErr)

// Declare makes the streams what topology.go says, those that exist in place.
// It may be repeated, by any number of processes at once.
func (b *Bus) Declare(ctx context.Context) error {
	for _, kind := range streamKinds() {
		if err := b.ensure(ctx, kind, true); err != nil {
			return err
		}
	}
	return nil
}

// ensure declares the stream if it is missing, or with update in any case. When
// what was in the stream is gone, it tells so.
func (b *Bus) ensure(ctx context.Context, kind string, update bool) error {
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	fresh, again, err := b.look(ctx, kind, update)
	if apiErr, ok := errors.AsType[*jetstream.APIError](err); ok && apiErr.ErrorCode == noRoom {
		err = fmt.Errorf("%w: JetStream may not use another %d MB of the server's disk; free some of it, or raise max_file_store there",
			err, b.topo.stream(kind).MaxBytes>>20)
	}
	if err != nil {
		return fmt.Errorf("declaring the stream %s: %w", b.topo.streamName(kind), err)
	}
	if again {
		b.count.lost.Add(1)
		b.log.Warn("a stream was lost with what was in it, and is there again", zap.String("stream", b.topo.streamName(kind)))
	}
	if fresh && b.lost != nil {
		b.lost(kind)
	}
	return nil
}

// look reports whether the stream is new to us and begins empty; again if this
// process has seen another one of its name before.
func (b *Bus) look(ctx context.Context, kind string, update bool) (fresh, again bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	created, isNew, err := b.declareStream(ctx, kind, update)
	if err != nil {
		return false, false, err
	}
	known, seen := b.created[kind]
	b.created[kind] = created
	if seen && !known.Equal(created) {
		// Deliveries of the old stream must not touch messages of the new
		// one, which have the same sequence numbers.
		b.epoch[kind].Add(1)
		return true, true, nil
	}
	return isNew, false, nil
}

func (b *Bus) declareStream(ctx context.Context, kind string, update bool) (created time.Time, isNew bool, err error) {
	cfg := b.topo.stream(kind)
	stream, err := b.js.Stream(ctx, cfg.Name)
	if err == nil && update && repeatable(kind) && stream.CachedInfo().Config.Storage != cfg.Storage {
		// A stream can't move between memory and disk. What is in it will be handed out again.
		if err = b.js.DeleteStream(ctx, cfg.Name); err != nil {
			return time.Time{}, false, fmt.Errorf("removing it to change its storage: %w", err)
		}
		err = jetstream.ErrStreamNotFound
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		stream, err = b.js.CreateStream(ctx, cfg)
		if isNew = err == nil; errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = b.js.UpdateStream(ctx, cfg) // somebody was faster, with another version of it
		}
	case err == nil && update:
		stream, err = b.js.UpdateStream(ctx, cfg)
	}
	if err != nil {
		return time.Time{}, false, err
	}
	return stream.CachedInfo().Created, isNew, nil
}

// bind declares the consumer, and its stream if that is missing.
func (b *Bus) bind(ctx context.Context, kind string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if err := b.ensure(ctx, kind, false); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	cons, err := b.js.CreateOrUpdateConsumer(ctx, b.topo.streamName(kind), cfg)
	if err != nil {
		return nil, fmt.Errorf("declaring the consumer %s of %s: %w", cfg.Durable, b.topo.streamName(kind), err)
	}
	return cons, nil
}
