//go:build linux

package kmip_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/keyturn/keyturn/worker/kmip"
	"github.com/keyturn/keyturn/worker/kmip/kmiptest"
)

// TestPyKMIP asks a real server.
func TestPyKMIP(t *testing.T) {
	t.Parallel()
	e := kmiptest.Start(t, 30)

	t.Run("AgreesUponTheBestVersion", func(t *testing.T) {
		t.Parallel()
		got, err := newClient(t, e, 0).Server(t.Context())
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
			checkStates(t, e, newClient(t, e, batch))
		})
	}
	for _, v := range kmip.Known() {
		t.Run("KnowsEveryState/Version"+v.String(), func(t *testing.T) {
			t.Parallel()
			c := newClient(t, e, 0)
			c.Speak(v)
			checkStates(t, e, c)
			if ids, err := c.Locate(t.Context(), "active"); err != nil || !slices.Equal(ids, []string{e.Keys.Active}) {
				t.Errorf("located %v, %v, want %s", ids, err, e.Keys.Active)
			}
			if c.Idle() != 1 {
				t.Errorf("%d connections wait, want one that was used again and again", c.Idle())
			}
		})
	}
	t.Run("LocatesAllKeys", func(t *testing.T) {
		t.Parallel()
		ids, err := newClient(t, e, 0).Locate(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range append(slices.Clone(e.Keys.Many), e.Keys.PreActive, e.Keys.Active, e.Keys.Deactivated, e.Keys.Compromised) {
			if !slices.Contains(ids, id) {
				t.Errorf("key %s was not found among %d", id, len(ids))
			}
		}
		if slices.Contains(ids, e.Keys.Destroyed) {
			t.Errorf("the destroyed key %s was found", e.Keys.Destroyed)
		}
	})
	t.Run("LocatesByName", func(t *testing.T) {
		t.Parallel()
		ids, err := newClient(t, e, 0).Locate(t.Context(), "active")
		if err != nil || !slices.Equal(ids, []string{e.Keys.Active}) {
			t.Errorf("got %v, %v, want %s", ids, err, e.Keys.Active)
		}
	})
}

// TestPyKMIPWithRSA: with such certificates it knows only cipher suites that Go does not offer by itself.
func TestPyKMIPWithRSA(t *testing.T) {
	t.Parallel()
	e := kmiptest.StartRSA(t, 3)
	checkStates(t, e, newClient(t, e, 0))
}

func newClient(t testing.TB, e *kmiptest.Server, batch int) *kmip.Client {
	t.Helper()
	c, err := kmip.New(kmip.Config{Address: e.Address, TLS: e.TLS, Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func checkStates(t *testing.T, e *kmiptest.Server, c *kmip.Client) {
	t.Helper()
	ids := append([]string{e.Keys.PreActive, e.Keys.Active, e.Keys.Deactivated, e.Keys.Compromised, e.Keys.Destroyed, "no-such-key"}, e.Keys.Many...)
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
	if trips := c.RoundTrips(); trips > len(ids)+3 {
		t.Errorf("%d round trips for %d keys", trips, len(ids))
	}
	if keys[1].Name != "active" {
		t.Errorf("the key's name is %q, want active", keys[1].Name)
	}
}

// BenchmarkPyKMIP asks the real server, which takes its time for each key.
func BenchmarkPyKMIP(b *testing.B) {
	const many = 500
	e := kmiptest.Start(b, many)
	for _, batch := range []int{1, 64} {
		b.Run("Batch"+strconv.Itoa(batch), func(b *testing.B) {
			c := newClient(b, e, batch)
			for b.Loop() {
				keys, err := c.Keys(b.Context(), e.Keys.Many)
				if err != nil || len(keys) != many {
					b.Fatal(len(keys), err)
				}
			}
			b.ReportMetric(float64(many*b.N)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}
