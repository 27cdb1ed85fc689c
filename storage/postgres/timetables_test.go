package postgres_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// The id of a timetable is a part of a hash. Should two schedules have the same one, the second is read from its policy's spec.
func TestTimetables_SameIDOfTwoSchedules(t *testing.T) {
	t.Parallel()
	store := newStore(t, nil)
	applyOne(t, store, keyturn.ResourceChange{Kind: keyturn.KindTarget, Name: "om", Spec: []byte(`{}`)})
	first, second := policyDueAt("first", time.Now().Add(time.Hour)), policyDueAt("second", time.Now().Add(-time.Minute))
	applyOne(t, store, first)
	if err := store.Exec(t.Context(), `UPDATE timetables SET schedule = '{"cron":"@yearly"}'`); err != nil {
		t.Fatal(err)
	}
	applyOne(t, store, second)
	if got := toldOf(t, store); len(got) != 1 || got["second"].Schedule.Cron != "@daily" || got["second"].Generation != 1 {
		t.Errorf("told %+v, want the spec of second", got)
	}
}

// A scheduler that has read a timetable does not read it again, and one that can't read it leaves the policy alone.
func TestTimetables_AreReadOnce(t *testing.T) {
	t.Parallel()
	store := newStore(t, nil)
	applyOne(t, store, keyturn.ResourceChange{Kind: keyturn.KindTarget, Name: "om", Spec: []byte(`{}`)})
	applyOne(t, store, policyDueAt("first", time.Now().Add(-time.Minute)))
	if got := toldOf(t, store); got["first"].Schedule.Cron != "@daily" {
		t.Fatalf("told %+v", got)
	}
	applyOne(t, store, policyDueAt("second", time.Now().Add(-time.Minute)))
	if err := store.Exec(t.Context(), `UPDATE timetables SET schedule = 'no JSON'`); err != nil {
		t.Fatal(err)
	}
	if got := toldOf(t, store); len(got) != 1 || got["second"].Schedule.Cron != "@daily" || got["second"].Target != "om" {
		t.Errorf("told %+v, want what was read before", got)
	}
	if err := store.Exec(t.Context(), `UPDATE policies SET timetable = timetable + 1, wake_at = now(), next_at = now(), next_local = 'x', next_timezone = 'UTC'
		WHERE name = 'second'`); err != nil {
		t.Fatal(err)
	}
	if got := toldOf(t, store); len(got) != 0 {
		t.Errorf("told %+v without a timetable", got)
	}
	if in, ok, err := store.NextDue(t.Context()); err != nil || !ok || in < 30*time.Second || in > time.Minute {
		t.Errorf("next due in %s (%v, %v), want within a minute", in, ok, err)
	}
}

func policyDueAt(name string, at time.Time) keyturn.ResourceChange {
	return keyturn.ResourceChange{
		Kind: keyturn.KindPolicy, Name: name, Spec: []byte(`{"target":"om","schedule":{"cron":"@daily"}}`),
		Next: &keyturn.Slot{Local: "2026-01-01T00:00:00", Timezone: "UTC", At: at},
	}
}

func applyOne(t *testing.T, store testStore, change keyturn.ResourceChange) {
	t.Helper()
	if err := store.ApplyResources(t.Context(), []keyturn.ResourceChange{change}); err != nil {
		t.Fatal(err)
	}
}

// toldOf fires what is due, and returns the policies that were asked about.
func toldOf(t *testing.T, store testStore) map[string]keyturn.Policy {
	t.Helper()
	told := map[string]keyturn.Policy{}
	_, err := store.FireDue(t.Context(), 10, func(due keyturn.Due, _ time.Time) (keyturn.Firing, error) {
		told[due.Policy.Name] = due.Policy
		return keyturn.Firing{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return told
}
