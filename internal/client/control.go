package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/keyturn/keyturn"
)

// RotationWithClusters returns a rotation summed up by cluster, without its tasks.
func (c *Client) RotationWithClusters(ctx context.Context, id string) (keyturn.Rotation, error) {
	var r keyturn.Rotation
	err := c.do(ctx, call{
		method: http.MethodGet, path: "/rotations/" + url.PathEscape(id), query: values("tasks", "false"), repeat: true,
	}, &r)
	return r, err
}

// Cancel stops what has not begun of a rotation. Cancelling it again changes nothing.
func (c *Client) Cancel(ctx context.Context, id, reason string) (keyturn.Rotation, error) {
	var r keyturn.Rotation
	err := c.do(ctx, call{
		method: http.MethodPost, path: "/rotations/" + url.PathEscape(id) + "/cancel", body: map[string]string{"reason": reason}, repeat: true,
	}, &r)
	return r, err
}

// Resumed is the rotation that goes on with another.
type Resumed struct {
	keyturn.Rotation
	LeftOut int `json:"parkedLeftOut"` // units whose parked task must be resolved first
}

// ResumeRotation asks for a retry of what a rotation left undone. While one is under way, it is that one.
func (c *Client) ResumeRotation(ctx context.Context, id, reason string) (Resumed, error) {
	var r Resumed
	err := c.do(ctx, call{
		method: http.MethodPost, path: "/rotations/" + url.PathEscape(id) + "/resume", body: map[string]string{"reason": reason}, repeat: true,
	}, &r)
	return r, err
}

// Task returns one task.
func (c *Client) Task(ctx context.Context, id string) (keyturn.TaskDetail, error) {
	var t keyturn.TaskDetail
	err := c.do(ctx, call{method: http.MethodGet, path: "/tasks/" + url.PathEscape(id), repeat: true}, &t)
	return t, err
}

// Decision is what a person says became of a parked task.
type Decision struct {
	As     string `json:"as"` // succeeded, retry or failed
	Reason string `json:"reason"`
	Key    string `json:"key,omitempty"` // with succeeded; empty: the server asks the target
}

// Resolved is what came of a decision.
type Resolved struct {
	Task     keyturn.Task     `json:"task"`
	Rotation keyturn.Rotation `json:"rotation"`
	Retry    string           `json:"retryId,omitempty"`
}

// ResolveTask settles a parked task. It is not repeated by itself: the second call would be refused.
func (c *Client) ResolveTask(ctx context.Context, id string, d Decision) (Resolved, error) {
	var r Resolved
	err := c.do(ctx, call{method: http.MethodPost, path: "/tasks/" + url.PathEscape(id) + "/resolve", body: d}, &r)
	return r, err
}

// Audit lists what was changed, newest first, at most limit; 0: all.
func (c *Client) Audit(ctx context.Context, limit int) ([]keyturn.AuditEntry, error) {
	return all[keyturn.AuditEntry](ctx, c, "/audit", nil, limit)
}
