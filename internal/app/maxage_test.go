package app_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator"
)

// turnsOldKeys has a policy with nothing but maxAge: it has a slot each hour, also after a pause and a
// restart, and turns the keys that are old enough, known from looks only, and no other.
func (w *world) turnsOldKeys(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 20, simulator.Faults{}, 0)
	set := w.settings(t, "embedded")
	r := start(t, set)
	r.apply(t, sim, "")
	if _, err := r.client.Apply(t.Context(), client.ApplyRequest{Documents: []client.Document{{Name: "aged.yaml", Content: `
apiVersion: keyturn/v1
kind: Policy
name: aged
spec: {target: om, schedule: {maxAge: 80d}}
`}}}); err != nil {
		t.Fatal(err)
	}
	r.wantHourly(t, "aged")
	// Looks are put off for two minutes before the slot of each hour, unless its policy is paused.
	if _, err := r.client.Pause(t.Context(), "aged", client.Pause{Note: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Observe(t.Context(), "om"); err != nil {
		t.Fatal(err)
	}
	var units []keyturn.Unit
	until(t, "a look at all keys", func() bool {
		var err error
		if units, err = r.client.Units(t.Context(), keyturn.UnitFilter{}); err != nil {
			t.Fatal(err)
		}
		return len(units) > 0 && !slices.ContainsFunc(units, func(u keyturn.Unit) bool { return u.Rotatable && u.KeySince == nil })
	})
	if _, err := r.client.Resume(t.Context(), "aged"); err != nil {
		t.Fatal(err)
	}
	r.wantHourly(t, "aged")
	r.stop()

	units = slices.DeleteFunc(units, func(u keyturn.Unit) bool { return !u.Rotatable })
	old := map[string]bool{}
	for _, u := range units[:7] {
		old[u.ClusterID] = true
	}
	passTime(t, fmt.Sprint(set["data_dir"]), units[:7])
	r = start(t, set)
	var rotations []keyturn.Rotation
	until(t, "the rotation of old keys", func() bool {
		var err error
		if rotations, err = r.client.Rotations(t.Context(), "aged", "", 10); err != nil {
			t.Fatal(err)
		}
		return len(rotations) > 0 && rotations[0].State.Final()
	})
	if got := rotations[0]; len(rotations) != 1 || got.State != keyturn.RotationSucceeded || got.Counts.Total != 7 || got.Counts.Succeeded != 7 ||
		got.Reason != "keys of 7 units are due at the age of 80d" {
		t.Errorf("rotations are %+v", rotations)
	}
	for _, change := range sim.Truth() {
		if !old[change.ClusterID] {
			t.Errorf("the key of %s was turned, which is not old, or was turned before", change.ClusterID)
		}
		delete(old, change.ClusterID)
	}
	if len(old) > 0 {
		t.Errorf("the keys of %v are old and were not turned", old)
	}
	r.wantHourly(t, "aged")
}

// wantHourly checks that a policy waits for the next full hour.
func (r *running) wantHourly(t *testing.T, policy string) {
	t.Helper()
	stored, err := r.client.Resource(t.Context(), "policies", policy)
	if err != nil {
		t.Fatal(err)
	}
	next := stored.Status.NextAt
	if now := time.Now(); next == nil || next.Before(now.Add(-time.Minute)) || next.After(now.Add(time.Hour)) || next.Truncate(time.Hour) != *next {
		t.Errorf("policy %s waits for %v, want the next full hour", policy, next)
	}
	slots, err := r.client.Schedule(t.Context(), policy, 3, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(slots.Items) != 3 || slots.Items[1].At.Sub(slots.Items[0].At) != time.Hour {
		t.Errorf("the schedule of %s is %+v, want each hour", policy, slots.Items)
	}
}

// passTime makes the keys of units old, and the slot of the policy aged due, in the database of a server that is stopped.
func passTime(t *testing.T, dataDir string, units []keyturn.Unit) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dataDir, "keyturn.db"))
	if err != nil {
		t.Fatal(err)
	}
	exec := func(query string, args ...any) {
		t.Helper()
		result, err := db.ExecContext(t.Context(), query, args...)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			t.Fatalf("%s changed %d rows, %v", query, n, err)
		}
	}
	for _, u := range units {
		exec(`UPDATE unit_keys SET key_since = ?1 WHERE unit_id = ?2`, time.Now().Add(-80*keyturn.Day).UnixMilli(), u.ID)
	}
	slot := time.Now().UTC().Truncate(time.Hour)
	exec(`UPDATE policies SET next_local = ?1, next_at = ?2, wake_at = ?2 WHERE name = 'aged'`, slot.Format("2006-01-02T15:04:05"), slot.UnixMilli())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
