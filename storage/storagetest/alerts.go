package storagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
)

func alertTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"KeyAgeBeginsGetsWorseAndEndsWithTheRotation": alertKeyAge,
		"OneSweeperSeesAgesPass":                      alertIncremental,
		"KeyFirstSeenIsSaidToBeAtLeastSoOld":          alertInexact,
		"TenThousandKeysAreOneNotice":                 alertTenThousand,
		"GroupThatGrowsIsNotToldEachTime":             alertGrows,
		"StrictestPolicyCounts":                       alertStrictest,
		"UnitsThatNoPolicySelectsHaveNoAlert":         alertUnselected,
		"AcknowledgedIsQuietUntilItsTimeIsOver":       alertAcknowledged,
		"AcknowledgedThatGetsWorseFiresAgain":         alertAcknowledgedWorse,
		"WholeGroupIsAcknowledgedInOneNotice":         alertAcknowledgedGroup,
		"ResolvedCanNotBeAcknowledged":                alertAcknowledgedLate,
		"IsRepeated":                                  alertRepeats,
		"IsRepeatedAsThePolicySays":                   alertRepeatsByPolicy,
		"SilencedIsThereButNobodyIsTold":              alertSilenced,
		"SilenceOfOneClusterLeavesTheOthers":          alertSilencedCluster,
		"FlappingTargetIsOneAlert":                    alertFlaps,
		"UnreachableTargetGetsCritical":               alertUnreachable,
		"RejectedCredentials":                         alertRejected,
		"ParkedTask":                                  alertParked,
		"PartialRotationNamesMixedClusters":           alertPartial,
		"FailedRotationEndsWithALaterSuccess":         alertFailed,
		"StuckRotation":                               alertStuck,
		"MissedSlot":                                  alertMissed,
		"DriftPassesByItself":                         alertDrift,
		"RaisedByOthers":                              alertRaised,
		"SourceOfItsOwn":                              alertSource,
		"CrashBeforeTheNoticeLosesNone":               alertCrash,
		"TwoSweepersTellOnce":                         alertTwoSweepers,
		"LateSweeperIsRefused":                        alertLateSweeper,
		"ChangeOfAnAcknowledgedOneIsNotOverwritten":   alertVersions,
		"ListingHasTheOpenOnesFirst":                  alertListing,
		"HistoryIsAppendOnly":                         alertAppendOnly,
	}
}

const day = 24 * time.Hour

// look evaluates as a process does that has just been started.
func (f *fixture) evaluate() {
	f.t.Helper()
	e := f.evaluator
	if e == nil {
		e = alerts.New(alerts.Config{Owner: "sweeper-1", Store: f.Store})
	}
	f.ok(e.Pass(f.ctx()))
}

// after lets time go by, looks, waits for groups to gather, and returns what was told.
func (f *fixture) after(d time.Duration) []keyturn.Notice {
	f.t.Helper()
	f.clock.Advance(d)
	f.evaluate()
	f.clock.Advance(keyturn.GroupWait)
	f.evaluate()
	return f.told()
}

// told returns, once, the notices that wait to be announced.
func (f *fixture) told() []keyturn.Notice {
	f.t.Helper()
	var out []keyturn.Notice
	for _, a := range f.drain() {
		if a.Type == "notice" {
			n, err := f.Notice(f.ctx(), a.Notice)
			f.ok(err)
			out = append(out, n)
		}
	}
	return out
}

// tell fails unless exactly one thing was told, and returns it.
func (f *fixture) tell(got []keyturn.Notice, kind keyturn.AlertKind, state keyturn.AlertState) keyturn.Notice {
	f.t.Helper()
	if len(got) != 1 || got[0].Kind != kind || got[0].State != state {
		f.t.Fatalf("told %s, want one notice that %s is %s", show(got), kind, state)
	}
	return got[0]
}

func (f *fixture) quiet(got []keyturn.Notice) {
	f.t.Helper()
	if len(got) != 0 {
		f.t.Fatalf("told %s, want nothing", show(got))
	}
}

func show(notices []keyturn.Notice) string {
	var b strings.Builder
	for _, n := range notices {
		fmt.Fprintf(&b, "[%s %s %s %q]", n.Group, n.State, n.Severity, n.Message)
	}
	return b.String()
}

// open returns the open alerts of a kind.
func (f *fixture) open(kind keyturn.AlertKind) []keyturn.Alert {
	f.t.Helper()
	list, _, err := f.Alerts(f.ctx(), keyturn.AlertFilter{Kind: kind, Page: keyturn.Page{Limit: 1000}})
	f.ok(err)
	var out []keyturn.Alert
	for _, a := range list {
		if a.State != keyturn.AlertResolved {
			out = append(out, a)
		}
	}
	return out
}

// oneOpen returns the only open alert of a kind.
func (f *fixture) oneOpen(kind keyturn.AlertKind) keyturn.Alert {
	f.t.Helper()
	list := f.open(kind)
	if len(list) != 1 {
		f.t.Fatalf("%d open alerts %s, want 1: %+v", len(list), kind, list)
	}
	return list[0]
}

// states are the states that an alert went through.
func (f *fixture) states(id keyturn.ID) string {
	f.t.Helper()
	_, changes, err := f.Alert(f.ctx(), id)
	f.ok(err)
	var out []string
	for _, c := range changes {
		out = append(out, string(c.State)+"/"+string(c.Severity))
	}
	return strings.Join(out, " ")
}

// turned makes units whose keys were turned just now, by one rotation that has ended.
func (f *fixture) turned(policy string, units ...keyturn.Unit) {
	f.t.Helper()
	_, tasks := f.running(policy, units...)
	f.turnAllTo(tasks, "new")
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	f.drain()
}

func (f *fixture) turnAllTo(tasks []keyturn.Task, key string) {
	f.t.Helper()
	writes, results := make([]keyturn.IntentWrite, len(tasks)), make([]keyturn.TaskResult, len(tasks))
	for i, t := range tasks {
		before := f.unitKeys[t.Unit]
		if before == "" {
			before = "before"
		}
		writes[i] = write(t.ID, before)
	}
	out, err := f.Intend(f.ctx(), writes)
	f.ok(err)
	for i, o := range out {
		if o.Verdict != keyturn.VerdictGo {
			f.t.Fatalf("verdict is %q, want go", o.Verdict)
		}
		key := fmt.Sprintf("%s-%d-%s", key, f.clock.Now().Unix(), tasks[i].Unit)
		results[i] = succeeded(tasks[i].ID, o.Epoch, key)
		f.unitKeys[tasks[i].Unit] = key
	}
	taken, err := f.Finish(f.ctx(), results)
	f.ok(err)
	for _, ok := range taken {
		if !ok {
			f.t.Fatal("a result was refused")
		}
	}
}

// apply applies a resource as it is.
func (f *fixture) apply(kind keyturn.ResourceKind, name string, spec any) {
	f.t.Helper()
	expect := int64(0)
	if r, err := f.Resource(f.ctx(), kind, name); err == nil {
		expect = r.Generation
	}
	change := keyturn.ResourceChange{Kind: kind, Name: name, Expect: expect}
	if spec != nil {
		change.Spec = encode(f.t, spec)
	}
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{change}))
}

func alertKeyAge(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned("quarterly", makeUnit("om", "p1", 1))
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
		f.turned("quarterly", makeUnit("om", "p1", i))
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
	f.apply(keyturn.KindPolicy, "quarterly", policySpec("om", func(p *keyturn.Policy) { p.Alerts.CriticalAfter = keyturn.Duration(91 * day) }))
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
	f.turned("quarterly", makeUnits("om", "p1", n)...)
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
		f.turned("quarterly", makeUnit("om", "p1", i))
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

func policySpec(target string, change func(*keyturn.Policy)) keyturn.Policy {
	p := keyturn.Policy{Target: target}
	change(&p)
	return p
}

func alertStrictest(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.apply(keyturn.KindPolicy, "strict", policySpec("om", func(p *keyturn.Policy) {
		p.Select.Clusters = []string{"c001-*"}
		p.Alerts.WarnAfter = keyturn.Duration(30 * day)
	}))
	f.turned("quarterly", makeUnits("om", "p1", 3)...)
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
	f.apply(keyturn.KindPolicy, "quarterly", policySpec("om", func(p *keyturn.Policy) { p.Alerts.WarnAfter = keyturn.Duration(100 * day) }))
	f.after(time.Minute)
	if open := f.open(keyturn.AlertKeyAge); len(open) != 0 {
		t.Errorf("%d open alerts though the policy allows 100 days", len(open))
	}
}

func alertUnselected(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned("quarterly", makeUnits("om", "p1", 3)...)
	f.apply(keyturn.KindPolicy, "quarterly", policySpec("om", func(p *keyturn.Policy) { p.Select.Clusters = []string{"c002-*"} }))
	told := f.tell(f.after(91*day), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if told.Count != 1 || f.oneOpen(keyturn.AlertKeyAge).Subject != "om.p1.c002" {
		t.Errorf("told %+v", told)
	}
	f.apply(keyturn.KindPolicy, "quarterly", policySpec("om", func(p *keyturn.Policy) { p.Select.Clusters = []string{"none"} }))
	f.tell(f.after(time.Minute), keyturn.AlertKeyAge, keyturn.AlertResolved)
}

// old makes an estate of units whose keys have just passed 90 days, and returns the notice of it.
func (f *fixture) old(n int) keyturn.Notice {
	f.t.Helper()
	f.estate()
	f.turned("quarterly", makeUnits("om", "p1", n)...)
	return f.tell(f.after(90*day), keyturn.AlertKeyAge, keyturn.AlertFiring)
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
	f.apply(keyturn.KindPolicy, "quarterly", policySpec("om", func(p *keyturn.Policy) { p.Alerts.Repeat = keyturn.Duration(time.Hour) }))
	f.turned("quarterly", makeUnits("om", "p1", 2)...)
	f.tell(f.after(85*day), keyturn.AlertKeyDueSoon, keyturn.AlertFiring)
	f.quiet(f.after(2 * day)) // info is not repeated
	f.after(4 * day)
	f.tell(f.after(time.Hour), keyturn.AlertKeyAge, keyturn.AlertFiring)
}

func alertSilenced(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned("quarterly", makeUnits("om", "p1", 2)...)
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
	f.turned("quarterly", makeUnits("om", "p1", 3)...)
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

func (f *fixture) trouble(words string, rejected bool) {
	f.t.Helper()
	f.ok(f.TargetTrouble(f.ctx(), "om", rejected, words))
}

func alertFlaps(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.trouble("connection refused", false)
	f.quiet(f.after(50 * time.Second))
	f.tell(f.after(10*time.Second), keyturn.AlertTargetUnreachable, keyturn.AlertFiring)
	a := f.oneOpen(keyturn.AlertTargetUnreachable)
	for range 3 {
		f.ok(f.TargetAnswered(f.ctx(), "om"))
		f.trouble("connection refused", false)
		f.quiet(f.after(10 * time.Second))
		f.quiet(f.after(50 * time.Second))
	}
	if got := f.oneOpen(keyturn.AlertTargetUnreachable); got.ID != a.ID {
		t.Error("a flapping target made another alert")
	}
	f.ok(f.TargetAnswered(f.ctx(), "om"))
	f.quiet(f.after(10 * time.Second))
	f.tell(f.after(time.Minute), keyturn.AlertTargetUnreachable, keyturn.AlertResolved)
}

func alertUnreachable(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.trouble("connection refused", false)
	first := f.tell(f.after(61*time.Second), keyturn.AlertTargetUnreachable, keyturn.AlertFiring)
	f.trouble("connection refused, again", false)
	second := f.tell(f.after(15*time.Minute), keyturn.AlertTargetUnreachable, keyturn.AlertFiring)
	if first.Severity != keyturn.SeverityWarning || second.Severity != keyturn.SeverityCritical || second.Group != "target.unreachable//om" {
		t.Errorf("told %+v, then %+v", first, second)
	}
}

func alertRejected(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.trouble("answered 401", true)
	told := f.tell(f.after(61*time.Second), keyturn.AlertCredentialsRejected, keyturn.AlertFiring)
	if told.Target != "om" || !strings.Contains(told.Message, "answered 401") {
		t.Errorf("told %+v", told)
	}
	f.apply(keyturn.KindPolicy, "quarterly", nil)
	f.apply(keyturn.KindTarget, "om", nil) // a target that is gone has no trouble
	f.after(10 * time.Second)
	f.tell(f.after(time.Minute), keyturn.AlertCredentialsRejected, keyturn.AlertResolved)
}

func alertParked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	for _, task := range tasks {
		epoch := f.mustIntend(task.ID, "before")
		f.mustFinish(keyturn.TaskResult{Task: task.ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskParked, Reason: "no answer"})
	}
	f.drain()
	told := f.tell(f.after(10*time.Second), keyturn.AlertTaskParked, keyturn.AlertFiring)
	if told.Count != 2 || told.Severity != keyturn.SeverityCritical || told.Policy != "quarterly" {
		t.Errorf("told %+v", told)
	}
	f.ok(f.Exec(f.ctx(), `UPDATE tasks SET state = 'failed' WHERE state = 'parked'`))
	f.tell(f.after(10*time.Second), keyturn.AlertTaskParked, keyturn.AlertResolved)
}

// fail ends a pending task without a change.
func (f *fixture) failPending(task keyturn.ID) {
	f.t.Helper()
	f.mustFinish(keyturn.TaskResult{Task: task, From: keyturn.TaskPending, State: keyturn.TaskFailed, Reason: "refused"})
}

func alertPartial(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	units := makeUnits("om", "p1", 3)
	units[1].ClusterName = units[0].ClusterName
	f.clock.Advance(time.Second)
	r, tasks := f.running("quarterly", units...)
	f.turnAllTo(tasks[:1], "new")
	f.failPending(tasks[1].ID)
	f.failPending(tasks[2].ID)
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	f.drain()
	told := f.tell(f.after(10*time.Second), keyturn.AlertRotationPartial, keyturn.AlertFiring)
	if want := "left 2 of 3 units without a new key; mixed clusters: c000-name"; !strings.Contains(told.Message, want) ||
		!strings.Contains(told.Message, r.ID.String()) || told.Alerts[0].Subject != "quarterly" {
		t.Errorf("told %+v, want %q", told, want)
	}
	a := f.oneOpen(keyturn.AlertRotationPartial)
	for i, unit := range units[1:] {
		retry, _, err := f.Request(f.ctx(), keyturn.Request{
			Policy: "quarterly", Trigger: keyturn.TriggerManual, Only: keyturn.Selection{Units: []string{unit.ID}},
		})
		f.ok(err)
		_, _, err = f.ClaimRotation(f.ctx(), retry.ID, owner, lease)
		f.ok(err)
		f.ok(f.SavePlan(f.ctx(), retry.ID, owner, []keyturn.Unit{unit}))
		f.turnAllTo(f.tasks(retry.ID), "new")
		f.drain()
		told := f.after(10 * time.Second)
		if i == 0 {
			f.quiet(told)
			if got := f.oneOpen(keyturn.AlertRotationPartial); !strings.Contains(got.Message, "left 1 of 3") {
				t.Errorf("after one of two was turned: %s", got.Message)
			}
		} else {
			f.tell(told, keyturn.AlertRotationPartial, keyturn.AlertResolved)
		}
	}
	if got, want := f.states(a.ID), "firing/warning resolved/warning"; got != want {
		t.Errorf("history is %s, want %s", got, want)
	}
}

func alertFailed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.ok(f.FailRotation(f.ctx(), r.ID, owner, "nothing was selected"))
	f.drain()
	told := f.tell(f.after(10*time.Second), keyturn.AlertRotationFailed, keyturn.AlertFiring)
	if told.Severity != keyturn.SeverityCritical || !strings.Contains(told.Message, "nothing was selected") {
		t.Errorf("told %+v", told)
	}
	f.turned("quarterly", makeUnit("om", "p1", 1))
	f.tell(f.after(10*time.Second), keyturn.AlertRotationFailed, keyturn.AlertResolved)
}

func alertStuck(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.drain()
	f.quiet(f.after(29 * time.Minute))
	told := f.tell(f.after(time.Minute), keyturn.AlertRotationStuck, keyturn.AlertFiring)
	if told.Alerts[0].Subject != r.ID.String() {
		t.Errorf("told %+v", told)
	}
	f.turnAllTo(tasks[:1], "new")
	f.drain()
	f.quiet(f.after(10 * time.Second))
	f.tell(f.after(time.Minute), keyturn.AlertRotationStuck, keyturn.AlertResolved)
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ada", "", nil))
	f.quiet(f.after(time.Hour)) // it is held
}

func alertMissed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	for _, name := range []string{"a", "b", "c"} {
		f.policy(name, "om", f.slot(time.Minute))
	}
	f.quiet(f.after(2 * time.Minute))
	told := f.tell(f.after(time.Minute), keyturn.AlertPolicyMissed, keyturn.AlertFiring)
	if told.Count != 3 || told.Severity != keyturn.SeverityCritical || told.Target != "om" || told.Policy != "" {
		t.Errorf("told %+v, want one notice about all policies of the target", told)
	}
	for _, name := range []string{"a", "b", "c"} {
		f.ok(f.SetPaused(f.ctx(), name, true, "ada", "", nil))
	}
	f.after(10 * time.Second)
	f.tell(f.after(time.Minute), keyturn.AlertPolicyMissed, keyturn.AlertResolved)
}

func alertDrift(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned("quarterly", makeUnit("om", "p1", 1))
	f.clock.Advance(day)
	f.unitKeys["om.p1.c001"] = "by somebody else"
	f.turned("quarterly", makeUnit("om", "p1", 1))
	told := f.tell(f.after(10*time.Second), keyturn.AlertKeyDrift, keyturn.AlertFiring)
	if told.Severity != keyturn.SeverityInfo || told.Policy != "quarterly" || told.Alerts[0].Subject != "om.p1.c001" {
		t.Errorf("told %+v", told)
	}
	f.tell(f.after(day), keyturn.AlertKeyDrift, keyturn.AlertResolved)
}

func alertRaised(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	fact := keyturn.AlertFact{Kind: keyturn.AlertExternal, Subject: "atlas/42", Severity: keyturn.SeverityWarning, Message: "a disk is full"}
	f.ok(f.RaiseAlert(f.ctx(), fact))
	f.ok(f.RaiseAlert(f.ctx(), fact))
	f.tell(f.after(0), keyturn.AlertExternal, keyturn.AlertFiring)
	a := f.oneOpen(keyturn.AlertExternal)
	f.ack(a.ID, keyturn.Ack{By: "ada"})
	f.told()
	f.ok(f.RaiseAlert(f.ctx(), fact))
	f.quiet(f.after(time.Minute))
	fact.Severity = keyturn.SeverityCritical
	f.ok(f.RaiseAlert(f.ctx(), fact))
	f.tell(f.after(0), keyturn.AlertExternal, keyturn.AlertFiring)
	f.ok(f.ResolveAlert(f.ctx(), keyturn.AlertExternal, "atlas/42"))
	f.ok(f.ResolveAlert(f.ctx(), keyturn.AlertExternal, "atlas/43"))
	f.tell(f.after(0), keyturn.AlertExternal, keyturn.AlertResolved)
	if got, want := f.states(a.ID), "firing/warning acknowledged/warning firing/critical resolved/critical"; got != want {
		t.Errorf("history is %s, want %s", got, want)
	}
}

func alertSource(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	facts := []keyturn.AlertFact{{
		Kind: keyturn.AlertWebhookFailing, Subject: "security", Severity: keyturn.SeverityWarning, Message: "webhook security fails",
	}}
	var failing error
	look := func(d time.Duration) []keyturn.Notice {
		t.Helper()
		for _, wait := range []time.Duration{d, keyturn.GroupWait} {
			f.clock.Advance(wait)
			err := alerts.New(alerts.Config{Owner: "sweeper-1", Store: f.Store, Sources: []alerts.Source{{
				Kinds: []keyturn.AlertKind{keyturn.AlertWebhookFailing},
				Facts: func(context.Context, time.Time) ([]keyturn.AlertFact, error) { return facts, failing },
			}}}).Pass(f.ctx())
			if !errors.Is(err, failing) {
				t.Fatalf("error is %v, want %v", err, failing)
			}
		}
		return f.told()
	}
	f.tell(look(10*time.Second), keyturn.AlertWebhookFailing, keyturn.AlertFiring)
	facts, failing = nil, errors.New("no answer")
	f.quiet(look(2 * time.Minute)) // not knowing is no end
	failing = nil
	f.quiet(look(10 * time.Second))
	f.tell(look(time.Minute), keyturn.AlertWebhookFailing, keyturn.AlertResolved)
}

// dyingStore dies before it tells.
type dyingStore struct {
	alerts.Store
	saves int
}

var errDied = errors.New("the process died")

func (s *dyingStore) SaveNotice(context.Context, string, keyturn.NoticeWrite) error { return errDied }

func (s *dyingStore) SaveAlerts(ctx context.Context, owner string, batch *keyturn.AlertBatch) error {
	s.saves++
	return s.Store.SaveAlerts(ctx, owner, batch)
}

func alertCrash(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned("quarterly", makeUnits("om", "p1", 3)...)
	f.clock.Advance(90 * day)
	dying := &dyingStore{Store: f.Store}
	f.ok(alerts.New(alerts.Config{Owner: "sweeper-0", Store: dying}).Pass(f.ctx()))
	f.clock.Advance(keyturn.GroupWait)
	f.is(alerts.New(alerts.Config{Owner: "sweeper-0", Store: dying}).Pass(f.ctx()), errDied)
	if dying.saves != 1 {
		t.Fatalf("%d saves, want 1", dying.saves)
	}
	f.quiet(f.told())
	f.evaluate() // the lease of the dead one lasts
	f.quiet(f.told())
	told := f.tell(f.after(31*time.Second), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if told.Count != 3 {
		t.Errorf("told %+v", told)
	}
	f.quiet(f.after(time.Minute))
}

func alertTwoSweepers(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned("quarterly", makeUnits("om", "p1", 200)...)
	f.clock.Advance(90 * day)
	errs := make(chan error)
	for i := range 4 {
		go func() {
			var all error
			for range 5 {
				all = errors.Join(all, alerts.New(alerts.Config{Owner: fmt.Sprint("sweeper-", i), Store: f.Store}).Pass(f.ctx()))
				f.clock.Advance(keyturn.GroupWait)
			}
			errs <- all
		}()
	}
	for range 4 {
		if err := <-errs; err != nil && !errors.Is(err, keyturn.ErrConflict) && !errors.Is(err, keyturn.ErrNotFound) {
			t.Error(err)
		}
	}
	f.clock.Advance(time.Minute)
	f.evaluate()
	told := f.tell(f.told(), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if told.Count != 200 || len(f.open(keyturn.AlertKeyAge)) != 200 {
		t.Errorf("told of %d, open are %d; want 200", told.Count, len(f.open(keyturn.AlertKeyAge)))
	}
}

func alertLateSweeper(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	_, err := f.ClaimSweep(f.ctx(), "first", time.Minute)
	f.ok(err)
	_, err = f.ClaimSweep(f.ctx(), "second", time.Minute)
	f.is(err, keyturn.ErrNotFound)
	f.clock.Advance(time.Minute)
	_, err = f.ClaimSweep(f.ctx(), "second", time.Minute)
	f.ok(err)
	batch := &keyturn.AlertBatch{Open: []keyturn.AlertFact{{Kind: keyturn.AlertExternal, Subject: "x", Severity: keyturn.SeverityInfo, Message: "m"}}}
	f.is(f.SaveAlerts(f.ctx(), "first", batch), keyturn.ErrConflict)
	f.is(f.SaveNotice(f.ctx(), "first", keyturn.NoticeWrite{}), keyturn.ErrConflict)
	if open := f.open(keyturn.AlertExternal); len(open) != 0 {
		t.Errorf("a refused change was made: %+v", open)
	}
	f.ok(f.SaveAlerts(f.ctx(), "second", batch))
	f.ok(f.SaveAlerts(f.ctx(), "second", batch))
	f.oneOpen(keyturn.AlertExternal)
}

func alertVersions(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	_, err := f.ClaimSweep(f.ctx(), "first", time.Hour)
	f.ok(err)
	fact := keyturn.AlertFact{Kind: keyturn.AlertExternal, Subject: "x", Severity: keyturn.SeverityWarning, Message: "m"}
	f.ok(f.RaiseAlert(f.ctx(), fact))
	seen, err := f.OpenAlerts(f.ctx(), keyturn.AlertExternal, "", 10)
	f.ok(err)
	f.ack(seen[0].ID, keyturn.Ack{By: "ada"})
	fact.Message = "other"
	f.ok(f.SaveAlerts(f.ctx(), "first", &keyturn.AlertBatch{Update: []keyturn.AlertUpdate{seen[0].Become(fact)}}))
	f.ok(f.SaveAlerts(f.ctx(), "first", &keyturn.AlertBatch{Resolve: seen}))
	if a := f.oneOpen(keyturn.AlertExternal); a.State != keyturn.AlertAcknowledged || a.Message != "m" {
		t.Errorf("alert is %+v, want it as it was acknowledged", a)
	}
}

func alertListing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	for i := range 7 {
		f.clock.Advance(time.Second)
		f.ok(f.RaiseAlert(f.ctx(), keyturn.AlertFact{
			Kind: keyturn.AlertExternal, Subject: fmt.Sprint("s", i), Severity: keyturn.SeverityInfo, Message: "m", Target: fmt.Sprint("t", i%2),
		}))
	}
	f.ok(f.ResolveAlert(f.ctx(), keyturn.AlertExternal, "s3"))
	f.ok(f.ResolveAlert(f.ctx(), keyturn.AlertExternal, "s6"))
	var got []string
	for page := (keyturn.Page{Limit: 2}); ; {
		list, next, err := f.Alerts(f.ctx(), keyturn.AlertFilter{Page: page})
		f.ok(err)
		for _, a := range list {
			got = append(got, a.Subject)
		}
		if next == "" {
			break
		}
		page.After = next
	}
	if want := "s5 s4 s2 s1 s0 s6 s3"; strings.Join(got, " ") != want {
		t.Errorf("listed %s, want %s", strings.Join(got, " "), want)
	}
	list, _, err := f.Alerts(f.ctx(), keyturn.AlertFilter{State: keyturn.AlertFiring, Target: "t1"})
	f.ok(err)
	if len(list) != 2 || list[0].Subject != "s5" || list[1].Subject != "s1" {
		t.Errorf("listed %+v, want s5 and s1", list)
	}
	counts, err := f.OpenAlertCounts(f.ctx())
	f.ok(err)
	if len(counts) != 1 || counts[0] != (keyturn.AlertCount{Kind: keyturn.AlertExternal, Severity: keyturn.SeverityInfo, Open: 5}) {
		t.Errorf("counted %+v", counts)
	}
	if _, _, err := f.Alerts(f.ctx(), keyturn.AlertFilter{Page: keyturn.Page{After: "nonsense"}}); err == nil {
		t.Error("a cursor that is none was taken")
	}
}

func alertAppendOnly(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.ok(f.RaiseAlert(f.ctx(), keyturn.AlertFact{Kind: keyturn.AlertExternal, Subject: "x", Severity: keyturn.SeverityInfo, Message: "m"}))
	for _, statement := range []string{`UPDATE alert_changes SET note = 'x'`, `DELETE FROM alert_changes`} {
		if err := f.Exec(f.ctx(), statement); err == nil {
			t.Errorf("%s was allowed", statement)
		}
	}
	n := keyturn.Notice{Alerts: []keyturn.Alert{}}
	if b, err := json.Marshal(n); err != nil || strings.Contains(string(b), "null") {
		t.Errorf("an empty notice is %s, %v", b, err)
	}
}
