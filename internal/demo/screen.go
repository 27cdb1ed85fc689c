package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// screen prints lines, and on a terminal keeps one line of status below them.
type screen struct {
	out   io.Writer
	live  bool
	shown string
}

func (s *screen) line(format string, args ...any) {
	s.erase()
	_, _ = fmt.Fprintf(s.out, format+"\n", args...)
	s.draw()
}

func (s *screen) status(text string) {
	s.erase()
	s.shown = text
	s.draw()
}

func (s *screen) erase() {
	if s.live && s.shown != "" {
		_, _ = io.WriteString(s.out, "\r\x1b[K")
	}
}

func (s *screen) draw() {
	if s.live && s.shown != "" {
		_, _ = io.WriteString(s.out, s.shown)
	}
}

const barWidth = 30

func progress(r keyturn.Rotation) string {
	c := r.Counts
	if c.Total == 0 {
		return fmt.Sprintf("%s  %-9s", r.RequestedAt.Local().Format(time.TimeOnly), r.State)
	}
	done := c.Total - c.Pending
	full := barWidth * done / c.Total
	return fmt.Sprintf("%s  %-9s [%s%s] %d/%d units",
		r.RequestedAt.Local().Format(time.TimeOnly), r.State, strings.Repeat("█", full), strings.Repeat("░", barWidth-full), done, c.Total)
}

func summary(r keyturn.Rotation) string {
	c := r.Counts
	text := fmt.Sprintf("%s  %-9s %d keys turned", r.RequestedAt.Local().Format(time.TimeOnly), r.State, c.Succeeded)
	for _, part := range []struct {
		n    int
		what string
	}{{c.Skipped, "left out"}, {c.Failed, "failed"}, {c.Parked, "parked"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	if r.StartedAt != nil && r.FinishedAt != nil {
		text += fmt.Sprintf(" in %s", r.FinishedAt.Sub(*r.StartedAt).Round(10*time.Millisecond))
	}
	if r.Trigger == keyturn.TriggerSchedule {
		return text + "  (" + r.Policy + ", slot " + r.Slot + ")"
	}
	return text + "  (" + r.Policy + ", " + string(r.Trigger) + ")"
}
