package storagetest

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func nameTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"ShownInThePlaceOfTheMarker":        nameShown,
		"UnnamedKeysSayWhenTheyWereInUse":   nameUnnamed,
		"TheFirstNameStays":                 nameStays,
		"AreOfOneUnitOnly":                  nameOfUnit,
		"AreAppendOnly":                     nameAppendOnly,
		"MarkersAreWhatIsLookedAt":          nameNotLooked,
		"ObservedMarkersTellTheirOwnTime":   nameOwnTime,
		"ATimeThatCannotBeIsNotBelieved":    nameBadTime,
		"OtherKeysHaveNoNames":              nameOther,
		"UnitsThatAreNotThereHaveNoUnnamed": nameNothing,
	}
}

const (
	marker2 = keyturn.KeyMarkerPrefix + "2026-02-02T03:04:05Z"
	neverID = keyturn.KeyMarkerPrefix + "never"
)

// marked makes a unit whose key was never turned and then was, and the rotation that did it.
func (f *fixture) marked() (unit string, rotation keyturn.ID) {
	f.t.Helper()
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, neverID, marker2)
	return tasks[0].Unit, r.ID
}

func (f *fixture) name(unit, marker, key string) {
	f.t.Helper()
	f.ok(f.NameKeys(f.ctx(), []keyturn.KeyName{{Unit: unit, Marker: marker, KeyID: key}}))
}

func nameShown(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit, rotation := f.marked()
	if got := f.unit(unit).KeyID; got != marker2 {
		t.Errorf("unit has key %s before it is named", got)
	}
	f.name(unit, marker2, "key-2")
	f.name(unit, neverID, "key-1")
	if got := f.unit(unit).KeyID; got != "key-2" {
		t.Errorf("unit has key %s", got)
	}
	records := f.history(keyturn.HistoryFilter{Unit: unit})
	last := records[len(records)-1]
	if last.KeyID != "key-2" || last.PreviousKeyID != "key-1" {
		t.Errorf("history says %+v", last)
	}
	tasks, _, err := f.Tasks(f.ctx(), rotation, keyturn.Page{})
	f.ok(err)
	if len(tasks) != 1 || tasks[0].KeyBefore != "key-1" || tasks[0].KeyAfter != "key-2" {
		t.Errorf("tasks %+v", tasks)
	}
	if tasks, err = f.TasksOfUnit(f.ctx(), unit, 10); err != nil || len(tasks) != 1 || tasks[0].KeyAfter != "key-2" {
		t.Errorf("tasks of the unit %+v, %v", tasks, err)
	}
}

func nameUnnamed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	unit := makeUnit("om", "p1", 1)
	f.ok(f.SaveUnits(f.ctx(), []keyturn.Unit{unit}))
	f.wantObserved(seen(unit.ID, "", neverID), keyturn.ObservedFirst)
	first := f.clock.Now()
	f.clock.Advance(time.Hour)
	_, tasks := f.running("quarterly", unit)
	f.turn(tasks[0].ID, neverID, marker2)
	second := f.clock.Now()
	unnamed, err := f.UnnamedKeys(f.ctx(), []string{unit.ID, "om.p.nobody"})
	f.ok(err)
	if len(unnamed) != 2 || unnamed[0].Marker != neverID || unnamed[1].Marker != marker2 || unnamed[0].Unit != unit.ID {
		t.Fatalf("unnamed %+v", unnamed)
	}
	if !unnamed[0].From.Equal(first) || unnamed[0].Until == nil || !unnamed[0].Until.Equal(second) || !unnamed[0].Observed {
		t.Errorf("the first is %+v", unnamed[0])
	}
	if !unnamed[1].From.Equal(second) || unnamed[1].Until != nil || unnamed[1].Observed {
		t.Errorf("the second is %+v", unnamed[1])
	}
	f.name(unit.ID, neverID, "key-1")
	if unnamed, err = f.UnnamedKeys(f.ctx(), []string{unit.ID}); err != nil || len(unnamed) != 1 || unnamed[0].Marker != marker2 {
		t.Errorf("unnamed %+v, %v", unnamed, err)
	}
}

func nameStays(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit, _ := f.marked()
	f.name(unit, marker2, "key-2")
	f.name(unit, marker2, "key-3")
	if got := f.unit(unit).KeyID; got != "key-2" {
		t.Errorf("unit has key %s", got)
	}
	f.ok(f.NameKeys(f.ctx(), nil))
}

func nameOfUnit(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1), makeUnit("om", "p1", 2))
	for _, task := range tasks {
		f.turn(task.ID, neverID, marker2)
	}
	f.name(tasks[0].Unit, marker2, "key-2")
	if a, b := f.unit(tasks[0].Unit).KeyID, f.unit(tasks[1].Unit).KeyID; a != "key-2" || b != marker2 {
		t.Errorf("units have keys %s, %s", a, b)
	}
}

func nameAppendOnly(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit, _ := f.marked()
	f.name(unit, marker2, "key-2")
	for _, sql := range []string{"UPDATE key_names SET key_id = 'other'", "DELETE FROM key_names"} {
		if err := f.Exec(f.ctx(), sql); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if err := f.NameKeys(f.ctx(), []keyturn.KeyName{{Unit: unit, Marker: "an-id", KeyID: "x"}}); err == nil {
		t.Error("what is no marker got a name")
	}
}

// Looks compare with what was recorded, whatever its name is by now.
func nameNotLooked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit, _ := f.marked()
	f.name(unit, marker2, "key-2")
	known, err := f.KnownKeys(f.ctx(), []string{unit})
	f.ok(err)
	if known[unit].KeyID != marker2 {
		t.Errorf("known is %+v", known)
	}
	f.wantObserved(seen(unit, marker2, marker2), keyturn.ObservedSame)
}

func nameOwnTime(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	at := f.clock.Now().Add(-30 * 24 * time.Hour).Truncate(time.Second)
	o := seen(unit, "", keyturn.KeyMarkerPrefix+at.Format(time.RFC3339))
	o.Since = at
	f.wantObserved(o, keyturn.ObservedFirst)
	if got := f.unit(unit); got.KeySince == nil || !got.KeySince.Equal(at) || !got.KeySinceExact {
		t.Errorf("unit %+v, want its key since %s", got, at)
	}
	next := seen(unit, o.KeyID, keyturn.KeyMarkerPrefix+at.Add(time.Hour).Format(time.RFC3339))
	next.Since = at.Add(time.Hour)
	f.wantObserved(next, keyturn.ObservedChanged)
	records := f.history(keyturn.HistoryFilter{Unit: unit})
	if len(records) != 2 || !records[0].From.Equal(at) || records[0].Until == nil || !records[0].Until.Equal(next.Since) || !records[1].From.Equal(next.Since) {
		t.Errorf("history %+v", records)
	}
}

func nameBadTime(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	future := seen(unit, "", "k1")
	future.Since = f.clock.Now().Add(time.Hour)
	f.wantObserved(future, keyturn.ObservedFirst)
	if got := f.unit(unit); !got.KeySince.Equal(f.clock.Now()) || got.KeySinceExact {
		t.Errorf("unit %+v: a key of the future", got)
	}
	f.clock.Advance(time.Hour)
	early := seen(unit, "k1", "k2")
	early.Since = f.clock.Now().Add(-2 * time.Hour) // before the key before was seen
	f.wantObserved(early, keyturn.ObservedChanged)
	if got := f.unit(unit); !got.KeySince.Equal(f.clock.Now()) || got.KeySinceExact {
		t.Errorf("unit %+v: its key is older than the one before", got)
	}
}

func nameOther(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, "k0", "k1")
	unnamed, err := f.UnnamedKeys(f.ctx(), []string{tasks[0].Unit})
	if err != nil || len(unnamed) != 0 {
		t.Errorf("unnamed %+v, %v", unnamed, err)
	}
}

func nameNothing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	for _, units := range [][]string{nil, {"om.p.nobody"}} {
		if unnamed, err := f.UnnamedKeys(f.ctx(), units); err != nil || len(unnamed) != 0 {
			t.Errorf("unnamed %+v, %v", unnamed, err)
		}
	}
}
