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
