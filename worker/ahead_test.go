package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyturn/keyturn"
)

// TestPrepared is about when a key that was asked for ahead still counts as the one in use.
func TestPrepared(t *testing.T) {
	t.Parallel()
	now := time.Now()
	target := keyturn.Target{Name: "om", Generation: 2}.WithDefaults()
	for name, c := range map[string]struct {
		ahead ahead
		want  string
	}{
		"just now":                 {ahead{guard: guardFrom(now.Add(-time.Second/2), aheadFor), generation: 2}, "ahead"},
		"too long ago":             {ahead{guard: guardFrom(now.Add(-2*time.Second), aheadFor), generation: 2}, "now"},
		"before the machine slept": {ahead{guard: guard{mono: now, wall: now.Round(0).Add(-time.Hour), slack: aheadFor}, generation: 2}, "now"},
		"before the clock was set": {ahead{guard: guard{mono: now, wall: now.Round(0).Add(time.Hour), slack: aheadFor}, generation: 2}, "now"},
		"of the target as it was":  {ahead{guard: guardFrom(now, aheadFor), generation: 1}, "now"},
		"not at all":               {ahead{}, "now"},
	} {
		c.ahead.intent.Before = "ahead"
		r := rotatorAt(now)
		j := &job{sys: preparing{}, target: &target, gate: r.gates.of("om"), ahead: c.ahead}
		if got, err := r.prepared(t.Context(), j); err != nil || got.Before != c.want {
			t.Errorf("%s: key %q, %v, want the one from %s", name, got.Before, err, c.want)
		}
	}
}

// TestLookAhead is about which tasks are worth a call before their turn.
func TestLookAhead(t *testing.T) {
	t.Parallel()
	now := time.Now()
	target := keyturn.Target{Name: "om", Generation: 2}.WithDefaults()
	for name, c := range map[string]struct {
		job  job
		left error
		want bool
	}{
		"one that waits":            {job: job{patience: now.Add(time.Second)}, want: true},
		"one that waited too long":  {job: job{patience: now.Add(-time.Second)}},
		"one that came again":       {job: job{apart: true}},
		"one with an open intent":   {job: job{QueuedTask: keyturn.QueuedTask{State: keyturn.TaskIntended}}},
		"one that comes again soon": {job: job{}, left: errors.New("another of its message was left")},
	} {
		r := rotatorAt(now)
		var p places
		next := &c.job
		next.message = &message{err: c.left}
		if next.State == "" {
			next.State = keyturn.TaskPending
		}
		p.waiting = []*job{next}
		r.lookAhead(t.Context(), t.Context(), &job{sys: preparing{}, target: &target, gate: r.gates.of("om"), places: &p})
		if asked := next.ahead.generation != 0; asked != c.want || len(p.ahead) != 1 || len(p.waiting) != 0 {
			t.Errorf("%s: asked for its key: %t, want %t; %d looked at, %d left", name, asked, c.want, len(p.ahead), len(p.waiting))
		}
	}
}

// rotatorAt is one that can ask for keys, and for which time stands still.
func rotatorAt(now time.Time) *rotator {
	clock := func() time.Time { return now }
	return &rotator{
		now: clock, timing: Timing{}.withDefaults(), gates: &gates{},
		health: &health{store: answering{}, now: clock}, metrics: NewMetrics(prometheus.NewRegistry()),
	}
}

// preparing is a System that only tells its key.
type preparing struct{ System }

func (preparing) Prepare(context.Context, string, keyturn.ID) (keyturn.Intent, error) {
	return keyturn.Intent{Before: "now"}, nil
}

// answering takes no note.
type answering struct{ HealthStore }

func (answering) TargetAnswered(context.Context, string) error { return nil }
