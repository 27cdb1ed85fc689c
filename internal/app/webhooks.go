package app

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

// webhooks lists the webhooks that there are now.
type webhooks struct{ store resourceReader }

func (w webhooks) Webhooks(ctx context.Context) ([]keyturn.Webhook, error) {
	stored, err := w.store.ResourcesOf(ctx, keyturn.KindWebhook)
	if err != nil {
		return nil, err
	}
	out := make([]keyturn.Webhook, 0, len(stored))
	for _, r := range stored {
		hook, err := resource.WebhookOf(r)
		if err != nil {
			return nil, err
		}
		out = append(out, hook)
	}
	return out, nil
}

// loopback reports whether the server is reached from this machine only. Who can use it can then reach
// everything on this machine anyway, so webhooks may go there.
func (c Config) loopback() bool {
	if !c.Has(RoleAPI) {
		return false // the API is somewhere else
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
