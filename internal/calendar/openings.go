package calendar

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/scheduler"
)

// maxOpenings bounds the changes between open and closed that are looked at in one answer.
const maxOpenings = 2000

// Closed is a time at which rotations of a policy's schedule may not work.
type Closed struct {
	Policy string    `json:"policy"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	// Blackout: a blackout covers it; else it is outside of the windows.
	Blackout bool `json:"blackout"`
}

// ClosedTimes lists when a timetable lets nothing work in [from, to), in order. blackouts is the same schedule
// without its windows: what it closes, a blackout does. complete is false if there is more than is looked at.
func ClosedTimes(ctx context.Context, table, blackouts *scheduler.Timetable, from, to time.Time) (closed []Closed, complete bool, err error) {
	at := from
	for range maxOpenings {
		if !at.Before(to) {
			return closed, true, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, false, fmt.Errorf("listing closed times: %w", err)
		}
		open, until := table.Open(at)
		clear, next := blackouts.Open(at)
		for _, end := range []time.Time{next, to} {
			if until.IsZero() || !end.IsZero() && end.Before(until) {
				until = end
			}
		}
		if !until.After(at) { // it can't be: a look that goes nowhere would go on for ever
			return closed, false, nil
		}
		if !open {
			closed = join(closed, Closed{From: at.UTC(), To: until.UTC(), Blackout: !clear})
		}
		at = until
	}
	return closed, false, nil
}

// join adds a time, to the one before if it goes on with it.
func join(closed []Closed, c Closed) []Closed {
	if n := len(closed); n > 0 && closed[n-1].To.Equal(c.From) && closed[n-1].Blackout == c.Blackout {
		closed[n-1].To = c.To
		return closed
	}
	return append(closed, c)
}
