package storagetest

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
)

func alertKeyAge(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned(makeUnit("om", "p1", 1))
	f.quiet(f.after(82 * day))
	soon := f.tell(f.after(day), keyturn.AlertKeyDueSoon, keyturn.AlertFiring)
	if soon.Severity != keyturn.SeverityInfo || !strings.Contains(soon.Message, "will be 90 days old on 2026-05-30") {
		t.Errorf("due soon: %+v", soon)
	}
	told := f.after(7 * day)
	if len(told) != 2 || told[0].State == told[1].State {
		t.Fatalf("told %s, want the end of due_soon and the beginning of age", show(told))
	}
	a := f.oneOpen(keyturn.AlertKeyAge)
	if a.Severity != keyturn.SeverityWarning || a.State != keyturn.AlertFiring || a.Subject != "om.p1.c001" || a.Policy != "quarterly" ||
		a.Target != "om" || a.Cluster != "c001-name" || a.LastNotifiedAt == nil || !strings.Contains(a.Message, "in use since 2026-03-01") {
		t.Errorf("alert is %+v", a)
	}
	f.clock.Advance(276 * day)
	worse := f.tell(f.after(0), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if worse.Severity != keyturn.SeverityCritical || worse.Count != 1 || len(worse.Alerts) != 1 || worse.Alerts[0].ID != a.ID {
		t.Errorf("escalation is %+v", worse)
	}
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.turnAllTo(tasks, "newer")
	over := f.tell(f.after(2*time.Second), keyturn.AlertKeyAge, keyturn.AlertResolved)
	if over.Count != 0 || over.Severity != keyturn.SeverityCritical || over.Group != worse.Group {
		t.Errorf("end is %+v", over)
	}
	if got, want := f.states(a.ID), "firing/warning firing/critical resolved/critical"; got != want {
		t.Errorf("history is %s, want %s", got, want)
	}
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	f.drain()
	f.quiet(f.after(day))
}

// alertIncremental has one evaluator all along, which looks only at keys that reach an age.
func alertIncremental(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.evaluator = alerts.New(alerts.Config{Owner: "sweeper-1", Store: f.Store})
	for i := range 30 {
		f.turned(makeUnit("om", "p1", i))
		f.quiet(f.after(20 * time.Second))
	}
	f.clock.Advance(83*day - 5*time.Minute)
	f.evaluate()
	for range 20 {
		f.after(30 * time.Second)
	}
	if open := f.open(keyturn.AlertKeyDueSoon); len(open) != 30 {
		t.Errorf("%d keys are due soon, want all 30", len(open))
	}
	f.clock.Advance(7*day - 5*time.Minute)
	for range 20 {
		f.after(30 * time.Second)
	}
	if open := f.open(keyturn.AlertKeyAge); len(open) != 30 || len(f.open(keyturn.AlertKeyDueSoon)) != 0 {
		t.Errorf("%d keys are old, want all 30", len(open))
	}
	f.apply(keyturn.KindPolicy, "quarterly", policySpec(func(p *keyturn.Policy) { p.Alerts.CriticalAfter = keyturn.Duration(91 * day) }))
	f.after(day)
	for _, a := range f.open(keyturn.AlertKeyAge) {
		if a.Severity != keyturn.SeverityCritical {
			t.Fatalf("alert is %+v, want critical", a)
		}
	}
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 30)...)
	f.turnAllTo(tasks, "newer")
	f.tell(f.after(2*time.Second), keyturn.AlertKeyAge, keyturn.AlertResolved)
}

func alertInexact(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "found")
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskFailed, Reason: "refused"})
	f.drain()
	f.after(91 * day)
	a := f.oneOpen(keyturn.AlertKeyAge)
	if want := "at least 90 days old (first seen on 2026-03-01)"; !strings.Contains(a.Message, want) {
		t.Errorf("message is %q, want %q in it", a.Message, want)
	}
}

func alertTenThousand(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	const n = 10000
	f.turned(makeUnits("om", "p1", n)...)
	told := f.tell(f.after(91*day), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if told.Count != n || len(told.Alerts) != keyturn.NoticeAlerts || told.Group != "key.age/quarterly/om" {
		t.Errorf("notice has count %d, %d alerts, group %s", told.Count, len(told.Alerts), told.Group)
	}
	if want := "10,000 of 10,000 keys in 10,000 clusters are past 90d"; told.Message != want {
		t.Errorf("message is %q, want %q", told.Message, want)
	}
	f.quiet(f.after(2 * time.Minute))
	_, tasks := f.running("quarterly", makeUnits("om", "p1", n)...)
	f.turnAllTo(tasks, "newer")
	f.tell(f.after(2*time.Second), keyturn.AlertKeyAge, keyturn.AlertResolved)
	if left := f.open(keyturn.AlertKeyAge); len(left) != 0 {
		t.Errorf("%d alerts are open after the rotation", len(left))
	}
}

func alertGrows(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	for i := range 4 {
		f.turned(makeUnit("om", "p1", i))
		f.clock.Advance(10 * time.Minute)
	}
	f.tell(only(f.after(90*day-40*time.Minute), keyturn.AlertKeyAge), keyturn.AlertKeyAge, keyturn.AlertFiring)
	var told []keyturn.Notice
	for range 61 { // an hour
		told = append(told, f.after(time.Minute)...)
	}
	told = only(told, keyturn.AlertKeyAge)
	if len(told) != 1 || told[0].Count != 4 || told[0].Message != "4 of 4 keys in 4 clusters are past 90d" {
		t.Errorf("within the hour after the first notice: %s, want one about all 4", show(told))
	}
}

func only(notices []keyturn.Notice, kind keyturn.AlertKind) []keyturn.Notice {
	var out []keyturn.Notice
	for _, n := range notices {
		if n.Kind == kind {
			out = append(out, n)
		}
	}
	return out
}

func policySpec(change func(*keyturn.Policy)) keyturn.Policy {
	p := keyturn.Policy{Target: "om"}
	change(&p)
	return p
}

func alertStrictest(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.apply(keyturn.KindPolicy, "strict", policySpec(func(p *keyturn.Policy) {
		p.Select.Clusters = []string{"c001-*"}
		p.Alerts.WarnAfter = keyturn.Duration(30 * day)
	}))
	f.turned(makeUnits("om", "p1", 3)...)
	f.after(31 * day)
	if a := f.oneOpen(keyturn.AlertKeyAge); a.Policy != "strict" || a.Subject != "om.p1.c001" {
		t.Errorf("alert is %+v", a)
	}
	f.after(60 * day)
	if open := f.open(keyturn.AlertKeyAge); len(open) != 3 {
		t.Errorf("%d open alerts, want one for each unit", len(open))
	}
	f.apply(keyturn.KindPolicy, "strict", nil)
	f.after(time.Minute)
	open := f.open(keyturn.AlertKeyAge)
	if len(open) != 3 {
		t.Errorf("%d open alerts after the strict policy is gone, want 3", len(open))
	}
	for _, a := range open {
		if a.Policy != "quarterly" {
			t.Errorf("alert of %s is %s's", a.Subject, a.Policy)
		}
	}
	f.apply(keyturn.KindPolicy, "quarterly", policySpec(func(p *keyturn.Policy) { p.Alerts.WarnAfter = keyturn.Duration(100 * day) }))
	f.after(time.Minute)
	if open := f.open(keyturn.AlertKeyAge); len(open) != 0 {
		t.Errorf("%d open alerts though the policy allows 100 days", len(open))
	}
}

func alertUnselected(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned(makeUnits("om", "p1", 3)...)
	f.apply(keyturn.KindPolicy, "quarterly", policySpec(func(p *keyturn.Policy) { p.Select.Clusters = []string{"c002-*"} }))
	told := f.tell(f.after(91*day), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if told.Count != 1 || f.oneOpen(keyturn.AlertKeyAge).Subject != "om.p1.c002" {
		t.Errorf("told %+v", told)
	}
	f.apply(keyturn.KindPolicy, "quarterly", policySpec(func(p *keyturn.Policy) { p.Select.Clusters = []string{"none"} }))
	f.tell(f.after(time.Minute), keyturn.AlertKeyAge, keyturn.AlertResolved)
}
