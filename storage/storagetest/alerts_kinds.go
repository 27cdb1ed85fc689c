package storagetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
)

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
	if want := "left 2 of 3 units without a new key; mixed clusters: p1-name/c000-name"; !strings.Contains(told.Message, want) ||
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
	f.turned(makeUnit("om", "p1", 1))
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
	f.turned(makeUnit("om", "p1", 1))
	f.clock.Advance(day)
	f.unitKeys["om.p1.c001"] = "by somebody else"
	f.turned(makeUnit("om", "p1", 1))
	told := f.tell(f.after(10*time.Second), keyturn.AlertKeyDrift, keyturn.AlertFiring)
	if told.Severity != keyturn.SeverityInfo || told.Policy != "quarterly" || told.Alerts[0].Subject != "om.p1.c001" {
		t.Errorf("told %+v", told)
	}
	f.tell(f.after(day), keyturn.AlertKeyDrift, keyturn.AlertResolved)
}

// alertDriftParked: a key that shows up while a task of its unit is parked is probably the task's.
func alertDriftParked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, tasks := f.running("quarterly", u)
	f.park(tasks[0].ID)
	_, err := f.Observe(f.ctx(), []keyturn.Observation{{Unit: u.ID, Known: "a", KeyID: "b"}})
	f.ok(err)
	f.drain()
	f.tell(f.after(10*time.Second), keyturn.AlertTaskParked, keyturn.AlertFiring)
	f.mustDecide(tasks[0].ID, keyturn.TaskFailed, "")
	f.drain()
	told := f.after(10 * time.Second)
	f.tell(only(told, keyturn.AlertTaskParked), keyturn.AlertTaskParked, keyturn.AlertResolved)
	f.tell(only(told, keyturn.AlertKeyDrift), keyturn.AlertKeyDrift, keyturn.AlertFiring) // a person says that it was not
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
		Kind: keyturn.AlertExternal, Subject: "lab/1", Severity: keyturn.SeverityWarning, Message: "the lab is on fire",
	}}
	var failing error
	look := func(d time.Duration) []keyturn.Notice {
		t.Helper()
		for _, wait := range []time.Duration{d, keyturn.GroupWait} {
			f.clock.Advance(wait)
			err := alerts.New(alerts.Config{Owner: "sweeper-1", Store: f.Store, Sources: []alerts.Source{{
				Kinds: []keyturn.AlertKind{keyturn.AlertExternal},
				Facts: func(context.Context, time.Time) ([]keyturn.AlertFact, error) { return facts, failing },
			}}}).Pass(f.ctx())
			if !errors.Is(err, failing) {
				t.Fatalf("error is %v, want %v", err, failing)
			}
		}
		return f.told()
	}
	f.tell(look(10*time.Second), keyturn.AlertExternal, keyturn.AlertFiring)
	facts, failing = nil, errors.New("no answer")
	f.quiet(look(2 * time.Minute)) // not knowing is no end
	failing = nil
	f.tell(look(10*time.Second), keyturn.AlertExternal, keyturn.AlertResolved)
}
