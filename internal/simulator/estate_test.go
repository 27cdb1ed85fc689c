package simulator_test

import (
	"reflect"
	"regexp"
	"testing"

	"github.com/keyturn/keyturn/internal/simulator"
)

func TestEstateOf_HasExactlySoManyUnits(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 4, 5, 199, 200, 201, 1000, 20000} {
		units := simulator.EstateOf(n).Units()
		if len(units) != n {
			t.Errorf("EstateOf(%d) has %d units", n, len(units))
		}
		ids, keys := map[string]bool{}, map[string]bool{}
		for _, u := range units {
			if u.LeaveOut != "" {
				t.Fatalf("%+v can't be rotated", u)
			}
			ids[u.ClusterID], keys[u.Key] = true, true
		}
		if len(ids) != n || len(keys) != n {
			t.Errorf("EstateOf(%d): %d different ids, %d different keys", n, len(ids), len(keys))
		}
	}
}

func TestNewEstate_IsTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	cfg := simulator.EstateConfig{Seed: 7, Projects: 2, ClustersPerProject: 2, ReplicaSetsPerProject: 2}
	a, b := simulator.NewEstate(cfg), simulator.NewEstate(cfg)
	for _, e := range []*simulator.Estate{a, b} {
		if _, err := e.Rotate(e.Units()[3].ClusterID); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(a.Units(), b.Units()) {
		t.Error("the same seed made another estate")
	}
	cfg.Seed = 8
	if other := simulator.NewEstate(cfg); other.Units()[0].ClusterID == a.Units()[0].ClusterID || other.Units()[0].Key == a.Units()[0].Key {
		t.Error("another seed made the same estate")
	}
}

func TestNewEstate_IDsLookReal(t *testing.T) {
	t.Parallel()
	u := simulator.EstateOf(1).Units()[0]
	if !regexp.MustCompile(`^[0-9a-f]{24}$`).MatchString(u.ClusterID) {
		t.Errorf("cluster id %q", u.ClusterID)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(u.Key) {
		t.Errorf("key %q", u.Key)
	}
}

func TestNewEstate_CountsWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	left := simulator.LeftOut{BackupOff: 1, EncryptionOff: 2, FCV42: 3, FCVUnknown: 4}
	for sharded, each := range map[bool]int{false: 1, true: 4} {
		left.Sharded = sharded
		e := simulator.NewEstate(simulator.EstateConfig{
			Projects: 2, ClustersPerProject: 1, ShardsPerCluster: 3, ReplicaSetsPerProject: 5, LeftOut: left,
		})
		got := map[simulator.Reason]int{}
		for _, u := range e.Units() {
			got[u.LeaveOut]++
		}
		want := map[simulator.Reason]int{
			"": 2 * (4 + 5), simulator.ReasonBackupOff: 2 * each, simulator.ReasonEncryptionOff: 4 * each,
			simulator.ReasonFCV42: 6 * each, simulator.ReasonFCVUnknown: 8 * each,
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("sharded %v: got %v, want %v", sharded, got, want)
		}
	}
}

func TestEstate_RemoveTakesTheParts(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{Estate: simulator.NewEstate(simulator.EstateConfig{Projects: 1, ClustersPerProject: 2})})
	c := clientOf(t, s)
	all := c.clusters(s.Estate().Units()[0].ProjectID)
	parent := all[0]
	if parent.TypeName != "SHARDED_REPLICA_SET" || len(all) != 8 {
		t.Fatalf("%+v", all)
	}
	if !s.Estate().Remove(parent.ID) || s.Estate().Remove(parent.ID) || s.Estate().Remove(all[1].ID) {
		t.Error("a cluster can be removed once, with its parts")
	}
	for i, cl := range c.clusters(parent.GroupID) {
		if cl != all[i+4] {
			t.Errorf("left over: %+v", cl)
		}
	}
	if a := c.do("GET", "/groups/"+parent.GroupID+"/clusters/"+all[1].ID); a.status != 404 {
		t.Errorf("a removed shard answers %d", a.status)
	}
	if _, err := s.Estate().Rotate(all[1].ID); err == nil {
		t.Error("a removed shard's key turned")
	}
}
