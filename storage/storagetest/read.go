package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func readTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"RotationsAreNewestFirst": readRotations,
		"RotationsAreFiltered":    readRotationsFiltered,
		"TasksComeInPages":        readTasks,
		"UnitsComeInPages":        readUnits,
		"UnitsAreFiltered":        readUnitsFiltered,
		"HistoryComesInPages":     readHistory,
		"HistoryIsFiltered":       readHistoryFiltered,
		"UntilIsTheNextFrom":      readUntil,
		"BadCursorIsAnError":      readBadCursor,
		"NothingIsAnEmptyListing": readEmpty,
	}
}

// pages reads all pages of a listing, each of at most limit.
func pages[T any](f *fixture, limit int, list func(keyturn.Page) ([]T, string, error)) []T {
	f.t.Helper()
	var all []T
	for page := (keyturn.Page{Limit: limit}); ; {
		items, next, err := list(page)
		f.ok(err)
		if len(items) > limit || next != "" && len(items) != limit {
			f.t.Fatalf("a page of %d, want %d", len(items), limit)
		}
		all = append(all, items...)
		if next == "" {
			return all
		}
		page.After = next
	}
}

func readRotations(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	var want []keyturn.ID
	for range 7 {
		want = append(want, f.request("quarterly").ID)
		f.clock.Advance(time.Second)
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 3, 7, 100} {
		var got []keyturn.ID
		for _, r := range pages(f, limit, func(p keyturn.Page) ([]keyturn.Rotation, string, error) {
			return f.Rotations(f.ctx(), keyturn.RotationFilter{Page: p})
		}) {
			got = append(got, r.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %v, want %v", limit, got, want)
		}
	}
}

func readRotationsFiltered(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.policy("monthly", "om", nil)
	a, _ := f.running("quarterly", makeUnits("om", "p1", 2)...)
	b := f.request("monthly")
	for name, tc := range map[string]struct {
		filter keyturn.RotationFilter
		want   []keyturn.ID
	}{
		"policy":    {keyturn.RotationFilter{Policy: "monthly"}, []keyturn.ID{b.ID}},
		"state":     {keyturn.RotationFilter{State: keyturn.RotationRunning}, []keyturn.ID{a.ID}},
		"both":      {keyturn.RotationFilter{Policy: "monthly", State: keyturn.RotationRunning}, nil},
		"unlimited": {keyturn.RotationFilter{Policy: "quarterly"}, []keyturn.ID{a.ID}},
	} {
		rotations, _, err := f.Rotations(f.ctx(), tc.filter)
		f.ok(err)
		var got []keyturn.ID
		for _, r := range rotations {
			got = append(got, r.ID)
			if r.ID == a.ID && r.Counts != (keyturn.Counts{Total: 2, Pending: 2}) {
				t.Errorf("%s: counts are %+v", name, r.Counts)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func readTasks(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, _ := f.running("quarterly", slices.Concat(makeUnits("om", "p1", 17), makeUnits("om", "p2", 3))...)
	f.running("quarterly", makeUnits("om", "p1", 2)...)
	tasks := pages(f, 2, func(p keyturn.Page) ([]keyturn.Task, string, error) { return f.Tasks(f.ctx(), r.ID, p) })
	seen := map[string]bool{}
	for _, task := range tasks {
		seen[task.Unit] = true
	}
	if len(tasks) != 20 || len(seen) != 20 {
		t.Fatalf("%d tasks of %d units, want 20 of 20", len(tasks), len(seen))
	}
	// In the order of their turn: a project's seventeenth comes after the others' first ones.
	if last := makeUnit("om", "p1", 16).ID; tasks[19].Unit != last {
		t.Errorf("the last task is %s, want %s", tasks[19].Unit, last)
	}
}

func readUnits(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.running("quarterly", makeUnits("om", "p1", 7)...)
	units := pages(f, 3, func(p keyturn.Page) ([]keyturn.Unit, string, error) {
		return f.Units(f.ctx(), keyturn.UnitFilter{Page: p})
	})
	var ids []string
	for _, u := range units {
		ids = append(ids, u.ID)
	}
	if len(ids) != 7 || !slices.IsSorted(ids) {
		t.Errorf("units are %v, want 7 in the order of their ids", ids)
	}
}

func readUnitsFiltered(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.target("cm")
	f.policy("weekly", "cm", nil)
	f.running("quarterly", slices.Concat(makeUnits("om", "p1", 2), makeUnits("om", "p2", 1))...)
	f.running("weekly", makeUnits("cm", "p9", 1)...)
	for filter, want := range map[keyturn.UnitFilter]int{
		{}:                               4,
		{Target: "om"}:                   3,
		{Target: "o"}:                    0,
		{Project: "p1"}:                  2,
		{Project: "p1-name"}:             2,
		{Cluster: "c001"}:                1,
		{Cluster: "c000-name"}:           3,
		{Name: "om.p2.c000"}:             1,
		{Name: "rs0"}:                    3,
		{Name: "c001"}:                   1,
		{Name: "p1-name/rs0"}:            1,
		{Name: "p2/rs0"}:                 1,
		{Name: "p2-name/rs1"}:            0,
		{Name: "rs0/"}:                   0,
		{Target: "om", Name: "rs0"}:      2,
		{Target: "cm", Project: "p1"}:    0,
		{Project: "p1", Cluster: "c001"}: 1,
	} {
		units, _, err := f.Units(f.ctx(), filter)
		f.ok(err)
		if len(units) != want {
			t.Errorf("%+v: %d units, want %d", filter, len(units), want)
		}
	}
}

func readHistory(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 5)...)
	for i, task := range tasks {
		f.clock.Advance(time.Second)
		epoch := f.mustIntend(task.ID, fmt.Sprint("a", i))
		f.clock.Advance(time.Second)
		f.mustFinish(succeeded(task.ID, epoch, fmt.Sprint("b", i)))
	}
	records := pages(f, 3, func(p keyturn.Page) ([]keyturn.KeyRecord, string, error) {
		return f.History(f.ctx(), keyturn.HistoryFilter{Page: p})
	})
	var keys []string
	for _, r := range records {
		keys = append(keys, r.KeyID)
	}
	if want := []string{"a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3", "a4", "b4"}; !slices.Equal(keys, want) {
		t.Errorf("keys are %v, want %v", keys, want)
	}
}

func readHistoryFiltered(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	first, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.turn(tasks[0].ID, "a0", "b0")
	f.turn(tasks[1].ID, "a1", "b1")
	f.clock.Advance(time.Hour)
	second, tasks := f.running("quarterly", makeUnits("om", "p1", 1)...)
	f.turn(tasks[0].ID, "b0", "c0")
	for name, tc := range map[string]struct {
		filter keyturn.HistoryFilter
		want   int
	}{
		"all":           {keyturn.HistoryFilter{}, 5},
		"unit id":       {keyturn.HistoryFilter{Unit: "om.p1.c000"}, 3},
		"unit name":     {keyturn.HistoryFilter{Unit: "rs1"}, 2},
		"project/name":  {keyturn.HistoryFilter{Unit: "p1-name/rs1"}, 2},
		"id/name":       {keyturn.HistoryFilter{Unit: "p1/rs1"}, 2},
		"other project": {keyturn.HistoryFilter{Unit: "p2-name/rs1"}, 0},
		"component id":  {keyturn.HistoryFilter{Unit: "c001"}, 2},
		"rotation":      {keyturn.HistoryFilter{Rotation: first.ID}, 4},
		"later one":     {keyturn.HistoryFilter{Rotation: second.ID}, 1},
		"both":          {keyturn.HistoryFilter{Rotation: first.ID, Unit: "rs0"}, 2},
		"unknown unit":  {keyturn.HistoryFilter{Unit: "nobody"}, 0},
		"unknown + rot": {keyturn.HistoryFilter{Unit: "nobody", Rotation: first.ID}, 0},
	} {
		if records := f.history(tc.filter); len(records) != tc.want {
			t.Errorf("%s: %d records, want %d", name, len(records), tc.want)
		}
	}
}

func readUntil(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	first, tasks := f.running("quarterly", u)
	f.turn(tasks[0].ID, "a", "b") // within one instant of the clock
	f.clock.Advance(time.Hour)
	_, tasks = f.running("quarterly", u)
	f.turn(tasks[0].ID, "b", "c")
	records := f.history(keyturn.HistoryFilter{Unit: u.ID})
	if len(records) != 3 {
		t.Fatalf("history is %+v", records)
	}
	for i, r := range records {
		if i == 2 {
			if r.Until != nil {
				t.Errorf("the key in use ended at %v", r.Until)
			}
			continue
		}
		if r.Until == nil || !r.Until.Equal(records[i+1].From) {
			t.Errorf("record %d is until %v, want %v", i, r.Until, records[i+1].From)
		}
	}
	// The next record counts even where the filter leaves it out.
	for _, r := range f.history(keyturn.HistoryFilter{Rotation: first.ID}) {
		if r.Until == nil {
			t.Errorf("record %+v has no end, but another rotation turned the key", r)
		}
	}
}

func readBadCursor(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	bad := keyturn.Page{After: "not-a-cursor"}
	if _, _, err := f.Rotations(f.ctx(), keyturn.RotationFilter{Page: bad}); err == nil {
		t.Error("Rotations took a bad cursor")
	}
	if _, _, err := f.Tasks(f.ctx(), keyturn.NewID(f.clock.Now()), bad); err == nil {
		t.Error("Tasks took a bad cursor")
	}
	if _, _, err := f.History(f.ctx(), keyturn.HistoryFilter{Page: bad}); err == nil {
		t.Error("History took a bad cursor")
	}
}

func readEmpty(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	rotations, next, err := f.Rotations(f.ctx(), keyturn.RotationFilter{})
	if err != nil || next != "" || len(rotations) != 0 {
		t.Errorf("rotations: %v, %q, %v", rotations, next, err)
	}
	units, next, err := f.Units(f.ctx(), keyturn.UnitFilter{})
	if err != nil || next != "" || len(units) != 0 {
		t.Errorf("units: %v, %q, %v", units, next, err)
	}
	records, next, err := f.History(f.ctx(), keyturn.HistoryFilter{})
	if err != nil || next != "" || len(records) != 0 {
		t.Errorf("history: %v, %q, %v", records, next, err)
	}
}
