package opsmanager

import (
	"context"
	"encoding/json"
	"errors"
)

// rawBody is an answer as it came.
type rawBody []byte

// noSecrets is where the config is without what is secret.
const noSecrets = "/noSecrets"

var errNoJSON = errors.New("no complete JSON")

// readConfig reads the automation config of a project and what is needed of it.
func (c *Client) readConfig(ctx context.Context, g group) (*plan, error) {
	select {
	case c.configs <- struct{}{}:
		defer func() { <-c.configs }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p := new(plan)
	if _, err := c.getConfig(ctx, g, p); err != nil {
		return nil, err
	}
	return p, nil
}

// getConfig reads the automation config and returns the path that it has. Where the server can leave out what is
// secret, it does: then no password gets here, and none can be lost by writing it back.
// https://www.mongodb.com/docs/ops-manager/current/reference/api/automation-config/update-automation-config-no-secrets/
func (c *Client) getConfig(ctx context.Context, g group, into any) (path string, err error) {
	q := question{
		operation: "get_automation_config", doing: "reading the automation config of project", subject: g.String(),
		header: c.keyHeader, limit: listLimit, turns: 1,
	}
	plain := "/groups/" + g.ID + "/automationConfig"
	asked := false
	if !c.plain.Load() {
		q.path = plain + noSecrets
		if err = c.get(ctx, q, into); !refused(err) {
			return q.path, err
		}
		asked = isCode(err, "not_found") || isCode(err, "http_405")
	}
	q.path = plain
	if err = c.get(ctx, q, into); err == nil && asked {
		c.plain.Store(true)
	}
	return q.path, err
}

// parsePlan reads a config that was kept as it came.
func parsePlan(raw []byte) (*plan, error) {
	p := new(plan)
	if err := decode(string(raw), p); err != nil {
		return nil, err
	}
	return p, nil
}

// keep is how decode reads an answer that is kept as it came.
func (b *rawBody) keep(text string) error {
	*b = rawBody(text)
	if !json.Valid(*b) {
		*b = nil
		return errNoJSON
	}
	return nil
}
