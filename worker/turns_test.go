package worker

import (
	"fmt"
	"testing"
	"time"
)

func TestTurns_TheMoreWaitTheLessOftenEachAsks(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	var ts turns
	for n := 1; n <= 2000; n++ {
		d := ts.wait("project p", fmt.Sprint(n), now)
		if most := max(turnLeast, min(time.Duration(n)*turnEach, turnLongest)); d < most/2 || d > most {
			t.Fatalf("%d wait: %s, want %s to %s", n, d, most/2, most)
		}
	}
	if d := ts.wait("another", "1", now); d > turnLeast {
		t.Errorf("alone: %s", d)
	}
	for n := 1; n <= 2000; n++ {
		ts.goes("project p", fmt.Sprint(n))
	}
	if d := ts.wait("project p", "last", now); d > turnLeast {
		t.Errorf("the last: %s", d)
	}
	ts.goes("never heard of", "1")
	ts.wait("later", "1", now.Add(turnForget+time.Second))
	if len(ts.waiting) != 1 {
		t.Errorf("nobody asked for long, and still held: %v", ts.waiting)
	}
}
