package worker

import (
	"context"
	"time"

	"github.com/keyturn/keyturn"
)

// DeliveryStore keeps what webhooks are to be told. Each call is one durable transaction; calls may be repeated.
type DeliveryStore interface {
	// Enqueue adds deliveries (Webhook, EventID, Event, Order and Body are given) in their order. A webhook
	// is told an event once: what is there already stays as it is. Deliveries of webhooks that don't exist
	// are left out; those of a webhook that is gone (DeliveryResult.Gone) are parked.
	Enqueue(ctx context.Context, deliveries []keyturn.Delivery) error
	// DueWebhooks returns the webhooks that have something to be sent now.
	DueWebhooks(ctx context.Context) ([]string, error)
	// ClaimDeliveries takes up to limit deliveries of a webhook that are due and that nobody else has, for
	// the lease, and counts an attempt for each. Of deliveries of the same Order it gives out the earliest
	// only, of a webhook whose receiver is in trouble one at a time.
	ClaimDeliveries(ctx context.Context, webhook string, limit int, lease time.Duration) ([]keyturn.Delivery, error)
	// FinishDeliveries records what came of attempts, and in what state the receiver is. One that took
	// something after trouble gets what waits for it at once; one in trouble is left alone for
	// keyturn.WebhookHold, and what it did not take for giveUp is parked.
	FinishDeliveries(ctx context.Context, webhook string, results []keyturn.DeliveryResult, giveUp time.Duration) error
	// EndDeliveries ends what is for webhooks that were removed, and returns how many those were.
	EndDeliveries(ctx context.Context) (int, error)
	// PruneDeliveries removes up to limit deliveries that were delivered or ended longer than age ago.
	PruneDeliveries(ctx context.Context, age time.Duration, limit int) (int, error)
	// PruneHookRequests looks at the limit oldest events that came in, and removes those longer than age ago.
	PruneHookRequests(ctx context.Context, age time.Duration, limit int) (int, error)
}

// WebhookLister lists the webhooks that there are now.
type WebhookLister interface {
	Webhooks(ctx context.Context) ([]keyturn.Webhook, error)
}

// WebhookSender makes one attempt. It returns when ctx ends.
type WebhookSender interface {
	Send(ctx context.Context, hook keyturn.Webhook, d keyturn.Delivery) keyturn.SendResult
}
