package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func requestTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"InsertsARotation":                  requestInserts,
		"SameTriggerIDIsTheSameRotation":    requestSameTrigger,
		"TriggerIDOfAnotherPolicyConflicts": requestOtherPolicy,
		"SameSlotIsTheSameRotation":         requestSameSlot,
		"UnknownPolicyIsNotFound":           requestUnknown,
		"AnnouncesOnce":                     requestAnnounces,
	}
}

func requestInserts(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, created, err := f.Request(f.ctx(), keyturn.Request{
		Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: "ticket-7", Reason: "leak", RequestedBy: "ann",
		Only: keyturn.Selection{Projects: []string{"p1"}},
	})
	f.ok(err)
	if !created || r.ID.IsZero() || r.State != keyturn.RotationRequested || r.Policy != "quarterly" || r.Target != "om" ||
		r.TriggerID != "ticket-7" || r.Slot != "" || !r.RequestedAt.Equal(f.clock.Now()) {
		t.Errorf("created %v: %+v", created, r)
	}
	got := f.rotation(r.ID)
	if got.Reason != "leak" || got.RequestedBy != "ann" || !slices.Equal(got.Only.Projects, []string{"p1"}) ||
		got.StartedAt != nil || got.FinishedAt != nil || got.Counts != (keyturn.Counts{}) || got.Tasks != nil {
		t.Errorf("rotation is %+v", got)
	}
	_, err = f.Rotation(f.ctx(), keyturn.NewID(f.clock.Now()))
	f.is(err, keyturn.ErrNotFound)
}

func requestSameTrigger(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	req := keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: "x", Reason: "first"}
	first, _, err := f.Request(f.ctx(), req)
	f.ok(err)
	f.clock.Advance(time.Hour)
	req.Reason = "second"
	second, created, err := f.Request(f.ctx(), req)
	f.ok(err)
	if created || second.ID != first.ID || second.Reason != "first" || !second.RequestedAt.Equal(first.RequestedAt) {
		t.Errorf("created %v: %+v, want the first %+v", created, second, first)
	}
}

func requestOtherPolicy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.policy("monthly", "om", nil)
	req := keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: "x"}
	_, _, err := f.Request(f.ctx(), req)
	f.ok(err)
	req.Policy = "monthly"
	_, _, err = f.Request(f.ctx(), req)
	f.is(err, keyturn.ErrConflict)
}

func requestSameSlot(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.policy("monthly", "om", nil)
	req := keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerSchedule, Slot: f.slot(0)}
	first, created, err := f.Request(f.ctx(), req)
	f.ok(err)
	if !created || first.Slot != req.Slot.Name() {
		t.Errorf("created %v: %+v", created, first)
	}
	second, created, err := f.Request(f.ctx(), req)
	f.ok(err)
	if created || second.ID != first.ID {
		t.Errorf("created %v: %s, want %s", created, second.ID, first.ID)
	}
	req.Policy = "monthly"
	third, created, err := f.Request(f.ctx(), req)
	f.ok(err)
	if !created || third.ID == first.ID {
		t.Error("the same slot of another policy is another rotation")
	}
}

func requestUnknown(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	_, _, err := f.Request(f.ctx(), keyturn.Request{Policy: "nobody", Trigger: keyturn.TriggerManual, TriggerID: "x"})
	f.is(err, keyturn.ErrNotFound)
}

func requestAnnounces(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	req := keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: "x"}
	first, _, err := f.Request(f.ctx(), req)
	f.ok(err)
	_, _, err = f.Request(f.ctx(), req)
	f.ok(err)
	notes := f.drain()
	if len(notes) != 1 || notes[0].Type != "rotation.requested" || notes[0].Rotation != first.ID || len(notes[0].Tasks) != 0 {
		t.Errorf("announcements are %+v, want one request", notes)
	}
}
