package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func backfillTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"TakenSlotsAreThoseWithARotation": backfillTaken,
	}
}

func backfillTaken(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.policy("other", "om", nil)
	one, two := f.slot(time.Hour), f.slot(2*time.Hour)
	for range 2 { // the second time it is there already
		_, _, err := f.Request(f.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerSchedule, Slot: one, Reason: "backfill"})
		f.ok(err)
	}
	_, created, err := f.Request(f.ctx(), keyturn.Request{Policy: "other", Trigger: keyturn.TriggerSchedule, Slot: two})
	f.ok(err)
	if !created {
		t.Error("a slot of another policy was not free")
	}
	_, _, err = f.Request(f.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: two.Name()})
	f.ok(err)
	taken, err := f.TakenSlots(f.ctx(), "quarterly", []string{two.Name(), one.Name(), "never"})
	f.ok(err)
	if !slices.Equal(taken, []string{one.Name()}) {
		t.Errorf("taken are %q, want only %q", taken, one.Name())
	}
	taken, err = f.TakenSlots(f.ctx(), "quarterly", nil)
	f.ok(err)
	if len(taken) != 0 {
		t.Errorf("of no slots %q are taken", taken)
	}
}
