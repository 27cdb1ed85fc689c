package storagetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func pageTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"FleetHasEachUnitWithItsKey":       fleetUnits,
		"FleetShowsTheTaskThatSaysMost":    fleetTasks,
		"FleetOfOneTarget":                 fleetTarget,
		"TasksOfAUnitNewestFirst":          tasksOfUnit,
		"RotationsBetweenTimesPage":        rotationsBetween,
		"RotationsBetweenTimesAreExact":    rotationsBounds,
		"TasksOfWhatIsNoUnitAreAnError":    tasksOfNoUnit,
		"FleetOfAnEmptyDatabaseIsNoError":  fleetEmpty,
		"TasksOfAnUnknownUnitAreNoneThere": tasksOfUnknown,
	}
}

func (f *fixture) fleet(target string) map[string]keyturn.FleetUnit {
	f.t.Helper()
	units, err := f.FleetUnits(f.ctx(), target)
	f.ok(err)
	out := make(map[string]keyturn.FleetUnit, len(units))
	for _, u := range units {
		if _, twice := out[u.ID]; twice {
			f.t.Errorf("unit %s is there twice", u.ID)
		}
		out[u.ID] = u
	}
	return out
}

func fleetUnits(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	units := makeUnits("om", "p1", 3)
	units[2].Rotatable, units[2].Reason = false, "no backup"
	_, tasks := f.running("quarterly", units...)
	f.turn(tasks[0].ID, "a", "b")
	got := f.fleet("")
	if len(got) != 3 {
		t.Fatalf("fleet has %d units", len(got))
	}
	turned := got[tasks[0].Unit]
	if turned.KeySince == nil || !turned.KeySince.Equal(f.clock.Now()) || !turned.KeySinceExact || turned.Task != "" || !turned.Rotatable {
		t.Errorf("turned unit is %+v", turned)
	}
	if u := got[units[2].ID]; u.KeySince != nil || u.Rotatable || u.Reason != "no backup" || u.ProjectName != "p1-name" || u.ProjectID != "p1" ||
		u.ClusterName != "c002-name" || u.ClusterID != "c002" || u.Component != keyturn.ComponentReplicaSet || u.Name != "rs2" || u.Target != "om" {
		t.Errorf("unit is %+v", u)
	}
}

func fleetTasks(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, first := f.running("quarterly", makeUnits("om", "p1", 4)...)
	f.park(first[0].ID)
	f.mustIntend(first[1].ID, "a")
	f.fail(first[2].ID)
	_, _ = f.running("quarterly", makeUnits("om", "p1", 2)...) // pending, of both
	got := f.fleet("")
	for i, want := range []keyturn.TaskState{keyturn.TaskParked, keyturn.TaskIntended, "", keyturn.TaskPending} {
		if u := got[first[i].Unit]; u.Task != want {
			t.Errorf("unit %d has a task that is %q, want %q", i, u.Task, want)
		}
	}
}

func fleetTarget(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.target("om2")
	f.policy("other", "om2", nil)
	f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.running("other", makeUnits("om2", "p1", 1)...)
	if all, one := f.fleet(""), f.fleet("om2"); len(all) != 3 || len(one) != 1 {
		t.Errorf("%d units, %d of one target", len(all), len(one))
	}
}

func fleetEmpty(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	if got := f.fleet(""); len(got) != 0 {
		t.Errorf("fleet is %v", got)
	}
}

func tasksOfUnit(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	var want []keyturn.ID
	for i := range 4 {
		f.clock.Advance(time.Hour)
		units := []keyturn.Unit{u, makeUnit("om", "p1", 2)}
		if i == 2 { // a rotation without it
			units = units[1:]
		}
		r, tasks := f.running("quarterly", units...)
		if i != 2 {
			want = append(want, r.ID)
		}
		for _, task := range tasks {
			f.fail(task.ID)
		}
	}
	slices.Reverse(want)
	got, err := f.TasksOfUnit(f.ctx(), u.ID, 2)
	f.ok(err)
	if len(got) != 2 || got[0].Rotation != want[0] || got[1].Rotation != want[1] || got[0].Unit != u.ID || got[0].State != keyturn.TaskFailed {
		t.Errorf("tasks are %+v, want of the rotations %v", got, want)
	}
}

func tasksOfUnknown(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	got, err := f.TasksOfUnit(f.ctx(), "om.p1.none", 5)
	f.ok(err)
	if len(got) != 0 {
		t.Errorf("tasks are %v", got)
	}
}

func tasksOfNoUnit(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	if _, err := f.TasksOfUnit(f.ctx(), "nonsense", 5); err == nil {
		t.Error("no error")
	}
}

// hourly requests n rotations, one an hour, the first an hour from now.
func (f *fixture) hourly(n int) {
	f.t.Helper()
	for i := range n {
		f.clock.Advance(time.Hour)
		_, _, err := f.Request(f.ctx(), keyturn.Request{
			Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: fmt.Sprint("r", i+1), Reason: fmt.Sprint(i + 1),
		})
		f.ok(err)
	}
}

// between lists rotations by their reasons.
func (f *fixture) between(from, to time.Time, limit int) string {
	f.t.Helper()
	var got []string
	filter := keyturn.RotationFilter{From: from, To: to, Page: keyturn.Page{Limit: limit}}
	for {
		rotations, next, err := f.Rotations(f.ctx(), filter)
		f.ok(err)
		for _, r := range rotations {
			got = append(got, r.Reason)
		}
		if next == "" {
			return strings.Join(got, " ")
		}
		filter.Page.After = next
	}
}

func rotationsBetween(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	begin := f.clock.Now()
	f.hourly(9)
	if got := f.between(begin.Add(3*time.Hour), begin.Add(8*time.Hour), 2); got != "7 6 5 4 3" {
		t.Errorf("listed %s, want 7 to 3", got)
	}
}

func rotationsBounds(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	begin := f.clock.Now()
	f.hourly(4)
	for _, test := range []struct {
		from, to time.Time
		want     string
	}{
		{time.Time{}, time.Time{}, "4 3 2 1"},
		{begin.Add(3 * time.Hour), time.Time{}, "4 3"},
		{time.Time{}, begin.Add(3 * time.Hour), "2 1"},
		{begin.Add(10 * 24 * time.Hour), time.Time{}, ""},
		{time.Time{}, begin.Add(-10 * 24 * time.Hour), ""},
	} {
		if got := f.between(test.from, test.to, 100); got != test.want {
			t.Errorf("from %v to %v: listed %q, want %q", test.from, test.to, got, test.want)
		}
	}
}
