package model_test

import (
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/model"
)

const mostStates = 4_000_000

// TestProtocol visits every state: whatever happens between two steps, every promise holds.
func TestProtocol(t *testing.T) {
	t.Parallel()
	for name, tasks := range map[string]int{"OneRotation": 1, "TwoRotationsOfOneUnit": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holds(t, model.Protocol(), tasks)
		})
	}
}

// TestLeaseOnlySavesWork: safety does not rest on leases. A worker that is robbed of its lease can't
// record anything, and one that takes over looks and lets the system settle first.
func TestLeaseOnlySavesWork(t *testing.T) {
	t.Parallel()
	rules := model.Protocol()
	rules.Lease = false
	holds(t, rules, 1)
}

// TestMakes visits every state of a change whose key is made first.
func TestMakes(t *testing.T) {
	t.Parallel()
	rules := model.Protocol()
	rules.Makes = true
	holds(t, rules, 1)
}

func holds(t *testing.T, rules model.Rules, tasks int) {
	t.Helper()
	found, err := rules.Explore(tasks, mostStates, model.Once, model.True, model.Untouched, model.Explained, model.Ending, model.OneKey)
	if err != nil {
		t.Fatal(err)
	}
	if found.Broken != "" {
		t.Errorf("%q does not hold:\n  %s", found.Broken, strings.Join(found.Trace, "\n  "))
	}
	if found.States < 1000 { // the model has come to a halt somewhere
		t.Errorf("only %d states", found.States)
	}
	t.Logf("%d states", found.States)
}

// TestEveryRuleIsNeeded leaves out one rule at a time: the model must find a way to break the promise
// that rests on it. This is how we know that it can.
func TestEveryRuleIsNeeded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		without func(*model.Rules)
		tasks   int
		breaks  string
	}{
		"Guard":   {func(r *model.Rules) { r.Guard = false }, 1, model.Once},
		"Look":    {func(r *model.Rules) { r.Look = false }, 1, model.Once},
		"Settle":  {func(r *model.Rules) { r.Settle = false }, 1, model.Once},
		"Fence":   {func(r *model.Rules) { r.Fence = false }, 1, model.Once},
		"OneOpen": {func(r *model.Rules) { r.OneOpen = false }, 2, model.True},
		"Turned":  {func(r *model.Rules) { r.Turned = false }, 2, model.True},
		"Sweeper": {func(r *model.Rules) { r.Sweeper = false }, 1, model.Ending},

		"GuardOfMaking":  {func(r *model.Rules) { r.Makes, r.Guard = true, false }, 1, model.OneKey},
		"SettleOfMaking": {func(r *model.Rules) { r.Makes, r.Settle = true, false }, 1, model.OneKey},
		"FenceOfMaking":  {func(r *model.Rules) { r.Makes, r.Fence = true, false }, 1, model.Once},
		"Amend":          {func(r *model.Rules) { r.Makes, r.Amend = true, false }, 1, model.Once},
		"Renew":          {func(r *model.Rules) { r.Makes, r.Renew = true, false }, 1, model.OneKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules := model.Protocol()
			test.without(&rules)
			found, err := rules.Explore(test.tasks, mostStates, test.breaks)
			if err != nil {
				t.Fatal(err)
			}
			if found.Broken != test.breaks {
				t.Fatalf("without it, %q holds in all of %d states", test.breaks, found.States)
			}
			t.Logf("%q is broken by:\n  %s", found.Broken, strings.Join(found.Trace, "\n  "))
		})
	}
}
