package storm_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/checker"
)

// TestChecker_NoticesBrokenSteps breaks one step of the server at a time. A
// checker that finds nothing then proves nothing elsewhere.
func TestChecker_NoticesBrokenSteps(t *testing.T) {
	t.Parallel()
	tests := []struct {
		broken string
		want   checker.Kind
	}{
		{"", ""}, // the same without a broken step: nothing is found
		{"blind", checker.Doubled},
		{"forget", checker.Missing},
		{"lose", checker.Forgotten},
	}
	for _, test := range tests {
		t.Run("broken="+test.broken, func(t *testing.T) {
			t.Parallel()
			l := newLane(t, "embedded")
			life := l.server.process
			l.server.arm("store.Finish.before 2")
			if err := l.ask(t.Context(), "all"); err != nil {
				t.Fatal(err)
			}
			if err := life.died(t.Context(), 30*time.Second); err != nil {
				t.Fatal(err)
			}
			l.server.begin("KEYTURN_TEST_BROKEN=" + test.broken)
			patience := 40 * time.Second
			if test.want == checker.Forgotten {
				patience = 12 * time.Second // it is the point that it never ends
			}
			ended := within(t.Context(), patience, l.settled)
			if ended == (test.want == checker.Forgotten) {
				t.Errorf("all rotations ended: %t", ended)
			}
			found := checker.Check(l.evidence())
			switch {
			case test.broken == "":
				complain(t, found)
			case !slices.ContainsFunc(found, func(f checker.Finding) bool { return f.Kind == test.want }):
				t.Errorf("the checker did not notice: it found %v, want %s", found, test.want)
			}
		})
	}
}
