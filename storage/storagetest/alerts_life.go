package storagetest

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// old makes an estate of units whose keys have just passed 90 days.
func (f *fixture) old(n int) {
	f.t.Helper()
	f.estate()
	f.turned(makeUnits("om", "p1", n)...)
	f.tell(f.after(90*day), keyturn.AlertKeyAge, keyturn.AlertFiring)
}

func (f *fixture) ack(id keyturn.ID, ack keyturn.Ack) keyturn.Alert {
	f.t.Helper()
	a, err := f.AckAlert(f.ctx(), id, ack)
	f.ok(err)
	return a
}

func alertAcknowledged(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.old(1)
	a := f.oneOpen(keyturn.AlertKeyAge)
	until := f.clock.Now().Add(time.Hour)
	got := f.ack(a.ID, keyturn.Ack{By: "ada", Until: &until, Note: "on it"})
	if got.State != keyturn.AlertAcknowledged || got.AckedBy != "ada" || got.AckedUntil == nil || !got.AckedUntil.Equal(until) || got.AckNote != "on it" {
		t.Errorf("alert is %+v", got)
	}
	told := f.tell(f.told(), keyturn.AlertKeyAge, keyturn.AlertAcknowledged)
	if told.Count != 1 || len(told.Alerts) != 1 || !strings.Contains(told.Message, "ada") {
		t.Errorf("notice is %+v", told)
	}
	f.quiet(f.after(30 * time.Minute))
	again := f.tell(f.after(30*time.Minute), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if again.Alerts[0].ID != a.ID || f.oneOpen(keyturn.AlertKeyAge).AckedBy != "" {
		t.Errorf("notice is %+v", again)
	}
	f.ack(a.ID, keyturn.Ack{By: "bob"})
	f.told()
	f.quiet(f.after(20 * day)) // also no reminder
	if got, want := f.states(a.ID), "firing/warning acknowledged/warning firing/warning acknowledged/warning"; got != want {
		t.Errorf("history is %s, want %s", got, want)
	}
}

func alertAcknowledgedWorse(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.old(1)
	f.ack(f.oneOpen(keyturn.AlertKeyAge).ID, keyturn.Ack{By: "ada"})
	f.told()
	told := f.tell(f.after(276*day), keyturn.AlertKeyAge, keyturn.AlertFiring)
	a := f.oneOpen(keyturn.AlertKeyAge)
	if told.Severity != keyturn.SeverityCritical || a.State != keyturn.AlertFiring || a.AckedBy != "" {
		t.Errorf("alert is %+v", a)
	}
}

func alertAcknowledgedGroup(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.old(60)
	f.ack(f.open(keyturn.AlertKeyAge)[7].ID, keyturn.Ack{By: "ada", Group: true})
	told := f.tell(f.told(), keyturn.AlertKeyAge, keyturn.AlertAcknowledged)
	if told.Count != 60 || len(told.Alerts) != keyturn.NoticeAlerts || told.Message != "acknowledged by ada: 60 alerts" {
		t.Errorf("notice is %+v", told)
	}
	for _, a := range f.open(keyturn.AlertKeyAge) {
		if a.State != keyturn.AlertAcknowledged {
			t.Fatalf("alert is %+v", a)
		}
	}
}

func alertAcknowledgedLate(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.old(1)
	a := f.oneOpen(keyturn.AlertKeyAge)
	f.apply(keyturn.KindPolicy, "quarterly", nil)
	f.after(time.Minute)
	_, err := f.AckAlert(f.ctx(), a.ID, keyturn.Ack{By: "ada"})
	f.is(err, keyturn.ErrConflict)
	_, err = f.AckAlert(f.ctx(), keyturn.NewID(f.clock.Now()), keyturn.Ack{By: "ada"})
	f.is(err, keyturn.ErrNotFound)
	_, _, err = f.Alert(f.ctx(), keyturn.NewID(f.clock.Now()))
	f.is(err, keyturn.ErrNotFound)
}

func alertRepeats(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.old(2)
	f.quiet(f.after(7*day - time.Minute))
	f.tell(f.after(time.Minute), keyturn.AlertKeyAge, keyturn.AlertFiring)
	f.quiet(f.after(time.Hour))
	f.tell(f.after(7*day), keyturn.AlertKeyAge, keyturn.AlertFiring)
}

func alertRepeatsByPolicy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.apply(keyturn.KindPolicy, "quarterly", policySpec(func(p *keyturn.Policy) { p.Alerts.Repeat = keyturn.Duration(time.Hour) }))
	f.turned(makeUnits("om", "p1", 2)...)
	f.tell(f.after(85*day), keyturn.AlertKeyDueSoon, keyturn.AlertFiring)
	f.quiet(f.after(2 * day)) // info is not repeated
	f.after(4 * day)
	f.tell(f.after(time.Hour), keyturn.AlertKeyAge, keyturn.AlertFiring)
}

func alertSilenced(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned(makeUnits("om", "p1", 2)...)
	ends := f.clock.Now().Add(100 * day)
	f.apply(keyturn.KindSilence, "move", keyturn.Silence{
		Match: keyturn.SilenceMatch{Kinds: []string{"key.*"}, Targets: []string{"o?"}}, EndsAt: ends, Reason: "moving",
	})
	f.quiet(f.after(91 * day))
	if open := f.open(keyturn.AlertKeyAge); len(open) != 2 || open[0].LastNotifiedAt != nil {
		t.Fatalf("open alerts are %+v, want two that nobody was told of", open)
	}
	told := f.tell(f.after(9*day), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if told.Count != 2 || f.open(keyturn.AlertKeyAge)[0].LastNotifiedAt == nil {
		t.Errorf("notice is %+v", told)
	}
}

func alertSilencedCluster(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned(makeUnits("om", "p1", 3)...)
	f.apply(keyturn.KindSilence, "move", keyturn.Silence{
		Match: keyturn.SilenceMatch{Clusters: []string{"c001-*"}}, EndsAt: f.clock.Now().Add(200 * day),
	})
	told := f.tell(f.after(91*day), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if told.Count != 2 || len(told.Alerts) != 2 {
		t.Errorf("notice is %+v, want two of three alerts", told)
	}
	for _, a := range f.open(keyturn.AlertKeyAge) {
		if silent := a.Subject == "om.p1.c001"; silent != (a.LastNotifiedAt == nil) {
			t.Errorf("alert of %s was told at %v", a.Subject, a.LastNotifiedAt)
		}
	}
	f.apply(keyturn.KindSilence, "move", nil)
	told = f.tell(f.after(2*time.Hour), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if told.Count != 3 || f.open(keyturn.AlertKeyAge)[1].LastNotifiedAt == nil {
		t.Errorf("notice without the silence is %+v", told)
	}
}
