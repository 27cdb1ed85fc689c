package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keyturn/keyturn"
)

// pageSize is how many items are asked for at once.
const pageSize = 1000

// list is one page of any listing.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// all fetches pages until there are no more, or limit items; 0: no limit.
func all[T any](ctx context.Context, c *Client, path string, query url.Values, limit int) ([]T, error) {
	items := []T{}
	if query == nil {
		query = url.Values{}
	}
	for {
		size := pageSize
		if limit > 0 {
			size = min(size, limit-len(items))
		}
		query.Set("limit", strconv.Itoa(size))
		var page list[T]
		if err := c.do(ctx, call{method: http.MethodGet, path: path, query: query, repeat: true}, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Next == "" || limit > 0 && len(items) >= limit {
			return items, nil
		}
		query.Set("after", page.Next)
	}
}

// values leaves out what is empty.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

// RotationRequest asks for a rotation. The same ID again is the same rotation.
type RotationRequest struct {
	Policy string            `json:"policy"`
	Reason string            `json:"reason,omitempty"`
	ID     string            `json:"id"`
	Only   keyturn.Selection `json:"only,omitzero"`
}

// Rotate asks for a rotation. It needs an ID, so that a call whose answer got
// lost can be repeated.
func (c *Client) Rotate(ctx context.Context, req RotationRequest) (keyturn.Rotation, error) {
	var r keyturn.Rotation
	err := c.do(ctx, call{method: http.MethodPost, path: "/rotations", body: req, repeat: req.ID != ""}, &r)
	return r, err
}

// Rotation returns a rotation without its tasks.
func (c *Client) Rotation(ctx context.Context, id string) (keyturn.Rotation, error) {
	var r keyturn.Rotation
	err := c.do(ctx, call{
		method: http.MethodGet, path: "/rotations/" + url.PathEscape(id),
		query: values("tasks", "false", "clusters", "false"), repeat: true,
	}, &r)
	return r, err
}

// Rotations lists rotations, newest first, at most limit; 0: all.
func (c *Client) Rotations(ctx context.Context, policy, state string, limit int) ([]keyturn.Rotation, error) {
	return all[keyturn.Rotation](ctx, c, "/rotations", values("policy", policy, "state", state), limit)
}

// Tasks lists all tasks of a rotation.
func (c *Client) Tasks(ctx context.Context, rotation string) ([]keyturn.Task, error) {
	return all[keyturn.Task](ctx, c, "/rotations/"+url.PathEscape(rotation)+"/tasks", nil, 0)
}

// Units lists units. The filter's page is not used: all are fetched.
func (c *Client) Units(ctx context.Context, f keyturn.UnitFilter) ([]keyturn.Unit, error) {
	return all[keyturn.Unit](ctx, c, "/units",
		values("target", f.Target, "project", f.Project, "cluster", f.Cluster, "name", f.Name), 0)
}

// History lists key records. The filter's page is not used: all are fetched.
func (c *Client) History(ctx context.Context, f keyturn.HistoryFilter) ([]keyturn.KeyRecord, error) {
	rotation := ""
	if !f.Rotation.IsZero() {
		rotation = f.Rotation.String()
	}
	return all[keyturn.KeyRecord](ctx, c, "/history", values("unit", f.Unit, "rotation", rotation), 0)
}

// AlertHistory is an alert and how it went on.
type AlertHistory struct {
	keyturn.Alert
	History []keyturn.AlertChange `json:"history"`
}

// Ack says that somebody cares for an alert.
type Ack struct {
	Until *time.Time       `json:"until,omitempty"`
	For   keyturn.Duration `json:"for,omitzero"`
	Note  string           `json:"note,omitempty"`
	Group bool             `json:"group,omitempty"`
}

// Alerts lists alerts, the open ones first, at most limit; 0: all.
func (c *Client) Alerts(ctx context.Context, f keyturn.AlertFilter, limit int) ([]keyturn.Alert, error) {
	query := values("state", string(f.State), "kind", string(f.Kind), "policy", f.Policy, "target", f.Target)
	return all[keyturn.Alert](ctx, c, "/alerts", query, limit)
}

// Alert returns an alert with its history.
func (c *Client) Alert(ctx context.Context, id string) (AlertHistory, error) {
	var a AlertHistory
	err := c.do(ctx, call{method: http.MethodGet, path: "/alerts/" + url.PathEscape(id), repeat: true}, &a)
	return a, err
}

// AckAlert acknowledges an alert.
func (c *Client) AckAlert(ctx context.Context, id string, ack Ack) (keyturn.Alert, error) {
	var a keyturn.Alert
	err := c.do(ctx, call{method: http.MethodPost, path: "/alerts/" + url.PathEscape(id) + "/ack", body: ack}, &a)
	return a, err
}

// Resources lists targets, policies or webhooks: the plural is the path.
func (c *Client) Resources(ctx context.Context, plural string) ([]keyturn.Resource, error) {
	var page list[keyturn.Resource]
	err := c.do(ctx, call{method: http.MethodGet, path: "/" + plural, repeat: true}, &page)
	return page.Items, err
}

// Resource returns one target, policy or webhook.
func (c *Client) Resource(ctx context.Context, plural, name string) (keyturn.Resource, error) {
	var r keyturn.Resource
	err := c.do(ctx, call{method: http.MethodGet, path: "/" + plural + "/" + url.PathEscape(name), repeat: true}, &r)
	return r, err
}

// Plan is what a rotation would do now.
type Plan struct {
	Policy string         `json:"policy"`
	Units  []keyturn.Unit `json:"units"`
}

// selection is the body of a plan.
type selection struct {
	Only keyturn.Selection `json:"only,omitzero"`
}

// Plan asks what a rotation of the policy would do now.
func (c *Client) Plan(ctx context.Context, policy string, only keyturn.Selection) (Plan, error) {
	var p Plan
	err := c.do(ctx, call{
		method: http.MethodPost, path: "/policies/" + url.PathEscape(policy) + "/plan",
		body: selection{Only: only}, repeat: true,
	}, &p)
	return p, err
}

// Pause says how a policy is paused.
type Pause struct {
	Note  string           `json:"note,omitzero"`
	Until *time.Time       `json:"until,omitzero"` // when it goes on by itself
	For   keyturn.Duration `json:"for,omitzero"`   // the same, from now on by the server's clock
}

// Pause pauses a policy and returns it.
func (c *Client) Pause(ctx context.Context, policy string, p Pause) (keyturn.Resource, error) {
	var r keyturn.Resource
	err := c.do(ctx, call{
		method: http.MethodPost, path: "/policies/" + url.PathEscape(policy) + "/pause",
		body: p, repeat: p.For == 0,
	}, &r)
	return r, err
}

// Resume resumes a policy and returns it.
func (c *Client) Resume(ctx context.Context, policy string) (keyturn.Resource, error) {
	var r keyturn.Resource
	err := c.do(ctx, call{method: http.MethodPost, path: "/policies/" + url.PathEscape(policy) + "/resume", repeat: true}, &r)
	return r, err
}

// Observe asks for a look at the keys of a target and returns it.
func (c *Client) Observe(ctx context.Context, target string) (keyturn.Resource, error) {
	var r keyturn.Resource
	err := c.do(ctx, call{method: http.MethodPost, path: "/targets/" + url.PathEscape(target) + "/observe", repeat: true}, &r)
	return r, err
}

// Document is a file of resources.
type Document struct {
	Name    string `json:"name"` // for errors: the file's name
	Content string `json:"content"`
}

// Change is one difference between what is and what was asked for.
type Change struct {
	Kind   keyturn.ResourceKind `json:"kind"`
	Name   string               `json:"name"`
	Action string               `json:"action"`          // create, update, delete or unchanged
	Lines  []string             `json:"lines,omitempty"` // "+ new", "- old", "  around"
}

// ApplyRequest is what is to be there.
type ApplyRequest struct {
	Documents []Document `json:"documents"`
	DryRun    bool       `json:"dryRun,omitempty"`
	Prune     bool       `json:"prune,omitempty"`
}

// ApplyResult is what was, or would be, changed.
type ApplyResult struct {
	DryRun  bool     `json:"dryRun"`
	Changes []Change `json:"changes"`
}

// Apply changes the resources to what the documents say. Applying twice changes nothing more.
func (c *Client) Apply(ctx context.Context, req ApplyRequest) (ApplyResult, error) {
	var out ApplyResult
	err := c.do(ctx, call{method: http.MethodPost, path: "/apply", body: req, repeat: true}, &out)
	return out, err
}

// NewToken is a token with its secret.
type NewToken struct {
	keyturn.Token
	Secret string `json:"token"`
}

// tokenRequest is the body of CreateToken.
type tokenRequest struct {
	Name      string       `json:"name"`
	Role      keyturn.Role `json:"role"`
	ExpiresIn string       `json:"expiresIn,omitempty"`
}

// CreateToken makes a token; expiresIn 0: valid until it is revoked.
func (c *Client) CreateToken(ctx context.Context, name string, role keyturn.Role, expiresIn time.Duration) (NewToken, error) {
	req := tokenRequest{Name: name, Role: role}
	if expiresIn > 0 {
		req.ExpiresIn = expiresIn.String()
	}
	var t NewToken
	err := c.do(ctx, call{method: http.MethodPost, path: "/tokens", body: req}, &t)
	return t, err
}

// Tokens lists tokens.
func (c *Client) Tokens(ctx context.Context) ([]keyturn.Token, error) {
	var page list[keyturn.Token]
	err := c.do(ctx, call{method: http.MethodGet, path: "/tokens", repeat: true}, &page)
	return page.Items, err
}

// RevokeToken revokes a token by its id.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/tokens/" + url.PathEscape(id)}, nil)
}

// Version returns the server's version.
func (c *Client) Version(ctx context.Context) (string, error) {
	var v struct {
		Version string `json:"version"`
	}
	err := c.do(ctx, call{method: http.MethodGet, path: "/version"}, &v)
	return v.Version, err
}
