package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// PlannedSlot is a slot of a policy, and why it is where it is.
type PlannedSlot struct {
	Local    string    `json:"local"`
	Timezone string    `json:"timezone"`
	At       time.Time `json:"at"`
	Offset   string    `json:"offset"`
	Note     string    `json:"note"`
	Slot     string    `json:"slot"` // its name
}

// Schedule is a policy's slots.
type Schedule struct {
	Policy string        `json:"policy"`
	Paused bool          `json:"paused"`
	Items  []PlannedSlot `json:"items"`
}

// Schedule lists up to next slots of a policy, from an instant or day on; empty: what comes next.
func (c *Client) Schedule(ctx context.Context, policy string, next int, from string) (Schedule, error) {
	var s Schedule
	err := c.do(ctx, call{
		method: http.MethodGet, path: "/policies/" + url.PathEscape(policy) + "/schedule",
		query: values("next", strconv.Itoa(next), "from", from), repeat: true,
	}, &s)
	return s, err
}

// MissedSlot is a slot that had no rotation.
type MissedSlot struct {
	PlannedSlot

	Rotation string `json:"rotation"` // asked for now; empty in a dry run
}

// Backfilled are the slots in a range that had no rotation.
type Backfilled struct {
	Policy  string       `json:"policy"`
	Checked int          `json:"checked"`
	Items   []MissedSlot `json:"items"`
}

// BackfillRequest names a range of the past.
type BackfillRequest struct {
	From   string `json:"from"`
	To     string `json:"to,omitempty"`
	DryRun bool   `json:"dryRun,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Backfill asks for a rotation for each slot in the range that has none. It may be repeated.
func (c *Client) Backfill(ctx context.Context, policy string, req BackfillRequest) (Backfilled, error) {
	var b Backfilled
	err := c.do(ctx, call{
		method: http.MethodPost, path: "/policies/" + url.PathEscape(policy) + "/backfill", body: req, repeat: true,
	}, &b)
	return b, err
}

// PlannedRotation is a rotation that is to come.
type PlannedRotation struct {
	PlannedSlot

	Policy string `json:"policy"`
	Units  int    `json:"units"`
}

// AgePassed is a day on which keys pass an age.
type AgePassed struct {
	Policy   string    `json:"policy"`
	Day      string    `json:"day"`
	At       time.Time `json:"at"`
	Severity string    `json:"severity"`
	Age      string    `json:"age"`
	Units    int       `json:"units"`
	Example  string    `json:"example"`
}

// Forecast says what comes.
type Forecast struct {
	From      time.Time         `json:"from"`
	To        time.Time         `json:"to"`
	Rotations []PlannedRotation `json:"rotations"`
	Ages      []AgePassed       `json:"ages"`
	Notes     []string          `json:"notes"`
}

// Forecast says which rotations come and when keys get too old; of one policy, or of all.
func (c *Client) Forecast(ctx context.Context, policy string, months int) (Forecast, error) {
	var f Forecast
	err := c.do(ctx, call{
		method: http.MethodGet, path: "/forecast", query: values("policy", policy, "months", strconv.Itoa(months)), repeat: true,
	}, &f)
	return f, err
}
