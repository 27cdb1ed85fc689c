package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/keyturn/keyturn"
)

// Keys lists keys, who used them and which snapshots need them. The filter's page is not used: all are fetched.
func (c *Client) Keys(ctx context.Context, f keyturn.KeyFilter) ([]keyturn.RetainedKey, error) {
	query := values("target", f.Target, "unit", f.Unit, "key", f.Key)
	for name, set := range map[string]bool{"old": f.Old, "bad": f.Bad} {
		if set {
			query.Set(name, "true")
		}
	}
	return all[keyturn.RetainedKey](ctx, c, "/keys", query, 0)
}

// KeyAudits returns how the last audit of each target's keys ended, or of one target's.
func (c *Client) KeyAudits(ctx context.Context, target string) ([]keyturn.KeyAudit, error) {
	var page list[keyturn.KeyAudit]
	err := c.do(ctx, call{method: http.MethodGet, path: "/key-audits", query: values("target", target), repeat: true}, &page)
	return page.Items, err
}

// AuditKeys asks for an audit of a target's keys.
func (c *Client) AuditKeys(ctx context.Context, target string) ([]keyturn.KeyAudit, error) {
	var page list[keyturn.KeyAudit]
	err := c.do(ctx, call{method: http.MethodPost, path: "/targets/" + url.PathEscape(target) + "/audit-keys", repeat: true}, &page)
	return page.Items, err
}

// Retire says which keys a query is about and whether they may be disabled; confirmed, it disables those that may.
func (c *Client) Retire(ctx context.Context, q keyturn.RetireQuery, confirmed bool) ([]keyturn.Retirement, error) {
	var page list[keyturn.Retirement]
	if !confirmed {
		err := c.do(ctx, call{
			method: http.MethodGet, path: "/keys/retirement", query: values("name", q.Name, "target", q.Target), repeat: true,
		}, &page)
		return page.Items, err
	}
	err := c.do(ctx, call{method: http.MethodPost, path: "/keys/retirement", body: map[string]any{
		"name": q.Name, "target": q.Target, "acceptUnknown": q.AcceptUnknown, "reason": q.Reason,
	}}, &page)
	return page.Items, err
}
