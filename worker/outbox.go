package worker

import (
	"context"
	"slices"
	"strings"

	"github.com/keyturn/keyturn"
)

// outbox hands events to the webhooks that want them: as rows, before their announcement goes. It comes
// before the bus, so that webhooks are told also while the bus is away.
type outbox struct {
	store    DeliveryStore // nil: webhooks are told nothing here
	webhooks WebhookLister
	wake     func() // somebody has something to send
}

// add writes one delivery for each event and webhook that is told of it. Without webhooks it costs one
// look at their empty list for a batch of announcements.
func (o *outbox) add(ctx context.Context, events []Event) error {
	if o.store == nil || len(events) == 0 {
		return nil
	}
	hooks, err := o.webhooks.Webhooks(ctx)
	if err != nil || len(hooks) == 0 {
		return err
	}
	deliveries := route(hooks, events)
	if len(deliveries) == 0 {
		return nil
	}
	if err := o.store.Enqueue(ctx, deliveries); err != nil {
		return err
	}
	o.wake()
	return nil
}

// route says who is told what.
func route(hooks []keyturn.Webhook, events []Event) []keyturn.Delivery {
	var out []keyturn.Delivery
	for _, e := range events {
		for _, w := range hooks {
			if told(w, e, hooks) {
				out = append(out, keyturn.Delivery{Webhook: w.Name, EventID: e.ID, Event: e.Type, Order: e.Order, Body: e.Data})
			}
		}
	}
	return out
}

// told reports whether the webhook is told of the event. That a webhook fails is told to others only: to
// the fallback that it names, or to all that want alerts.
func told(w keyturn.Webhook, e Event, hooks []keyturn.Webhook) bool {
	if e.Notice == nil || e.Notice.Kind != keyturn.AlertWebhookFailing {
		return w.Wants(e.Type)
	}
	failing := failingOf(e.Notice)
	if failing == w.Name {
		return false
	}
	fallback := fallbackOf(failing, hooks)
	return fallback == w.Name || fallback == "" && w.Wants(e.Type)
}

// failingOf is the webhook that a notice is about. Each is a group of its own, and when it is over no alert is left.
func failingOf(n *keyturn.Notice) string {
	if len(n.Alerts) > 0 {
		return n.Alerts[0].Subject
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(n.Group, string(n.Kind)+"/"), "/")
	return name
}

// fallbackOf is the webhook that is told when another fails; empty: all the others.
func fallbackOf(failing string, hooks []keyturn.Webhook) string {
	i := slices.IndexFunc(hooks, func(w keyturn.Webhook) bool { return w.Name == failing })
	if i < 0 || !slices.ContainsFunc(hooks, func(w keyturn.Webhook) bool { return w.Name == hooks[i].Fallback }) {
		return ""
	}
	return hooks[i].Fallback
}

// orderOf names what an event must stay in order with; empty: nothing.
func orderOf(data any) (order string, notice *keyturn.Notice) {
	switch v := data.(type) {
	case keyturn.Rotation:
		return "rotation:" + v.ID.String(), nil
	case keyturn.Notice:
		return "alert:" + v.Group, &v
	default:
		return "", nil
	}
}
