package worker

import (
	"context"
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
		r := &rotator{
			now: func() time.Time { return now }, timing: Timing{}.withDefaults(), gates: &gates{},
			health: &health{store: answering{}, now: func() time.Time { return now }}, metrics: NewMetrics(prometheus.NewRegistry()),
		}
		j := &job{sys: preparing{}, target: &target, gate: r.gates.of("om"), ahead: c.ahead}
		if got, err := r.prepared(t.Context(), j); err != nil || got.Before != c.want {
			t.Errorf("%s: key %q, %v, want the one from %s", name, got.Before, err, c.want)
		}
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
