package keyturn_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestID(t *testing.T) {
	t.Parallel()

	t.Run("SortsByTime", func(t *testing.T) {
		t.Parallel()
		now := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)
		var ids []string
		for i := range 100 {
			ids = append(ids, keyturn.NewID(now.Add(time.Duration(i)*time.Millisecond)).String())
		}
		if !slices.IsSorted(ids) {
			t.Errorf("ids do not sort by time: %v", ids)
		}
	})

	t.Run("IsAVersion7UUID", func(t *testing.T) {
		t.Parallel()
		id := keyturn.NewID(time.Now())
		if s := id.String(); len(s) != 36 || s[14] != '7' || !slices.Contains([]byte("89ab"), s[19]) {
			t.Errorf("%s is no UUIDv7", s)
		}
	})

	t.Run("SurvivesJSONAndSQL", func(t *testing.T) {
		t.Parallel()
		for _, id := range []keyturn.ID{{}, keyturn.NewID(time.Now())} {
			text, err := json.Marshal(id)
			if err != nil {
				t.Fatal(err)
			}
			var read keyturn.ID
			if err := json.Unmarshal(text, &read); err != nil || read != id {
				t.Errorf("%s: read back %s, %v", text, read, err)
			}
			value, err := id.Value()
			if err != nil {
				t.Fatal(err)
			}
			if err := read.Scan(value); err != nil || read != id {
				t.Errorf("%v: scanned %s, %v", value, read, err)
			}
		}
	})

	t.Run("RefusesWhatIsNone", func(t *testing.T) {
		t.Parallel()
		for _, s := range []string{"x", "019a9d2e7c0070008000000000000000", "019a9d2e-7c00-7000-8000-00000000000g", "019a9d2e+7c00-7000-8000-000000000000"} {
			if _, err := keyturn.ParseID(s); err == nil {
				t.Errorf("%q was read as an id", s)
			}
		}
	})
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"90d": "90d", "2w": "14d", "36h": "36h0m0s", "48h": "2d", "30s": "30s", "0s": "0s"} {
		d, err := keyturn.ParseDuration(in)
		if err != nil || d.String() != want {
			t.Errorf("%s is %s, %v; want %s", in, d, err, want)
		}
	}
	for _, in := range []string{"", "d", "-1d", "1.5d", "90", "-5s", "1y", "213504d"} {
		if d, err := keyturn.ParseDuration(in); err == nil {
			t.Errorf("%q was read as %s", in, d)
		}
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	unit := keyturn.Unit{
		ID: "om.5196d3628d022db4cbc26d9e.5196e5b0e4b0fca9cc88334a", ProjectID: "5196d3628d022db4cbc26d9e", ProjectName: "payments",
		ClusterID: "5196e5b0e4b0fca9cc88334a", ClusterName: "shannon", Component: keyturn.ComponentShard, Name: "shannon-0",
	}
	for name, c := range map[string]struct {
		sel  keyturn.Selection
		want bool
	}{
		"all":              {keyturn.Selection{}, true},
		"by globs":         {keyturn.Selection{Projects: []string{"pay*"}, Clusters: []string{"*"}}, true},
		"by ids":           {keyturn.Selection{Projects: []string{unit.ProjectID}, Units: []string{unit.ClusterID}}, true},
		"by one of many":   {keyturn.Selection{Projects: []string{"other", "payments"}}, true},
		"by name":          {keyturn.Selection{Units: []string{"shannon-0"}}, true},
		"by project/name":  {keyturn.Selection{Units: []string{"payments/shannon-0"}}, true},
		"by id/name":       {keyturn.Selection{Units: []string{unit.ProjectID + "/shannon-0"}}, true},
		"by project/glob":  {keyturn.Selection{Units: []string{"pay*/shannon-?"}}, true},
		"another's name":   {keyturn.Selection{Units: []string{"other/shannon-0"}}, false},
		"other project":    {keyturn.Selection{Projects: []string{"other"}}, false},
		"other component":  {keyturn.Selection{Components: []keyturn.Component{keyturn.ComponentConfig}}, false},
		"all but the unit": {keyturn.Selection{Projects: []string{"payments"}, Units: []string{"shannon-1"}}, false},
		"a bad glob":       {keyturn.Selection{Clusters: []string{"["}}, false},
	} {
		if got := c.sel.Match(unit); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if got := c.sel.Matcher()(unit); got != c.want {
			t.Errorf("%s: the quick form says %v, want %v", name, got, c.want)
		}
	}
}

func TestUnitID(t *testing.T) {
	t.Parallel()
	id, err := keyturn.UnitID("om", "p1", "c1")
	if err != nil || id != "om.p1.c1" {
		t.Errorf("%q, %v", id, err)
	}
	target, project, cluster, err := keyturn.SplitUnitID(id)
	if err != nil || target != "om" || project != "p1" || cluster != "c1" {
		t.Errorf("%s %s %s %v", target, project, cluster, err)
	}
	for _, bad := range []string{"", "om", "om.p1", "om.p1.c1.d1"} {
		if target, project, cluster, err := keyturn.SplitUnitID(bad); err == nil || target+project+cluster != "" {
			t.Errorf("%q is %s, %s and %s: %v", bad, target, project, cluster, err)
		}
	}
	for _, bad := range []string{"", "a.b", "a b", "a/b", "a>", "*", "ä"} {
		if _, err := keyturn.UnitID("om", bad, "c"); err == nil {
			t.Errorf("project %q was taken: it would be a subject and a path of its own", bad)
		}
	}
}

// TestTransitions states the rules that the tables of CanBecome must keep.
func TestTransitions(t *testing.T) {
	t.Parallel()
	tasks := []keyturn.TaskState{
		keyturn.TaskPending, keyturn.TaskIntended, keyturn.TaskSucceeded, keyturn.TaskFailed, keyturn.TaskSkipped, keyturn.TaskParked,
	}
	for _, from := range tasks {
		for _, to := range tasks {
			can := from.CanBecome(to)
			if from.Final() && from != keyturn.TaskParked && can {
				t.Errorf("a task that is %s can become %s", from, to)
			}
			if to == keyturn.TaskSucceeded && can && from == keyturn.TaskPending {
				t.Error("a task can succeed without an intent")
			}
			if to == keyturn.TaskSkipped && can && from != keyturn.TaskPending {
				t.Errorf("a task that is %s can be skipped although it may have been changed", from)
			}
		}
	}
	rotations := []keyturn.RotationState{
		keyturn.RotationRequested, keyturn.RotationPlanning, keyturn.RotationRunning, keyturn.RotationSucceeded,
		keyturn.RotationPartial, keyturn.RotationFailed, keyturn.RotationCancelled,
	}
	for _, from := range rotations {
		for _, to := range rotations {
			better := from == keyturn.RotationFailed && to == keyturn.RotationPartial || to == keyturn.RotationSucceeded
			byPerson := (from == keyturn.RotationFailed || from == keyturn.RotationPartial) && better
			if from.Final() && from.CanBecome(to) != byPerson {
				t.Errorf("a rotation that is %s can become %s: %t; only for the better, when a person resolves what is parked",
					from, to, from.CanBecome(to))
			}
		}
		if !from.Final() && !from.CanBecome(keyturn.RotationCancelled) {
			t.Errorf("a rotation that is %s can't be cancelled", from)
		}
	}
}

func TestCountsOutcome(t *testing.T) {
	t.Parallel()
	for want, counts := range map[keyturn.RotationState][]keyturn.Counts{
		keyturn.RotationSucceeded: {{Total: 3, Succeeded: 3}, {Total: 3, Succeeded: 2, Skipped: 1}, {Total: 1, Skipped: 1}},
		keyturn.RotationPartial:   {{Total: 3, Succeeded: 2, Failed: 1}, {Total: 3, Succeeded: 2, Parked: 1}},
		keyturn.RotationFailed:    {{}, {Total: 1, Failed: 1}, {Total: 2, Parked: 1, Skipped: 1}},
	} {
		for _, c := range counts {
			if got := c.Outcome(); got != want {
				t.Errorf("%+v is %s, want %s", c, got, want)
			}
		}
	}
}

func TestIntentChangedBy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		intent keyturn.Intent
		key    string
		want   bool
	}{
		"still the key before":    {keyturn.Intent{Before: "a"}, "a", false},
		"another key":             {keyturn.Intent{Before: "a"}, "b", true},
		"no key proves nothing":   {keyturn.Intent{Before: "a"}, "", false},
		"the key that was wanted": {keyturn.Intent{Before: "a", Want: "b"}, "b", true},
		"not the key wanted":      {keyturn.Intent{Before: "a", Want: "b"}, "c", false},
	} {
		if got := c.intent.ChangedBy(c.key); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
