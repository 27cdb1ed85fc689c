//go:build linux

package kmip_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn/worker/kmip"
)

// TestPyKMIP asks a real server.
func TestPyKMIP(t *testing.T) {
	t.Parallel()
	e := startPyKMIP(t, 30)

	t.Run("AgreesUponTheBestVersion", func(t *testing.T) {
		t.Parallel()
		got, err := e.client(t, 0).Server(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Version != (kmip.Version{Major: 2, Minor: 0}) || !got.Audits || got.Vendor == "" {
			t.Errorf("got %+v, want version 2.0, a vendor, and that it audits", got)
		}
	})
	for name, batch := range map[string]int{"OneByOne": 1, "InBatches": 4} {
		t.Run("KnowsEveryState/"+name, func(t *testing.T) {
			t.Parallel()
			e.checkStates(t, e.client(t, batch))
		})
	}
	for _, v := range kmip.Known() {
		t.Run("KnowsEveryState/Version"+v.String(), func(t *testing.T) {
			t.Parallel()
			c := e.client(t, 0)
			c.Speak(v)
			e.checkStates(t, c)
			if ids, err := c.Locate(t.Context(), "active"); err != nil || !slices.Equal(ids, []string{e.Active}) {
				t.Errorf("located %v, %v, want %s", ids, err, e.Active)
			}
			if c.Idle() != 1 {
				t.Errorf("%d connections wait, want one that was used again and again", c.Idle())
			}
		})
	}
	t.Run("LocatesAllKeys", func(t *testing.T) {
		t.Parallel()
		ids, err := e.client(t, 0).Locate(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range append(slices.Clone(e.Many), e.PreActive, e.Active, e.Deactivated, e.Compromised) {
			if !slices.Contains(ids, id) {
				t.Errorf("key %s was not found among %d", id, len(ids))
			}
		}
		if slices.Contains(ids, e.Destroyed) {
			t.Errorf("the destroyed key %s was found", e.Destroyed)
		}
	})
	t.Run("LocatesByName", func(t *testing.T) {
		t.Parallel()
		ids, err := e.client(t, 0).Locate(t.Context(), "active")
		if err != nil || !slices.Equal(ids, []string{e.Active}) {
			t.Errorf("got %v, %v, want %s", ids, err, e.Active)
		}
	})
}

func (e *estate) checkStates(t *testing.T, c *kmip.Client) {
	t.Helper()
	ids := append([]string{e.PreActive, e.Active, e.Deactivated, e.Compromised, e.Destroyed, "no-such-key"}, e.Many...)
	keys, err := c.Keys(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != len(ids) {
		t.Fatalf("%d answers about %d keys", len(keys), len(ids))
	}
	want := []struct {
		state  kmip.State
		found  bool
		usable bool
	}{
		{kmip.StatePreActive, true, false},
		{kmip.StateActive, true, true},
		{kmip.StateDeactivated, true, true},
		{kmip.StateCompromised, true, true},
		{"", false, false},
		{"", false, false},
	}
	for i, k := range keys {
		if k.Err != nil || k.ID != ids[i] {
			t.Errorf("key %d: id %q, want %q: %v", i, k.ID, ids[i], k.Err)
		}
		if i < len(want) && (k.State != want[i].state || k.Found != want[i].found || k.Usable() != want[i].usable) {
			t.Errorf("key %d: %+v, want %+v", i, k, want[i])
		}
		if k.Found && (k.Initial == nil || time.Since(*k.Initial).Abs() > time.Hour) {
			t.Errorf("key %d: made at %v", i, k.Initial)
		}
	}
	if keys[1].Name != "active" {
		t.Errorf("the key's name is %q, want active", keys[1].Name)
	}
}
