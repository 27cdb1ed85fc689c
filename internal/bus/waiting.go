package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Waiting returns how many messages with tasks of the target were published and not delivered yet. Without a
// stream or a consumer there are none.
func (b *Bus) Waiting(ctx context.Context, target string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	cons, err := b.js.Consumer(ctx, b.topo.streamName(StreamTask), b.topo.consumer(target, "", 1).Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("asking for the waiting tasks of %s: %w", target, err)
	}
	return int(cons.CachedInfo().NumPending), nil //nolint:gosec // far below 2^63
}
