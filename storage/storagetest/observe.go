package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func observeTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"FirstKeyIsRecorded":                   observeFirst,
		"ChangedKeyIsRecordedAndItsAgeBegins":  observeChanged,
		"SameKeyIsNothing":                     observeSame,
		"OpenIntentRefuses":                    observeIntent,
		"LookFromBeforeARotationIsRefused":     observeOld,
		"LookDuringAnIntentThatFailedIsHonest": observeFailedIntent,
		"UnknownUnitAndEmptyKeyAreRefused":     observeUnknown,
		"BesideRotationsNeverGoesBack":         observeRace,
		"TwoLookersRecordAChangeOnce":          observeTwice,
		"IsAnnounced":                          observeAnnounced,
		"ObservedKeyDoesNotSkipARotation":      observeNotTurned,
		"SaveUnitsKeepsKeys":                   observeSaveUnits,
		"KnownKeysSayWhoIsBusy":                observeKnown,
	}
}

func seen(unit, known, key string) keyturn.Observation {
	return keyturn.Observation{Unit: unit, Known: known, KeyID: key}
}

func (f *fixture) observe(o ...keyturn.Observation) []keyturn.ObservedKey {
	f.t.Helper()
	out, err := f.Observe(f.ctx(), o)
	f.ok(err)
	if len(out) != len(o) {
		f.t.Fatalf("%d answers to %d observations", len(out), len(o))
	}
	return out
}

func (f *fixture) wantObserved(o keyturn.Observation, want keyturn.ObservedKey) {
	f.t.Helper()
	if got := f.observe(o)[0]; got != want {
		f.t.Fatalf("%+v is %s, want %s", o, got, want)
	}
}

// watched makes the estate with one unit that was seen but never turned.
func (f *fixture) watched() string {
	f.t.Helper()
	f.estate()
	u := makeUnit("om", "p1", 1)
	f.ok(f.SaveUnits(f.ctx(), []keyturn.Unit{u}))
	return u.ID
}

func observeFirst(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	f.wantObserved(seen(unit, "", "k1"), keyturn.ObservedFirst)
	got := f.unit(unit)
	if got.KeyID != "k1" || got.KeySince == nil || !got.KeySince.Equal(f.clock.Now()) || got.KeySinceExact {
		t.Errorf("unit is %+v", got)
	}
	records := f.history(keyturn.HistoryFilter{Unit: unit})
	if len(records) != 1 || records[0].Origin != keyturn.OriginObserved || records[0].KeyID != "k1" || records[0].PreviousKeyID != "" ||
		!records[0].From.Equal(f.clock.Now()) || records[0].Until != nil || !records[0].Rotation.IsZero() || !records[0].Task.IsZero() {
		t.Errorf("history is %+v", records)
	}
}

func observeChanged(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	unit := tasks[0].Unit
	f.turn(tasks[0].ID, "k0", "k1")
	f.clock.Advance(30 * keyturn.Day)
	f.wantObserved(seen(unit, "k1", "k2"), keyturn.ObservedChanged)
	got := f.unit(unit)
	if got.KeyID != "k2" || !got.KeySince.Equal(f.clock.Now()) || got.KeySinceExact {
		t.Errorf("unit is %+v", got)
	}
	records := f.history(keyturn.HistoryFilter{Unit: unit})
	if n := len(records); n != 3 {
		t.Fatalf("history is %+v", records)
	}
	if k := records[2]; k.Origin != keyturn.OriginObserved || k.PreviousKeyID != "k1" || k.KeyID != "k2" {
		t.Errorf("record is %+v", k)
	}
	if k := records[1]; k.Until == nil || !k.Until.Equal(f.clock.Now()) {
		t.Errorf("the key before is %+v, want it to end now", k)
	}
}

func observeSame(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	f.wantObserved(seen(unit, "", "k1"), keyturn.ObservedFirst)
	since := f.clock.Now()
	f.drain()
	f.clock.Advance(time.Hour)
	f.wantObserved(seen(unit, "k1", "k1"), keyturn.ObservedSame)
	if got := f.unit(unit); !got.KeySince.Equal(since) {
		t.Errorf("the key's age began anew: %+v", got)
	}
	if n := len(f.history(keyturn.HistoryFilter{})); n != 1 {
		t.Errorf("%d key records", n)
	}
	if notes := f.drain(); len(notes) != 0 {
		t.Errorf("announced %+v", notes)
	}
}

func observeIntent(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "k0")
	f.wantObserved(seen(tasks[0].Unit, "", "k1"), keyturn.ObservedRefused) // our own change, seen early
	f.mustFinish(succeeded(tasks[0].ID, epoch, "k1"))
	f.wantObserved(seen(tasks[0].Unit, "", "k1"), keyturn.ObservedRefused)
	f.wantObserved(seen(tasks[0].Unit, "k1", "k1"), keyturn.ObservedSame)
	if got := f.unit(tasks[0].Unit); !got.KeySinceExact || got.KeyID != "k1" {
		t.Errorf("unit is %+v", got)
	}
}

func observeOld(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	f.wantObserved(seen(unit, "", "k0"), keyturn.ObservedFirst)
	known, err := f.KnownKeys(f.ctx(), []string{unit}) // the look begins, and sees k0
	f.ok(err)
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, "k0", "k1")
	f.wantObserved(seen(unit, known[unit].KeyID, "k0"), keyturn.ObservedRefused)
	if got := f.unit(unit); got.KeyID != "k1" {
		t.Errorf("an old look took the key back: %+v", got)
	}
	if n := len(f.history(keyturn.HistoryFilter{Unit: unit})); n != 2 {
		t.Errorf("%d key records", n)
	}
}

func observeFailedIntent(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	unit := tasks[0].Unit
	f.wantObserved(seen(unit, "", "k0"), keyturn.ObservedFirst)
	epoch := f.mustIntend(tasks[0].ID, "k0")
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskFailed, Reason: "refused"})
	f.wantObserved(seen(unit, "k0", "k0"), keyturn.ObservedSame)
	f.wantObserved(seen(unit, "k0", "k9"), keyturn.ObservedChanged)
}

func observeUnknown(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	got := f.observe(seen("om.p1.nobody", "", "k1"), seen(unit, "", ""), seen(unit, "", "k1"))
	if got[0] != keyturn.ObservedRefused || got[1] != keyturn.ObservedRefused || got[2] != keyturn.ObservedFirst {
		t.Errorf("answers are %v", got)
	}
	if out, err := f.Observe(f.ctx(), nil); err != nil || len(out) != 0 {
		t.Errorf("nothing observed: %v, %v", out, err)
	}
}

// observeRace turns units while lookers record what they saw a moment ago: what rotations recorded stands.
func observeRace(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	const n = 20
	units := makeUnits("om", "p1", n)
	_, tasks := f.running("quarterly", units...)
	var first []keyturn.Observation
	for _, u := range units {
		first = append(first, seen(u.ID, "", "k0-"+u.ID))
	}
	f.observe(first...)
	together(4, func(i int) {
		if i == 0 {
			for _, task := range tasks {
				out, err := f.Intend(f.ctx(), []keyturn.IntentWrite{f.write(task.ID, "k0-"+task.Unit)})
				if err != nil || out[0].Verdict != keyturn.VerdictGo {
					t.Errorf("intent: %+v, %v", out, err)
					return
				}
				if ok, err := f.Finish(f.ctx(), []keyturn.TaskResult{succeeded(task.ID, out[0].Epoch, "k1-"+task.Unit)}); err != nil || !ok.Taken[0] {
					t.Errorf("result: %v, %v", ok, err)
				}
			}
			return
		}
		for range 5 {
			var late []keyturn.Observation
			for _, u := range units {
				late = append(late, seen(u.ID, "k0-"+u.ID, "k0-"+u.ID), seen(u.ID, "k0-"+u.ID, "k0-"+u.ID))
			}
			if _, err := f.Observe(f.ctx(), late); err != nil {
				t.Error(err)
			}
		}
	})
	for _, u := range units {
		if got := f.unit(u.ID); got.KeyID != "k1-"+u.ID || !got.KeySinceExact {
			t.Errorf("unit is %+v", got)
		}
	}
	if records := f.history(keyturn.HistoryFilter{}); len(records) != 2*n {
		t.Errorf("%d key records, want %d", len(records), 2*n)
	}
}

func observeTwice(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	f.wantObserved(seen(unit, "", "k1"), keyturn.ObservedFirst)
	results := make([]keyturn.ObservedKey, 4)
	together(4, func(i int) {
		out, err := f.Observe(f.ctx(), []keyturn.Observation{seen(unit, "k1", "k2")})
		if err != nil {
			t.Error(err)
			return
		}
		results[i] = out[0]
	})
	slices.Sort(results)
	if results[0] != keyturn.ObservedChanged || results[1] != keyturn.ObservedRefused || results[3] != keyturn.ObservedRefused {
		t.Errorf("results are %v, want one change", results)
	}
	if n := len(f.history(keyturn.HistoryFilter{})); n != 2 {
		t.Errorf("%d key records, want 2", n)
	}
}

func observeAnnounced(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	units := makeUnits("om", "p1", 3)
	f.ok(f.SaveUnits(f.ctx(), units))
	f.drain()
	f.observe(seen(units[0].ID, "", "k1"), seen(units[1].ID, "wrong", "k1"), seen(units[2].ID, "", "k3"))
	notes := f.drain()
	if len(notes) != 1 || notes[0].Type != "keys" || len(notes[0].Keys) != 2 || len(notes[0].Tasks) != 0 || !notes[0].Rotation.IsZero() {
		t.Fatalf("announced %+v", notes)
	}
	records, err := f.AnnouncedKeys(f.ctx(), notes[0].Keys)
	f.ok(err)
	var got []string
	for _, k := range records {
		got = append(got, k.Unit+"="+k.KeyID+" "+string(k.Origin))
	}
	slices.Sort(got)
	if want := []string{units[0].ID + "=k1 observed", units[2].ID + "=k3 observed"}; !slices.Equal(got, want) {
		t.Errorf("announced keys are %v, want %v", got, want)
	}
}

func observeNotTurned(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.clock.Advance(time.Minute)
	f.wantObserved(seen(tasks[0].Unit, "", "k1"), keyturn.ObservedFirst)
	f.clock.Advance(time.Minute)
	f.wantObserved(seen(tasks[0].Unit, "k1", "k2"), keyturn.ObservedChanged)
	f.turn(tasks[0].ID, "k2", "k3") // nobody knows since when the key is in use
}

func observeSaveUnits(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	f.wantObserved(seen(unit, "", "k1"), keyturn.ObservedFirst)
	u := makeUnit("om", "p1", 1)
	u.FCV, u.Rotatable, u.Reason = "4.2", false, "too new"
	f.ok(f.SaveUnits(f.ctx(), []keyturn.Unit{u, makeUnit("om", "p1", 2)}))
	got := f.unit(unit)
	if got.KeyID != "k1" || got.FCV != "4.2" || got.Rotatable || got.Reason != "too new" {
		t.Errorf("unit is %+v", got)
	}
	if got := f.unit("om.p1.c002"); got.KeyID != "" || !got.Rotatable {
		t.Errorf("unit is %+v", got)
	}
	f.ok(f.SaveUnits(f.ctx(), makeUnits("om", "p2", 2500))) // more than one statement
}

func observeKnown(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	units := makeUnits("om", "p1", 3)
	_, tasks := f.running("quarterly", units...)
	f.turn(tasks[0].ID, "k0", "k1")
	f.mustIntend(tasks[1].ID, "k0")
	known, err := f.KnownKeys(f.ctx(), []string{tasks[0].Unit, tasks[1].Unit, tasks[2].Unit, "om.p1.nobody"})
	f.ok(err)
	want := map[string]keyturn.KnownKey{tasks[0].Unit: {KeyID: "k1"}, tasks[1].Unit: {Busy: true}, tasks[2].Unit: {}}
	if fmt.Sprint(known) != fmt.Sprint(want) {
		t.Errorf("known keys are %v, want %v", known, want)
	}
}
