package opsmanager_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/simulator"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

func startSimulator(t testing.TB, cfg simulator.Config) (*simulator.Server, *opsmanager.Client) {
	t.Helper()
	sim, err := simulator.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, sim)
	t.Cleanup(func() {
		c.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return sim, c
}

func clientOf(t testing.TB, sim *simulator.Server) *opsmanager.Client {
	t.Helper()
	c, err := opsmanager.New(opsmanager.Config{
		Target:    keyturn.Target{Name: "om", System: keyturn.SystemOpsManager, URL: sim.URL, Limits: keyturn.Limits{Concurrency: 256}},
		PublicKey: sim.PublicKey, PrivateKey: sim.PrivateKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestDiscover_HoldsOnlyWhatTasksAskForAgain: an automation config has megabytes, and there may be thousands of projects.
func TestDiscover_HoldsOnlyWhatTasksAskForAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		estate simulator.EstateConfig
		want   int
	}{
		"keys of backups":       {simulator.EstateConfig{Seed: 1, Projects: 20, ClustersPerProject: 1}, 0},
		"keys of the KMIP kind": {simulator.EstateConfig{Seed: 1, Projects: 20, ModernReplicaSetsPerProject: 1}, 20},
	} {
		_, c := startSimulator(t, simulator.Config{Estate: simulator.NewEstate(tt.estate)})
		units, err := c.Discover(t.Context(), keyturn.Selection{})
		if err != nil || len(units) == 0 {
			t.Fatalf("%s: %d units, %v", name, len(units), err)
		}
		if held := opsmanager.Held(c); held != tt.want {
			t.Errorf("%s: something of %d projects is held, want %d", name, held, tt.want)
		}
	}
}

func TestDiscover_FindsTheWholeSimulatedEstate(t *testing.T) {
	t.Parallel()
	for _, omit := range []bool{false, true} {
		estate := simulator.NewEstate(simulator.EstateConfig{
			Seed: 7, Projects: 5, ClustersPerProject: 12, ReplicaSetsPerProject: 140,
			LeftOut: simulator.LeftOut{BackupOff: 2, EncryptionOff: 2, FCV42: 2, FCVUnknown: 2, Sharded: omit},
		})
		_, c := startSimulator(t, simulator.Config{Estate: estate, ListsOmitEncryption: omit})
		units, err := c.Discover(t.Context(), keyturn.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]keyturn.Unit)
		for _, u := range units {
			found[u.ClusterID] = u
		}
		truth := estate.Units()
		if len(found) != len(truth) || len(units) != len(truth) {
			t.Errorf("%d units, want %d", len(units), len(truth))
		}
		for _, want := range truth {
			got := found[want.ClusterID]
			if got.ProjectID != want.ProjectID || got.Name != want.Name || got.ClusterName != want.ClusterName || got.Rotatable != (want.LeaveOut == "") {
				t.Errorf("unit %+v, want %+v", got, want)
			}
		}
	}
}

func TestClient_TurnsEveryKeyOnceUnderLoad(t *testing.T) {
	t.Parallel()
	estate := simulator.NewEstate(simulator.EstateConfig{Seed: 1, Projects: 4, ReplicaSetsPerProject: 500})
	sim, c := startSimulator(t, simulator.Config{Estate: estate})
	units := estate.Units()
	turnAll(t, c, units, 256)
	truth := estate.Truth()
	if len(truth) != len(units) {
		t.Errorf("%d keys were turned, want %d", len(truth), len(units))
	}
	if s := sim.Stats(); s.Unauthorized > s.Requests/100 || s.Requests > int64(len(units))*305/100 {
		t.Errorf("%d requests, %d of them refused, for %d units", s.Requests, s.Unauthorized, len(units))
	}
}

// What an error says must be true: of no unit may it be said that nothing was
// changed when something was, and breaking connections are no refusals.
func TestClient_TellsTheTruthAboutFaults(t *testing.T) {
	t.Parallel()
	estate := simulator.NewEstate(simulator.EstateConfig{Seed: 1, Projects: 4, ReplicaSetsPerProject: 300})
	_, c := startSimulator(t, simulator.Config{
		Estate: estate, Auth: simulator.Auth{NonceUses: 150},
		Faults: simulator.Faults{
			Seed: 3,
			GET:  simulator.Rates{ErrorBefore: 0.05, TooMany: 0.05, ResetBefore: 0.1, ResetAfter: 0.1, Truncated: 0.1},
			PUT:  simulator.Rates{ErrorBefore: 0.1, ErrorAfter: 0.1, TooMany: 0.1, ResetBefore: 0.1, ResetAfter: 0.1, Truncated: 0.1},
		},
	})
	var mu sync.Mutex
	kinds := make(map[string]keyturn.ErrorKind) // by cluster
	var wg sync.WaitGroup
	units := estate.Units()
	for g := range 64 {
		wg.Go(func() {
			for i := g; i < len(units); i += 64 {
				id := "om." + units[i].ProjectID + "." + units[i].ClusterID
				if _, err := c.Prepare(t.Context(), id, keyturn.ID{}); err != nil && kindOf(err) != transient {
					t.Errorf("Prepare: %v", err)
				}
				err := c.Apply(t.Context(), id, keyturn.Intent{})
				mu.Lock()
				kinds[units[i].ClusterID] = kindOf(err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	changed := make(map[string]int)
	for _, r := range estate.Truth() {
		changed[r.ClusterID]++
	}
	count := make(map[keyturn.ErrorKind]int)
	for _, u := range units {
		kind, n := kinds[u.ClusterID], changed[u.ClusterID]
		count[kind]++
		if n > 1 || kind == "" && n != 1 || kind == transient && n != 0 || kind == permanent {
			t.Errorf("unit %s: %d changes, and the error's kind is %q", u.ClusterID, n, kind)
		}
	}
	if count[""] == 0 || count[transient] == 0 || count[ambiguous] == 0 {
		t.Errorf("kinds %v: each was expected", count)
	}
}

// turnAll does GET, PUT and GET for each unit, so many at once.
func turnAll(t testing.TB, c *opsmanager.Client, units []simulator.Unit, goroutines int) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(units) {
					return
				}
				if err := turn(t, c, "om."+units[i].ProjectID+"."+units[i].ClusterID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func turn(t testing.TB, c *opsmanager.Client, unit string) error {
	t.Helper()
	intent, err := c.Prepare(t.Context(), unit, keyturn.ID{})
	if err != nil {
		return err
	}
	if err := c.Apply(t.Context(), unit, intent); err != nil {
		return err
	}
	key, err := c.Current(t.Context(), unit)
	if err == nil && !intent.ChangedBy(key) {
		return fmt.Errorf("unit %s still has key %s", unit, key)
	}
	return err
}

// BenchmarkTurn measures GET, PUT and GET with 256 in flight, together with the simulator.
func BenchmarkTurn(b *testing.B) {
	estate := simulator.NewEstate(simulator.EstateConfig{Seed: 1, Projects: 4, ReplicaSetsPerProject: 2500})
	_, c := startSimulator(b, simulator.Config{Estate: estate})
	units := estate.Units()
	b.ReportAllocs()
	for b.Loop() {
		turnAll(b, c, units, 256)
	}
	b.ReportMetric(float64(len(units))*float64(b.N)/b.Elapsed().Seconds(), "units/s")
}
