package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/keyturn/keyturn"
)

// Deliveries lists what webhooks were told, newest first, at most limit; 0: all.
func (c *Client) Deliveries(ctx context.Context, webhook, state string, limit int) ([]keyturn.Delivery, error) {
	return all[keyturn.Delivery](ctx, c, "/deliveries", values("webhook", webhook, "state", state), limit)
}

// Replay sends a delivery anew.
func (c *Client) Replay(ctx context.Context, id string) (keyturn.Delivery, error) {
	var d keyturn.Delivery
	err := c.do(ctx, call{method: http.MethodPost, path: "/deliveries/" + url.PathEscape(id) + "/replay"}, &d)
	return d, err
}

// ReplayParked sends anew what is parked for a webhook, and returns how many deliveries those are.
func (c *Client) ReplayParked(ctx context.Context, webhook string) (int, error) {
	var out struct {
		Replayed int `json:"replayed"`
	}
	err := c.do(ctx, call{method: http.MethodPost, path: "/webhooks/" + url.PathEscape(webhook) + "/replay", repeat: true}, &out)
	return out.Replayed, err
}

// WebhookTest is what a receiver answered to a test event.
type WebhookTest struct {
	Delivered  bool   `json:"delivered"`
	Status     int    `json:"status"`
	Answer     string `json:"answer"`
	Error      string `json:"error,omitempty"`
	TookMillis int64  `json:"tookMillis"`
}

// TestWebhook sends a test event to a webhook now.
func (c *Client) TestWebhook(ctx context.Context, webhook string) (WebhookTest, error) {
	var out WebhookTest
	err := c.do(ctx, call{method: http.MethodPost, path: "/webhooks/" + url.PathEscape(webhook) + "/test"}, &out)
	return out, err
}

// HookRequests lists the events that came in by a hook, newest first, at most limit; 0: all.
func (c *Client) HookRequests(ctx context.Context, hook string, limit int) ([]keyturn.HookRequest, error) {
	return all[keyturn.HookRequest](ctx, c, "/hooks/"+url.PathEscape(hook)+"/requests", nil, limit)
}
