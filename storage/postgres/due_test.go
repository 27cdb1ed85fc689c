package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres"
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

// Two schedulers have read the same list. What one of them finds done by the other it leaves alone, and between them
// everything is done once, also what is left in the middle of the list.
func TestFireDue_BesideAnotherScheduler(t *testing.T) {
	t.Parallel()
	const all, limit = 640, 80
	one := newStore(t, nil)
	other, err := postgres.Open(t.Context(), postgres.Config{URL: one.url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	changes := []keyturn.ResourceChange{{Kind: keyturn.KindTarget, Name: "om", Spec: []byte(`{}`)}}
	for i := range all {
		changes = append(changes, policyDueAt(fmt.Sprint("policy-", i), time.Now().Add(-time.Minute)))
	}
	if err := one.ApplyResources(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	fire := func(store *postgres.Store) int {
		t.Helper()
		fired, err := store.FireDue(t.Context(), limit, func(due keyturn.Due, now time.Time) (keyturn.Firing, error) {
			asked[due.Policy.Name]++
			next := keyturn.Slot{Local: "2026-01-02T00:00:00", Timezone: "UTC", At: now.Add(time.Hour)}
			return keyturn.Firing{Start: []keyturn.Start{{Slot: due.Slot}}, Next: &next}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(fired)
	}
	if fire(one.Store) != limit || fire(other) != limit { // now both have a list
		t.Fatal("the first batches are not full")
	}
	for range 4 { // half of what is left: the one finds it in its list nevertheless
		fire(other)
	}
	for fired := 1; fired > 0; {
		fired = fire(one.Store) + fire(other)
	}
	for name, n := range asked {
		if n != 1 {
			t.Errorf("%s was asked about %d times", name, n)
		}
	}
	if len(asked) != all {
		t.Errorf("%d policies fired, want %d", len(asked), all)
	}
	if in, ok, err := one.NextDue(t.Context()); err != nil || !ok || in < time.Minute {
		t.Errorf("next due in %s (%v, %v): something is left", in, ok, err)
	}
}
