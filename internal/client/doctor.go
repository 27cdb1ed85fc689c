package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/keyturn/keyturn"
)

// Diagnose asks whether rotations would work: at one target, or at all if the name is empty.
func (c *Client) Diagnose(ctx context.Context, target string) (keyturn.Diagnosis, error) {
	var d keyturn.Diagnosis
	err := c.do(ctx, call{method: http.MethodGet, path: "/doctor", query: values("target", target), repeat: true}, &d)
	return d, err
}

// FixThresholds sets the ages at which a target itself tells of old keys, and returns what was set.
func (c *Client) FixThresholds(ctx context.Context, target string) ([]keyturn.Threshold, error) {
	var set struct {
		Items []keyturn.Threshold `json:"items"`
	}
	err := c.do(ctx, call{method: http.MethodPost, path: "/targets/" + url.PathEscape(target) + "/thresholds", repeat: true}, &set)
	return set.Items, err
}
