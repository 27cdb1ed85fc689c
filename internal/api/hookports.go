package api

import (
	"context"

	"github.com/keyturn/keyturn"
)

// DeliveryStore shows what webhooks were told, and lets people have it told again.
type DeliveryStore interface {
	// Deliveries lists deliveries, newest first, without their bodies.
	Deliveries(ctx context.Context, f keyturn.DeliveryFilter) ([]keyturn.Delivery, string, error)
	// Delivery returns one with its body.
	Delivery(ctx context.Context, id keyturn.ID) (keyturn.Delivery, error)
	// Replay makes a delivery be sent anew, whatever its state, under the same id. It answers ErrConflict
	// when it is being sent just now, and when its webhook was removed.
	Replay(ctx context.Context, id keyturn.ID) error
	// ReplayParked makes what was parked for a webhook be sent anew, in order, but for what a later
	// delivery of the same order has overtaken, and returns how many those are.
	ReplayParked(ctx context.Context, webhook string) (int, error)
	// WebhookStates returns what happens to each webhook there is, by name.
	WebhookStates(ctx context.Context) ([]keyturn.WebhookState, error)
}

// HookStore keeps what came in.
type HookStore interface {
	// HookRequestOf returns the event that came in before. It answers ErrNotFound for a new one.
	HookRequestOf(ctx context.Context, hook, eventID string) (keyturn.HookRequest, error)
	// SaveHookRequest writes an event down, once: the same event again changes nothing.
	SaveHookRequest(ctx context.Context, r keyturn.HookRequest) error
	// HookRequests lists what came in, newest first. An empty hook lists all.
	HookRequests(ctx context.Context, hook string, page keyturn.Page) ([]keyturn.HookRequest, string, error)
}

// AlertRaiser turns somebody else's alert into one of ours, or ends it. Raising it twice raises one.
type AlertRaiser interface {
	RaiseExternal(ctx context.Context, alert keyturn.ExternalAlert) error
}

// WebhookTester sends a test event to a webhook now, and returns what the receiver answered.
type WebhookTester interface {
	TestWebhook(ctx context.Context, hook keyturn.Webhook) keyturn.SendResult
}
