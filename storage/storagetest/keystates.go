package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func keyStateTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"AreKept":                              statesKept,
		"OlderAuditTakesNothingBack":           statesOld,
		"BadOnesAreListedInPages":              statesBad,
		"OrphansThatAreNotFoundAgainGo":        statesOrphans,
		"KeysOfHistoryAndSnapshotsAreAudited":  statesToAudit,
		"KnownKeysAreFound":                    statesKnown,
		"DateOfTheKeyInUseMakesItsAgeExact":    statesExact,
		"DateThatDoesNotFitIsLeftAlone":        statesImplausible,
		"DateOfAnOldKeyChangesNothing":         statesOldKey,
		"DateIsNotTakenWhileARotationIsAtWork": statesBusy,
	}
}

func (f *fixture) say(audit int64, states ...keyturn.KeyState) {
	f.t.Helper()
	f.ok(f.SaveKeyStates(f.ctx(), om, audit, states))
}

func statesKept(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.turnedTwice()
	day := func(n int) *time.Time { at := f.clock.Now().Add(time.Duration(n) * keyturn.Day); return &at }
	want := keyturn.KeyState{
		Target: om, KeyID: "k1", State: keyturn.KeyCompromised, Name: "mongo-1", InitialAt: day(-9), ActivationAt: day(-8), DeactivationAt: day(-7),
		CompromiseAt: day(-6), DestroyAt: day(5), Detail: "why", SeenAt: f.clock.Now(),
	}
	f.say(1, want, want)
	states, err := f.KeyStates(f.ctx(), []keyturn.KeyRef{key("k1"), key("k2"), {Target: "other", KeyID: "k1"}})
	f.ok(err)
	if got := states[key("k1")]; len(states) != 1 || got.Name != want.Name || got.State != want.State || !got.InitialAt.Equal(*want.InitialAt) ||
		!got.ActivationAt.Equal(*want.ActivationAt) || !got.DeactivationAt.Equal(*want.DeactivationAt) || !got.CompromiseAt.Equal(*want.CompromiseAt) ||
		!got.DestroyAt.Equal(*want.DestroyAt) || got.Detail != "why" || !got.SeenAt.Equal(want.SeenAt) || got.Orphan {
		t.Errorf("states are %+v", states)
	}
	f.say(2, keyturn.KeyState{KeyID: "k1", State: keyturn.KeyMissing})
	states, err = f.KeyStates(f.ctx(), []keyturn.KeyRef{key("k1")})
	f.ok(err)
	if got := states[key("k1")]; got.State != keyturn.KeyMissing || got.InitialAt != nil || got.Name != "" {
		t.Errorf("state is %+v", got)
	}
	f.say(3)
}

func statesOld(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.turnedTwice()
	f.say(5, keyturn.KeyState{KeyID: "k1", State: keyturn.KeyActive})
	f.say(4, keyturn.KeyState{KeyID: "k1", State: keyturn.KeyMissing})
	states, err := f.KeyStates(f.ctx(), []keyturn.KeyRef{key("k1")})
	f.ok(err)
	if got := states[key("k1")]; got.State != keyturn.KeyActive {
		t.Errorf("state is %+v", got)
	}
}

func statesBad(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.turnedTwice()
	lives := []keyturn.KeyLife{
		keyturn.KeyPreActive, keyturn.KeyActive, keyturn.KeyDeactivated, keyturn.KeyCompromised, keyturn.KeyDestroyed, keyturn.KeyMissing,
		keyturn.KeyDisabled, keyturn.KeyUnclear,
	}
	for i, life := range lives {
		f.say(1, keyturn.KeyState{KeyID: fmt.Sprint("x", i), State: life})
	}
	f.say(1, keyturn.KeyState{KeyID: "y", State: keyturn.KeyActive, Orphan: true})
	var got []string
	for after := (keyturn.KeyRef{}); ; {
		page, err := f.BadKeys(f.ctx(), after, 2)
		f.ok(err)
		for _, s := range page {
			got = append(got, s.KeyID)
			after = keyturn.KeyRef{Target: s.Target, KeyID: s.KeyID}
		}
		if len(page) < 2 {
			break
		}
	}
	if want := []string{"x2", "x3", "x4", "x5", "y"}; !slices.Equal(got, want) {
		t.Errorf("bad keys are %v, want %v", got, want)
	}
}

func statesOrphans(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.turnedTwice()
	f.say(1, keyturn.KeyState{KeyID: "a", State: keyturn.KeyActive, Orphan: true}, keyturn.KeyState{KeyID: "b", State: keyturn.KeyActive, Orphan: true},
		keyturn.KeyState{KeyID: "k1", State: keyturn.KeyDestroyed})
	f.ok(f.EndKeyAudit(f.ctx(), om, 1))
	f.say(2, keyturn.KeyState{KeyID: "b", State: keyturn.KeyActive, Orphan: true})
	f.ok(f.EndKeyAudit(f.ctx(), om, 2))
	bad, err := f.BadKeys(f.ctx(), keyturn.KeyRef{}, 10)
	f.ok(err)
	if len(bad) != 2 || bad[0].KeyID != "b" || !bad[0].Orphan || bad[1].KeyID != "k1" {
		t.Errorf("bad keys are %+v", bad)
	}
}

func statesToAudit(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	f.target("om-2")
	f.ok(f.SaveUnits(f.ctx(), []keyturn.Unit{makeUnit("om-2", "p1", 1)}))
	f.wantObserved(seen("om-2.p1.c001", "", "k9"), keyturn.ObservedFirst)
	f.ok(f.SaveUnits(f.ctx(), []keyturn.Unit{makeUnit("om", "p1", 2)}))
	f.wantObserved(seen("om.p1.c002", "", keyturn.KeyMarkerPrefix+"2026-01-01T00:00:00Z"), keyturn.ObservedFirst)
	f.lookAt(unit, f.snapshot("s1", "ancient", -400*keyturn.Day, keyturn.Day), f.snapshot("s2", "", 0, keyturn.Day), f.snapshot("s3", "k1", 0, keyturn.Day))
	for limit := 1; limit < 6; limit++ {
		var got []string
		for after := ""; ; {
			ids, err := f.KeysToAudit(f.ctx(), om, after, limit)
			f.ok(err)
			if len(ids) == 0 {
				break
			}
			got, after = append(got, ids...), ids[len(ids)-1]
		}
		if want := []string{"ancient", "k0", "k1", "k2"}; !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %v, want %v", limit, got, want)
		}
	}
}

func statesKnown(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	f.lookAt(unit, f.snapshot("s1", "ancient", -400*keyturn.Day, keyturn.Day))
	known, err := f.KnownKeysAmong(f.ctx(), om, []string{"k0", "k7", "ancient", ""})
	f.ok(err)
	slices.Sort(known)
	if !slices.Equal(known, []string{"ancient", "k0"}) {
		t.Errorf("known are %v", known)
	}
	if known, err := f.KnownKeysAmong(f.ctx(), "o", []string{"k0"}); err != nil || len(known) != 0 {
		t.Errorf("known to another are %v, %v", known, err)
	}
}

// firstSeen makes a unit whose key k1 was first seen now, after k0 ten days ago.
func (f *fixture) firstSeen() (unit string) {
	f.t.Helper()
	unit = f.watched()
	f.wantObserved(seen(unit, "", "k0"), keyturn.ObservedFirst)
	f.clock.Advance(10 * keyturn.Day)
	f.wantObserved(seen(unit, "k0", "k1"), keyturn.ObservedChanged)
	return unit
}

func (f *fixture) made(ago time.Duration) *time.Time {
	at := f.clock.Now().Add(-ago)
	return &at
}

func statesExact(t *testing.T, newStore New) {
	for name, state := range map[string]func(*fixture) keyturn.KeyState{
		"initial": func(f *fixture) keyturn.KeyState {
			return keyturn.KeyState{InitialAt: f.made(3 * keyturn.Day), ActivationAt: f.made(2 * keyturn.Day)}
		},
		"activation": func(f *fixture) keyturn.KeyState { return keyturn.KeyState{ActivationAt: f.made(3 * keyturn.Day)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, newStore)
			unit := f.firstSeen()
			s := state(f)
			s.KeyID, s.State = "k1", keyturn.KeyActive
			f.say(1, s)
			if got := f.unit(unit); !got.KeySinceExact || !got.KeySince.Equal(*f.made(3 * keyturn.Day)) {
				t.Errorf("unit is %+v", got)
			}
			if records := f.history(keyturn.HistoryFilter{Unit: unit}); len(records) != 2 || !records[1].From.Equal(f.clock.Now()) {
				t.Errorf("the history is %+v, want it as it was", records)
			}
		})
	}
}

func statesImplausible(t *testing.T, newStore New) {
	for name, state := range map[string]func(*fixture) keyturn.KeyState{
		"after it was seen":     func(f *fixture) keyturn.KeyState { return keyturn.KeyState{InitialAt: f.made(-time.Minute)} },
		"before the key before": func(f *fixture) keyturn.KeyState { return keyturn.KeyState{InitialAt: f.made(11 * keyturn.Day)} },
		"no date":               func(*fixture) keyturn.KeyState { return keyturn.KeyState{} },
		"orphan": func(f *fixture) keyturn.KeyState {
			return keyturn.KeyState{InitialAt: f.made(keyturn.Day), Orphan: true}
		},
		"missing": func(f *fixture) keyturn.KeyState {
			return keyturn.KeyState{InitialAt: f.made(keyturn.Day), State: keyturn.KeyMissing}
		},
		"a clock that was never set": func(*fixture) keyturn.KeyState { at := time.Unix(5, 0); return keyturn.KeyState{InitialAt: &at} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, newStore)
			unit := f.firstSeen()
			s := state(f)
			s.KeyID = "k1"
			if s.State == "" {
				s.State = keyturn.KeyActive
			}
			f.say(1, s)
			if got := f.unit(unit); got.KeySinceExact || !got.KeySince.Equal(f.clock.Now()) {
				t.Errorf("unit is %+v", got)
			}
		})
	}
}

func statesOldKey(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.firstSeen()
	f.say(1, keyturn.KeyState{KeyID: "k0", State: keyturn.KeyActive, InitialAt: f.made(50 * keyturn.Day)})
	if got := f.unit(unit); got.KeySinceExact {
		t.Errorf("unit is %+v", got)
	}
	f.clock.Advance(time.Hour)
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, "k1", "k2")
	since := f.clock.Now()
	f.say(2, keyturn.KeyState{KeyID: "k2", State: keyturn.KeyActive, InitialAt: f.made(time.Minute)})
	if got := f.unit(unit); !got.KeySinceExact || !got.KeySince.Equal(since) {
		t.Errorf("unit is %+v: its age was exact already", got)
	}
}

func statesBusy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.firstSeen()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.mustIntend(tasks[0].ID, "k1")
	f.say(1, keyturn.KeyState{KeyID: "k1", State: keyturn.KeyActive, InitialAt: f.made(keyturn.Day)})
	if got := f.unit(unit); got.KeySinceExact {
		t.Errorf("unit is %+v", got)
	}
}
