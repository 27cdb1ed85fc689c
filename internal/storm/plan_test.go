package storm_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/simulator"
)

// step is one thing that goes wrong, or is asked for, in a storm.
type step struct {
	at     time.Duration // since the begin
	kind   string
	victim int           // of the servers or proxies
	length time.Duration // how long it lasts
	share  float64       // of the connections
	faults simulator.Faults
}

func (s step) String() string {
	text := fmt.Sprintf("%7.3fs %s", s.at.Seconds(), s.kind)
	switch s.kind {
	case "kill", "stop":
		text += fmt.Sprintf(" process %d", s.victim)
	case "cut", "half-close", "delay", "freeze", "refuse":
		text += " " + [...]string{"database", "bus", "target"}[s.victim]
	}
	if s.length > 0 {
		text += fmt.Sprintf(" for %s", s.length)
	}
	return text
}

// The proxies.
const (
	toDatabase = iota
	toBus
	toTarget
)

// longestLate is the longest time for which the target goes on with a request that
// its client gave up; the target's settle is longer.
const longestLate = time.Second

// plan draws a storm. The same seed and length are the same storm.
func plan(seed uint64, length time.Duration, servers int) []step {
	r := rand.New(rand.NewPCG(seed, 1))
	between := func(least, most time.Duration) time.Duration {
		return (least + time.Duration(r.Int64N(int64(most-least)))).Round(time.Millisecond)
	}
	weights := []struct {
		kind   string
		weight int
	}{
		{"kill", 10},
		{"stop", 5},
		{"cut", 8},
		{"half-close", 3},
		{"delay", 4},
		{"freeze", 2},
		{"refuse", 2},
		{"restart bus", 3},
		{"restart database", 3},
		{"delete streams", 1},
		{"misbehave", 8},
		{"outage", 2},
		{"rotate", 3},
		{"message", 3},
	}
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	var steps []step
	for at := between(100*time.Millisecond, time.Second); at < length; at += between(100*time.Millisecond, 1300*time.Millisecond) {
		s := step{at: at}
		n := r.IntN(total)
		for _, w := range weights {
			if n < w.weight {
				s.kind = w.kind
				break
			}
			n -= w.weight
		}
		switch s.kind {
		case "kill":
			s.victim = r.IntN(servers)
		case "stop": // longer than any lease
			s.victim, s.length = r.IntN(servers), between(3500*time.Millisecond, 6*time.Second)
		case "cut", "half-close":
			s.victim, s.share = r.IntN(3), .1+.9*r.Float64()
		case "delay":
			s.victim, s.length = r.IntN(3), between(time.Second, 4*time.Second)
		case "freeze", "refuse":
			s.victim, s.length = r.IntN(2), between(500*time.Millisecond, 3*time.Second)
		case "restart bus", "restart database":
			s.length = between(10*time.Millisecond, 2*time.Second)
		case "misbehave":
			s.length, s.faults = between(2*time.Second, 6*time.Second), misbehaviour(r)
		case "outage":
			s.length = between(500*time.Millisecond, 3*time.Second)
			s.faults.Outage = []simulator.Outage{simulator.OutageUnavailable, simulator.OutageReset}[r.IntN(2)]
		}
		steps = append(steps, s)
	}
	return steps
}

// misbehaviour draws what the target does wrong for a while.
func misbehaviour(r *rand.Rand) simulator.Faults {
	share := func(most float64) float64 { return most * r.Float64() }
	return simulator.Faults{
		Seed: r.Uint64(),
		PUT: simulator.Rates{
			ErrorBefore: share(.08), ErrorAfter: share(.08), ResetBefore: share(.08), ResetAfter: share(.08), TooMany: share(.04),
			Truncated: share(.08), Slow: share(.06), Late: share(.06), Gateway: share(.06), Hidden: share(.2),
		},
		GET: simulator.Rates{
			ErrorBefore: share(.05), ErrorAfter: share(.05), ResetBefore: share(.05), TooMany: share(.01), Truncated: share(.05), Slow: share(.01),
		},
		SlowFor: keyturn.Duration(2 * time.Second), LateAfter: keyturn.Duration(longestLate), HiddenFor: keyturn.Duration(longestLate),
	}
}

func TestPlan_FollowsFromItsSeed(t *testing.T) {
	t.Parallel()
	one := plan(7, 10*time.Minute, 5)
	if !reflect.DeepEqual(one, plan(7, 10*time.Minute, 5)) {
		t.Error("the same seed makes another storm")
	}
	if reflect.DeepEqual(one, plan(8, 10*time.Minute, 5)) {
		t.Error("another seed makes the same storm")
	}
	kinds := map[string]int{}
	for _, s := range one {
		kinds[s.kind]++
		if err := s.faults.Validate(); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	if len(kinds) != 14 {
		t.Errorf("a long storm has %d kinds of steps: %v", len(kinds), kinds)
	}
}
