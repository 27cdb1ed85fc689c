package scheduler

import "time"

// maxClosed bounds the steps of a search for the end of a closed time, and
// closedYears the years that it looks through one after the other.
const (
	maxClosed   = 20_000
	closedYears = 40
)

// calendar says when rotations may work.
type calendar struct {
	windows   weekly
	blackouts *blackouts
	zone      *time.Location // of the windows
}

func (c *calendar) always() bool { return len(c.windows) == 0 && c.blackouts.empty() }

// closed returns the stretch of closed time that t is in, as far as one window
// or blackout makes it.
func (c *calendar) closed(t time.Time) (until time.Time, ok bool) {
	if s, ok := c.blackouts.covering(t); ok {
		return s.to, true
	}
	if len(c.windows) == 0 {
		return time.Time{}, false
	}
	open, until := c.windows.until(t, c.zone)
	return until, !open
}

// opening returns the first instant from t on at which rotations may work.
func (c *calendar) opening(t time.Time) (time.Time, bool) {
	if c.always() {
		return t, true
	}
	searched := time.Duration(0)
	for range maxClosed {
		until, closed := c.closed(t)
		switch {
		case !closed:
			return t, true
		case until.Year() > lastYear || searched > closedYears*366*24*time.Hour:
			return time.Time{}, false
		}
		if step := until.Sub(t); step < 2*366*24*time.Hour { // a longer one is one blackout, known as a whole
			searched += step
		}
		t = until
	}
	return time.Time{}, false
}

// closedSince returns the beginning of the closed time that t is in, or t if it
// is in none.
func (c *calendar) closedSince(t time.Time) time.Time {
	if c.always() {
		return t
	}
	bound := t.Add(-closedYears * 366 * 24 * time.Hour)
	probe := t
	for range maxClosed {
		if s, ok := c.blackouts.covering(probe); ok {
			t = s.from
		} else if len(c.windows) == 0 {
			return t
		} else if open, _, _ := c.windows.at(localOf(probe, c.zone)); open {
			return t
		} else {
			t = c.windows.since(probe, c.zone)
		}
		if t.Before(bound) {
			return t
		}
		probe = t.Add(-time.Nanosecond)
	}
	return t
}

// open says whether rotations may work at t and up to when that holds; zero: for ever.
func (c *calendar) open(t time.Time) (open bool, until time.Time) {
	if c.always() {
		return true, time.Time{}
	}
	if _, closed := c.closed(t); closed {
		opening, _ := c.opening(t)
		return false, opening
	}
	until = c.blackouts.after(t)
	if len(c.windows) > 0 {
		if _, change := c.windows.until(t, c.zone); until.IsZero() || change.Before(until) {
			until = change
		}
	}
	return true, until
}
