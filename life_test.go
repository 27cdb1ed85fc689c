package keyturn_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
)

func TestEnding(t *testing.T) {
	t.Parallel()
	stop := keyturn.StopTrouble("", "4 units failed", false)
	tests := []struct {
		name    string
		ending  keyturn.Ending
		state   keyturn.RotationState
		trouble string
	}{
		{"all turned", keyturn.Ending{Counts: keyturn.Counts{Total: 2, Succeeded: 2}}, keyturn.RotationSucceeded, ""},
		{"skipped does not spoil it", keyturn.Ending{Counts: keyturn.Counts{Total: 2, Succeeded: 1, Skipped: 1}}, keyturn.RotationSucceeded, ""},
		{"partial", keyturn.Ending{Counts: keyturn.Counts{Total: 2, Succeeded: 1, Parked: 1}}, keyturn.RotationPartial, ""},
		{
			"partial and mixed",
			keyturn.Ending{Counts: keyturn.Counts{Total: 2, Succeeded: 1, Failed: 1}, Mixed: []string{"p/c"}},
			keyturn.RotationPartial, "only a part has a new key of p/c",
		},
		{"failed", keyturn.Ending{Counts: keyturn.Counts{Total: 3, Failed: 1, Parked: 1, Skipped: 1}}, keyturn.RotationFailed, "no unit was turned: 1 failed, 1 parked, 1 skipped"},
		{"no tasks", keyturn.Ending{}, keyturn.RotationFailed, "no unit was turned: 0 failed, 0 parked, 0 skipped"},
		{"halted", keyturn.Ending{Stop: stop, Stopped: 1, Counts: keyturn.Counts{Total: 2, Succeeded: 1, Skipped: 1}}, keyturn.RotationPartial, "halted: 4 units failed"},
		{"halted before anything", keyturn.Ending{Stop: stop, Stopped: 2, Counts: keyturn.Counts{Total: 2, Skipped: 2}}, keyturn.RotationFailed, "halted: 4 units failed"},
		{"halted with nothing left to stop", keyturn.Ending{Stop: stop, Counts: keyturn.Counts{Total: 2, Succeeded: 1, Failed: 1}}, keyturn.RotationPartial, "halted: 4 units failed"},
		{"halted, and all turned", keyturn.Ending{Stop: stop, Counts: keyturn.Counts{Total: 2, Succeeded: 2}}, keyturn.RotationSucceeded, ""},
		{
			"cancelled",
			keyturn.Ending{Stop: keyturn.StopTrouble("ann", "", true), Cancelled: true, Stopped: 1, Counts: keyturn.Counts{Total: 2, Succeeded: 1, Skipped: 1}, Mixed: []string{"a", "b"}},
			keyturn.RotationCancelled, "cancelled by ann; only a part has a new key of a, b",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if state, trouble := test.ending.Outcome(); state != test.state || trouble != test.trouble {
				t.Errorf("got %s %q, want %s %q", state, trouble, test.state, test.trouble)
			}
		})
	}
	if got := keyturn.MixedTrouble([]string{"a", "b", "c", "d", "e", "f", "g"}); got != "only a part has a new key of a, b, c, d, e and 2 more clusters" {
		t.Errorf("got %q", got)
	}
}

// A matcher is only a quicker Match.
func TestMatcherMatchesAsMatchDoes(t *testing.T) {
	t.Parallel()
	units := []keyturn.Unit{
		{ID: "om.p.c1", ProjectID: "p", ClusterID: "c1", ClusterName: "x", Name: "rs1", Component: keyturn.ComponentShard},
		{ID: "om.p.c2", ProjectID: "p", ClusterID: "c2", ClusterName: "x", Name: "rs2", Component: keyturn.ComponentConfig},
		{ID: "om.q.c3", ProjectID: "q", ClusterID: "c3", ClusterName: "y", Name: "[odd]", Component: keyturn.ComponentShard},
	}
	for _, sel := range []keyturn.Selection{
		{},
		{Units: []string{"om.p.c1"}},
		{Units: []string{"rs2", "c3"}},
		{Units: []string{"rs*"}},
		{Units: []string{"[odd]"}},
		{Units: []string{"nothing"}},
		{Projects: []string{"p"}, Units: []string{"*"}},
		{Clusters: []string{"y"}, Units: []string{"om.p.c1"}},
		{Components: []keyturn.Component{keyturn.ComponentShard}},
		{Units: []string{`\\[odd]`, "rs1"}},
	} {
		match := sel.Matcher()
		for _, u := range units {
			if got, want := match(u), sel.Match(u); got != want {
				t.Errorf("%+v of %s: matcher says %v, Match %v", sel, u.ID, got, want)
			}
		}
	}
}

func TestRetrySelection(t *testing.T) {
	t.Parallel()
	of := keyturn.Rotation{Only: keyturn.Selection{Clusters: []string{"c*"}}}
	missing := []keyturn.MissingUnit{{Unit: "u1", Project: "p1"}, {Unit: "u2", Project: "p1"}, {Unit: "u3", Project: "p2", Parked: true}}
	waiting := func(state keyturn.RotationState, units ...string) keyturn.OpenRetry {
		r := keyturn.Rotation{State: state, Reason: fmt.Sprint(units), Only: keyturn.Selection{Units: units}}
		return keyturn.OpenRetry{Rotation: r, Planned: state == keyturn.RotationRunning}
	}
	tests := []struct {
		name    string
		missing []keyturn.MissingUnit
		planned bool
		open    []keyturn.OpenRetry
		units   []string
		again   string // the reason of the retry that covers all
		err     string
	}{
		{name: "what is missing", missing: missing, planned: true, units: []string{"u1", "u2"}},
		{name: "never planned", units: nil},
		{name: "never planned, retry waits", open: []keyturn.OpenRetry{waiting(keyturn.RotationRequested)}, again: "[]"},
		{name: "retry of all waits", missing: missing, planned: true, open: []keyturn.OpenRetry{waiting(keyturn.RotationPlanning)}, again: "[]"},
		{name: "retry of one waits", missing: missing, planned: true, open: []keyturn.OpenRetry{waiting(keyturn.RotationRequested, "u1")}, units: []string{"u2"}},
		{name: "retry of both waits", missing: missing, planned: true, open: []keyturn.OpenRetry{waiting(keyturn.RotationRequested, "u1", "u2")}, again: "[u1 u2]"},
		{name: "retry runs", missing: nil, planned: true, open: []keyturn.OpenRetry{waiting(keyturn.RotationRunning, "u1", "u2")}, again: "[u1 u2]"},
		{name: "retry runs and missed some", missing: missing[:1], planned: true, open: []keyturn.OpenRetry{waiting(keyturn.RotationRunning, "u1", "u2")}, units: []string{"u1"}},
		{name: "only parked", missing: missing[2:], planned: true, err: "1 parked"},
		{name: "nothing", planned: true, err: "nothing is missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			only, _, again, err := keyturn.RetrySelection(of, test.missing, test.planned, test.open)
			switch {
			case test.err != "":
				if !errors.Is(err, keyturn.ErrConflict) || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error is %v, want %q", err, test.err)
				}
			case err != nil:
				t.Error(err)
			case test.again != "":
				if again == nil || again.Reason != test.again {
					t.Errorf("got %+v, want the retry of %s", again, test.again)
				}
			case again != nil || !slices.Equal(only.Units, test.units):
				t.Errorf("got %v, %+v, want %v", only.Units, again, test.units)
			case !test.planned && !slices.Equal(only.Clusters, of.Only.Clusters):
				t.Errorf("got %+v, want all that was asked for", only)
			}
		})
	}
}
