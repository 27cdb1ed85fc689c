package main

import (
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

// TestEmptyListingsSayOnlyWhatIsTrue: that a filter matches nothing does not mean that there is nothing.
func TestEmptyListingsSayOnlyWhatIsTrue(t *testing.T) {
	t.Parallel()
	c, k := newKeyCLI(t)
	k.Known = nil
	for args, want := range map[string]string{
		"alerts":                   "no alerts: nothing needs a person",
		"alerts --policy nope":     "no alerts match",
		"alerts --target nope":     "no alerts match",
		"alerts --kind key.age":    "no alerts match",
		"alerts --state firing":    "no alerts match",
		"units":                    "no units yet: `keyturn observe TARGET` or a rotation finds those that policies select",
		"units --target nope":      "no units match",
		"units --project nope":     "no units match",
		"units --cluster nope":     "no units match",
		"units --unit nope":        "no units match",
		"rotations":                "no rotations yet: `keyturn rotate POLICY` asks for one",
		"rotations --policy nope":  "no rotations match",
		"rotations --state failed": "no rotations match",
		"keys":                     "no key was seen yet",
		"keys --key nope":          "no keys match",
		"keys --target nope":       "no keys match",
		"keys --old":               "no keys match",
		"history":                  "no key was seen yet",
		"history --rotation " + keyturn.NewID(apitest.Epoch()).String(): "no records match",
	} {
		r := c.run(t, strings.Fields(args)...).want(t, exitDone)
		if r.stdout != "" || r.stderr != want+"\n" {
			t.Errorf("%s prints %q and says %q, want %q", args, r.stdout, r.stderr, want)
		}
	}
}

func TestPlanThatIsNarrowedToNothing(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	for _, flag := range []string{"--unit", "--project", "--cluster"} {
		c.run(t, "plan", "quarterly", flag, "nope").want(t, exitDone).wantError(t, "no units that the policy selects match")
	}
}
