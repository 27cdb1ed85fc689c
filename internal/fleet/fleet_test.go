package fleet_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/fleet"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// unit is a unit whose key is so many days old; negative: never seen.
func unit(project, cluster, name string, days int) keyturn.FleetUnit {
	u := keyturn.FleetUnit{Unit: keyturn.Unit{
		ID: "om." + project + "." + cluster + name, Target: "om", ProjectID: project, ProjectName: project + "-name", ClusterID: cluster + name,
		ClusterName: cluster, Component: keyturn.ComponentShard, Name: name, Rotatable: true,
	}}
	if days >= 0 {
		since := now.Add(-time.Duration(days) * keyturn.Day)
		u.KeySince = &since
	}
	return u
}

func policy(name, project string, warn, critical int) keyturn.Policy {
	return keyturn.Policy{
		Name: name, Target: "om", Select: keyturn.Selection{Projects: []string{project}},
		Alerts: keyturn.PolicyAlerts{WarnAfter: keyturn.Duration(time.Duration(warn) * keyturn.Day), CriticalAfter: keyturn.Duration(time.Duration(critical) * keyturn.Day)},
	}
}

func TestLevelsFollowTheStrictestPolicy(t *testing.T) {
	t.Parallel()
	policies := []keyturn.Policy{policy("a", "p1", 90, 365), policy("b", "p1", 30, 400), policy("c", "p2*", 10, 20)}
	for _, test := range []struct {
		project string
		days    int
		want    fleet.Level
	}{
		{"p1", -1, fleet.Unknown},
		{"p1", 0, fleet.Fresh},
		{"p1", 14, fleet.Fresh},
		{"p1", 15, fleet.Aging},
		{"p1", 29, fleet.Aging},
		{"p1", 30, fleet.Warn},
		{"p1", 197, fleet.Warn},
		{"p1", 198, fleet.Old},
		{"p1", 364, fleet.Old},
		{"p1", 365, fleet.Critical},
		{"p2", 20, fleet.Critical},
		{"p2", 10, fleet.Warn},
		{"p3", 89, fleet.Aging},
		{"p3", 90, fleet.Warn},
		{"p3", 365, fleet.Critical}, // no policy: the defaults
	} {
		m := fleet.Make([]keyturn.FleetUnit{unit(test.project, "c", "rs", test.days)}, policies, now)
		if got := m.Cells[0].Level; got != test.want {
			t.Errorf("%s, %d days: level %s, want %s", test.project, test.days, got, test.want)
		}
	}
}

func TestAgesAreToldOnlyIfAllAreTheSame(t *testing.T) {
	t.Parallel()
	units := []keyturn.FleetUnit{unit("p1", "c", "a", 1), unit("p3", "c", "a", 1)}
	if m := fleet.Make(units, []keyturn.Policy{policy("a", "p1", 30, 365)}, now); m.Ages != nil {
		t.Errorf("ages are %v", *m.Ages)
	}
	if m := fleet.Make(units, nil, now); m.Ages == nil || *m.Ages != fleet.DefaultAges() {
		t.Errorf("ages are %v", m.Ages)
	}
	if m := fleet.Make(nil, nil, now); m.Ages != nil || len(m.Cells) != 0 {
		t.Errorf("empty map is %+v", m)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	units := []keyturn.FleetUnit{
		unit("p2", "orders", "orders-0", 400), unit("p1", "users", "users-1", 5), unit("p1", "users", "users-0", 100), unit("p1", "carts", "carts-0", -1),
	}
	units[0].Rotatable, units[0].Reason = false, "no backup"
	units[1].Task = keyturn.TaskParked
	m := fleet.Make(units, nil, now)
	for _, test := range []struct {
		filter fleet.Filter
		want   string
	}{
		{fleet.Filter{}, "carts-0 users-0 users-1 orders-0 "},
		{fleet.Filter{Text: "USERS"}, "users-0 users-1 "},
		{fleet.Filter{Text: "p1-name 0"}, "carts-0 users-0 "},
		{fleet.Filter{Text: "om.p2."}, "orders-0 "},
		{fleet.Filter{Target: "other"}, ""},
		{fleet.Filter{Project: "p2"}, "orders-0 "},
		{fleet.Filter{Project: "p2-name"}, "orders-0 "},
		{fleet.Filter{Level: "critical"}, "orders-0 "},
		{fleet.Filter{Level: "unknown"}, "carts-0 "},
		{fleet.Filter{Rotatable: "no"}, "orders-0 "},
		{fleet.Filter{Rotatable: "yes", Level: "warn"}, "users-0 "},
		{fleet.Filter{Task: "parked"}, "users-1 "},
	} {
		got := ""
		for _, c := range test.filter.Apply(m) {
			got += c.Name + " "
		}
		if got != test.want {
			t.Errorf("%+v: %q, want %q", test.filter, got, test.want)
		}
	}
	c := fleet.Count(m.Cells)
	if c.Total != 4 || c.Of(fleet.Critical) != 1 || c.Of(fleet.Unknown) != 1 || c.Fixed != 1 || c.Park != 1 || c.Open != 0 {
		t.Errorf("counts are %+v", c)
	}
	if s := fleet.Summaries(m.Cells, false); len(s) != 2 || s[0].ProjectID != "p1" || s[0].Counts.Total != 3 {
		t.Errorf("summaries are %+v", s)
	}
	if s := fleet.Summaries(m.Cells, true); len(s) != 3 || s[1].Cluster != "users" || s[1].Counts.Total != 2 {
		t.Errorf("summaries are %+v", s)
	}
}

func TestEncodedNamesEachUnitByItsPlace(t *testing.T) {
	t.Parallel()
	units := []keyturn.FleetUnit{unit("p1", "users", "users-0", 100), unit("p1", "users", "x", -1), unit("p2", "orders", "orders-0", 400)}
	units[1].Task, units[1].Rotatable, units[2].KeySinceExact = keyturn.TaskIntended, false, true
	m := fleet.Make(units, []keyturn.Policy{policy("a", "p2", 10, 20)}, now)
	out, err := fleet.Encode(m.Cells, m.At)
	if err != nil {
		t.Fatal(err)
	}
	var e fleet.Encoded
	if err := json.Unmarshal(out, &e); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(e.Targets, e.Projects, e.Clusters, e.Names, e.Days, e.Levels, e.Flags, e.Kinds, e.Ages, e.AgesOf)
	want := "[om] [{0 p1 p1-name} {0 p2 p2-name}] [{0 users 2} {1 orders 1}] [~-0 x ~-0] [100 -1 400] 305 CID sss [[90 365] [10 20]] aab\n"
	if got != want {
		t.Errorf("encoded\n%s, want\n%s", got, want)
	}
	if found := m.Find("om", "p1", "users", "x"); len(found) != 1 || found[0].ID != units[1].ID {
		t.Errorf("found %+v", found)
	}
	if found := m.Find("om", "p2", "users", "x"); len(found) != 0 {
		t.Errorf("found %+v", found)
	}
}

// estate is an estate of n units with ids as random as those of Ops Manager.
func estate(n int) []keyturn.FleetUnit {
	random := rand.New(rand.NewPCG(1, 2))
	units := make([]keyturn.FleetUnit, n)
	project := ""
	for i := range units {
		if i%200 == 0 {
			project = fmt.Sprintf("%016x%08x", random.Uint64(), i)
		}
		cluster := fmt.Sprintf("cluster-%04d", i/4)
		units[i] = unit(project, cluster, fmt.Sprintf("%s-shard-%d", cluster, i%4), random.IntN(420))
		units[i].ID = "om." + project + fmt.Sprintf(".%016x%08x", random.Uint64(), i)
	}
	return units
}

func TestTwentyThousandUnitsAreSmall(t *testing.T) {
	t.Parallel()
	m := fleet.Make(estate(20_000), nil, now)
	out, err := fleet.Encode(m.Cells, m.At)
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	zw, _ := gzip.NewWriterLevel(&zipped, gzip.BestSpeed)
	_, _ = zw.Write(out)
	_ = zw.Close()
	t.Logf("%d bytes, %d compressed", len(out), zipped.Len())
	if zipped.Len() > 150_000 {
		t.Errorf("%d bytes, more than half of what a page may weigh", zipped.Len())
	}
}

func BenchmarkMake(b *testing.B) {
	units := estate(20_000)
	policies := []keyturn.Policy{policy("a", "*", 90, 365), policy("b", "f*", 30, 365)}
	for b.Loop() {
		m := fleet.Make(units, policies, now)
		if _, err := fleet.Encode(fleet.Filter{Text: "shard"}.Apply(m), m.At); err != nil {
			b.Fatal(err)
		}
	}
}
