package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

const (
	// defaultPoll is the time between two looks at a rotation.
	defaultPoll = 250 * time.Millisecond
	// plainEvery is the time between two lines of progress where there is no terminal.
	plainEvery = 10 * time.Second
	// rateOver is the time over which the rate is measured.
	rateOver = 10 * time.Second
)

// wait follows a rotation to its end. It outlives restarts of the server; when
// ctx ends it stops waiting, and the rotation goes on.
func (e *env) wait(ctx context.Context, c *client.Client, r keyturn.Rotation) (keyturn.Rotation, error) {
	p := &progress{env: e, screen: e.screenOf(e.stderr)}
	e.warnPaused(ctx, c, r)
	ticker := time.NewTicker(firstDuration(e.poll, defaultPoll))
	defer ticker.Stop()
	id := r.ID.String()
	for {
		if r.State.Final() {
			p.end()
			return r, nil
		}
		p.show(r)
		select {
		case <-ctx.Done():
			return r, p.interrupted(id)
		case <-ticker.C:
		}
		now, err := c.Rotation(ctx, id)
		switch {
		case err == nil:
			r = now
			p.back()
		case ctx.Err() != nil:
			return r, p.interrupted(id)
		case client.Temporary(err):
			p.away(err)
		default:
			p.end()
			return r, err
		}
	}
}

func firstDuration(a, b time.Duration) time.Duration {
	if a > 0 {
		return a
	}
	return b
}

// warnPaused tells why nothing will happen for now. Errors don't matter here.
func (e *env) warnPaused(ctx context.Context, c *client.Client, r keyturn.Rotation) {
	policy, err := c.Resource(ctx, "policies", r.Policy)
	if err == nil && policy.Status.Paused {
		e.notef("the policy is paused: nothing begins until `keyturn resume %s`", printable(r.Policy))
	}
}

// progress shows how far a rotation is: a bar on a terminal, lines elsewhere.
type progress struct {
	env    *env
	screen screen

	samples []sample
	said    time.Time // of the last line
	line    string    // the last line
	state   keyturn.RotationState
	trouble string
	isAway  bool
}

type sample struct {
	at   time.Time
	done int
}

func (p *progress) show(r keyturn.Rotation) {
	now := p.env.now()
	done := r.Counts.Total - r.Counts.Pending
	p.samples = append(p.samples, sample{at: now, done: done})
	for len(p.samples) > 2 && now.Sub(p.samples[1].at) >= rateOver {
		p.samples = p.samples[1:]
	}
	if p.isAway {
		return
	}
	if p.screen.terminal {
		p.draw(p.bar(r, done))
		return
	}
	line := progressText(r, done, p.rate(), now)
	if r.State != p.state || r.Trouble != p.trouble || now.Sub(p.said) >= plainEvery && line != p.line {
		p.env.notef("%s", line)
		p.state, p.trouble, p.said, p.line = r.State, r.Trouble, now, line
	}
}

// rate is the tasks that end in a second.
func (p *progress) rate() float64 {
	first, last := p.samples[0], p.samples[len(p.samples)-1]
	if took := last.at.Sub(first.at).Seconds(); took > 0 {
		return float64(last.done-first.done) / took
	}
	return 0
}

// progressText is "running 1,234/5,000 (24%), 312/s, 12s left, 3 failed".
func progressText(r keyturn.Rotation, done int, rate float64, now time.Time) string {
	if r.Counts.Total == 0 && r.Trouble != "" {
		return fmt.Sprintf("%s, tried again: %s", r.State, oneLine(r.Trouble))
	}
	if r.Counts.Total == 0 {
		return string(r.State)
	}
	parts := []string{fmt.Sprintf("%s %s/%s (%d%%)", r.State, number(done), number(r.Counts.Total), percent(done, r.Counts.Total))}
	if rate >= 0.1 {
		left := time.Duration(float64(r.Counts.Pending) / rate * float64(time.Second))
		parts = append(parts, rateText(rate), span(left+time.Second)+" left")
	}
	if wave := waveText(r, now); wave != "" {
		parts = append(parts, wave)
	}
	if r.Counts.Failed > 0 {
		parts = append(parts, number(r.Counts.Failed)+" failed")
	}
	if r.Counts.Parked > 0 {
		parts = append(parts, number(r.Counts.Parked)+" parked")
	}
	return strings.Join(parts, ", ")
}

func rateText(rate float64) string {
	if rate < 10 {
		return fmt.Sprintf("%.1f/s", rate)
	}
	return number(int(rate)) + "/s"
}

func percent(n, of int) int { return n * 100 / max(of, 1) }

func (p *progress) bar(r keyturn.Rotation, done int) string {
	text := progressText(r, done, p.rate(), p.env.now())
	name := printable(shorten(r.Policy, 24))
	width := min(30, p.screen.width-len([]rune(text))-len([]rune(name))-6)
	if width < 5 || r.Counts.Total == 0 {
		return name + "  " + text
	}
	full := width * done / max(r.Counts.Total, 1)
	return name + "  " + p.screen.paint(green, strings.Repeat("█", full)) +
		p.screen.paint(dim, strings.Repeat("░", width-full)) + "  " + text
}

// draw replaces the line on the terminal.
func (p *progress) draw(line string) {
	_, _ = fmt.Fprint(p.env.stderr, "\r\x1b[K"+line)
}

// away says once that the server does not answer.
func (p *progress) away(err error) {
	if p.isAway {
		return
	}
	p.isAway = true
	p.end()
	p.env.notef("%s; still waiting", oneLine(err.Error()))
}

func (p *progress) back() {
	if p.isAway {
		p.isAway = false
		p.samples = nil
		p.env.notef("the server answers again")
	}
}

// end takes the bar away.
func (p *progress) end() {
	if p.screen.terminal {
		p.draw("")
	}
}

func (p *progress) interrupted(id string) error {
	p.end()
	return &exitError{code: exitFailed, err: fmt.Errorf(
		"stopped waiting; the rotation goes on: `keyturn rotations %s` shows how far it is", id)}
}
