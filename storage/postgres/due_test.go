package postgres_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// While a claimer gathers its batch another one may read the list anew, and finds what the first has locked: that is due
// until it is moved on, and a lock of one's own is not skipped.
func TestFireDue_TakesNothingTwice(t *testing.T) {
	t.Parallel()
	store := newStore(t, nil)
	applyOne(t, store, keyturn.ResourceChange{Kind: keyturn.KindTarget, Name: "om", Spec: []byte(`{}`)})
	for _, name := range []string{"a", "b", "c"} {
		applyOne(t, store, policyDueAt(name, time.Now().Add(-time.Minute)))
		if err := store.SetPaused(t.Context(), name, true, "ann", "", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.ListDue(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for range 3 {
		_, err := store.FireDue(t.Context(), 4, func(due keyturn.Due, now time.Time) (keyturn.Firing, error) {
			asked[due.Policy.Name]++
			return keyturn.Firing{Next: &keyturn.Slot{Local: "2026-01-02T00:00:00", Timezone: "UTC", At: now.Add(time.Hour)}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(asked) != 3 || asked["a"] != 1 || asked["b"] != 1 || asked["c"] != 1 {
		t.Errorf("asked about %v, want each once", asked)
	}
}
