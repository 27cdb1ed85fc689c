package web

import (
	"context"
	"net/url"
	"time"

	"github.com/keyturn/keyturn"
)

// rotationRow is a rotation in a list.
type rotationRow struct {
	keyturn.Rotation
	Bar  bar
	Took time.Duration // since it began; until it ended, if it has
}

func rowOf(r keyturn.Rotation, now time.Time) rotationRow {
	row := rotationRow{Rotation: r, Bar: barOf(r.Counts)}
	if r.StartedAt != nil {
		end := now
		if r.FinishedAt != nil {
			end = *r.FinishedAt
		}
		row.Took = max(0, end.Sub(*r.StartedAt))
	}
	return row
}

// bar is how far tasks are, drawn: segments of a line that is 100 long.
type bar struct {
	keyturn.Counts
	Segments []segment
}

type segment struct {
	Tone string
	X, W float64
}

func barOf(c keyturn.Counts) bar {
	b := bar{Counts: c}
	if c.Total <= 0 {
		return b
	}
	x := 0.0
	for _, part := range []struct {
		tone string
		n    int
	}{{toneOK, c.Succeeded}, {toneNeutral, c.Skipped}, {toneWarn, c.Parked}, {toneBad, c.Failed}} {
		if part.n == 0 {
			continue
		}
		width := 100 * float64(part.n) / float64(c.Total)
		b.Segments = append(b.Segments, segment{Tone: part.tone, X: x, W: width})
		x += width
	}
	return b
}

// rotationsPage is what the list shows.
type rotationsPage struct {
	Rows          []rotationRow
	Policy, State string
	States        []keyturn.RotationState
	Older         string // the address of the next page; empty: there is none
}

func (s *Site) rotations(ctx context.Context, v *visit) (*view, error) {
	in := v.URL.Query()
	q := url.Values{"limit": {"50"}}
	for _, name := range []string{"policy", "state", "after"} {
		if value := in.Get(name); value != "" {
			q.Set(name, value)
		}
	}
	found, err := list[keyturn.Rotation](ctx, v, "/rotations?"+q.Encode())
	if err != nil {
		return nil, err
	}
	page := rotationsPage{
		Policy: in.Get("policy"), State: in.Get("state"),
		States: []keyturn.RotationState{
			keyturn.RotationRequested, keyturn.RotationPlanning, keyturn.RotationRunning, keyturn.RotationSucceeded,
			keyturn.RotationPartial, keyturn.RotationFailed, keyturn.RotationCancelled,
		},
	}
	now := s.Now()
	for _, r := range found.Items {
		page.Rows = append(page.Rows, rowOf(r, now))
	}
	if found.Next != "" {
		in.Set("after", found.Next)
		page.Older = "/rotations?" + in.Encode()
	}
	return &view{Title: "Rotations", Nav: "rotations", Template: "rotations", Fragment: "rotation-list", Data: page}, nil
}
