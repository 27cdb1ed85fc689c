package retain_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/retain"
)

// retiring is a world of Atlas whose key k0 was replaced ten days ago and is needed by nothing.
func retiring(t *testing.T) (w *world, unit string, keeper *retain.Keeper) {
	t.Helper()
	w = newWorld(t, keyturn.SystemAtlas)
	w.target.KMIP = nil
	unit = w.unit(1, "k0", "k1")
	w.advance(10 * day)
	return w, unit, w.newKeeper("one", doubter{retirer{w.sys}})
}

func query(name string) keyturn.RetireQuery {
	return keyturn.RetireQuery{Target: "om", Name: name, By: "token:ann", Reason: "spring cleaning"}
}

func TestRetireDisablesWhatNothingNeeds(t *testing.T) {
	t.Parallel()
	w, _, keeper := retiring(t)
	report, err := keeper.Retirement(w.ctx(), query("k0"))
	if err != nil || len(report) != 1 || !report[0].Allowed(false) || report[0].DisabledAt != nil || len(w.sys.disabled) != 0 {
		t.Fatalf("report is %+v, %v", report, err)
	}
	ctx := keyturn.WithAudit(w.ctx(), keyturn.AuditEntry{Actor: "ann", Action: "key.retire", Subject: "k0"})
	done, err := keeper.Retire(ctx, query("k0"))
	if err != nil || done[0].DisabledAt == nil || !slices.Equal(w.sys.disabled, []string{"k0"}) {
		t.Fatalf("retired %+v, %v, disabled %v", done, err, w.sys.disabled)
	}
	entries, _, err := w.store.Audit(w.ctx(), keyturn.AuditFilter{})
	if err != nil || len(entries) != 1 || entries[0].Subject != "om/k0" {
		t.Errorf("audit is %+v, %v", entries, err)
	}
	if k := w.key("k0"); k.State == nil || k.State.State != keyturn.KeyDisabled {
		t.Errorf("k0 is %+v", k)
	}
}

func TestRetireOfAUnitsOldKeys(t *testing.T) {
	t.Parallel()
	w, unit, keeper := retiring(t)
	w.advance(day)
	if _, err := w.store.Observe(w.ctx(), []keyturn.Observation{{Unit: unit, Known: "k1", KeyID: "k2"}}); err != nil {
		t.Fatal(err)
	}
	w.sys.set(unit, "k2")
	w.advance(5 * day)
	w.sys.has(unit, w.snapshot("s1", "k1", -8*day, 3*day))
	done, err := keeper.Retire(w.ctx(), query("rs1"))
	if err != nil || len(done) != 2 || !slices.Equal(w.sys.disabled, []string{"k0"}) {
		t.Fatalf("retired %+v, %v, disabled %v", done, err, w.sys.disabled)
	}
	if r := done[1]; r.Key.KeyID != "k1" || r.DisabledAt != nil || !strings.HasPrefix(r.Message, "needed by 1 snapshot of 1 cluster until 2026-") {
		t.Errorf("k1 is %+v", r)
	}
}

func TestRetireRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(w *world, unit string)
		key    string
		says   string
		accept bool // refused only while what is unknown is not accepted
	}{
		"a key in use":    {func(*world, string) {}, "k1", "in use by unit om.p1.c1", false},
		"a needed key":    {func(w *world, u string) { w.sys.has(u, w.snapshot("s1", "k0", -15*day, day)) }, "k0", "needed by 1 snapshot", false},
		"one kept long":   {func(w *world, u string) { s := w.snapshot("s1", "k0", -15*day, day); s.Keep = true; w.sys.has(u, s) }, "k0", "without an end", false},
		"one by its time": {func(w *world, u string) { w.sys.has(u, w.snapshot("s1", "", -15*day, day)) }, "k0", "needed by 1 snapshot", false},
		"what the target still uses": {
			func(w *world, u string) { w.sys.set(u, "k0") }, "k0", "uses it now", false,
		},
		"what another target's unit uses": {func(w *world, _ string) {
			w.apply(keyturn.KindTarget, "atlas-2", w.target, 0)
			other := keyturn.Unit{ID: "atlas-2.p.c", Target: "atlas-2", System: keyturn.SystemAtlas, ProjectID: "p", ClusterID: "c", Component: keyturn.ComponentProject, Rotatable: true}
			w.ok(w.store.SaveUnits(w.ctx(), []keyturn.Unit{other}))
			_, err := w.store.Observe(w.ctx(), []keyturn.Observation{{Unit: other.ID, KeyID: "k0"}})
			w.ok(err)
		}, "k0", "atlas-2.p.c", false},
		"while a rotation changes the unit": {func(w *world, u string) { w.rotate(u, "") }, "k0", "is changing the key", false},
		"a parked task":                     {func(w *world, u string) { w.rotate(u, keyturn.TaskParked) }, "k0", "is parked", false},
		"before the rotation has ended":     {func(w *world, u string) { w.rotate(u, keyturn.TaskSucceeded); w.sys.set(u, "k2"); w.advance(2 * day) }, "k1", "has not ended", false},
		"snapshots that can't be listed": {func(w *world, u string) {
			w.sys.breaks("", &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "network", Err: errors.New("away")})
		}, "k0", "can't be listed", true},
		"a unit that does not say": {func(w *world, u string) { w.sys.breaks(u, errors.New("no idea")) }, "k0", "could not be listed: no idea", true},
		"paused clusters":          {func(w *world, _ string) { w.sys.doubts = []string{"cluster shop is paused"} }, "k0", "cluster shop is paused", true},
		"doubts nobody can tell":   {func(w *world, _ string) { w.sys.breaks("doubts", errors.New("403")) }, "k0", "can't be found out: 403", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, unit, keeper := retiring(t)
			test.change(w, unit)
			report, err := keeper.Retirement(w.ctx(), query(test.key))
			if err != nil || len(report) != 1 || report[0].Allowed(false) || report[0].Allowed(true) != test.accept {
				t.Fatalf("report is %+v, %v", report, err)
			}
			if all := strings.Join(append(report[0].Needs, report[0].Unknowns...), "; "); !strings.Contains(all, test.says) {
				t.Errorf("it says %q, want %q", all, test.says)
			}
			if _, err := keeper.Retire(w.ctx(), query(test.key)); !errors.Is(err, keyturn.ErrConflict) || len(w.sys.disabled) != 0 {
				t.Errorf("retiring: %v, disabled %v", err, w.sys.disabled)
			}
			q := query(test.key)
			q.AcceptUnknown = true
			_, err = keeper.Retire(w.ctx(), q)
			if test.accept && (err != nil || len(w.sys.disabled) != 1) || !test.accept && (!errors.Is(err, keyturn.ErrConflict) || len(w.sys.disabled) != 0) {
				t.Errorf("retiring with what is unknown accepted: %v, disabled %v", err, w.sys.disabled)
			}
		})
	}
}

// rotate begins a rotation of a unit, and leaves its task in a state; empty: with an open intent.
func (w *world) rotate(unit string, state keyturn.TaskState) {
	w.t.Helper()
	units, _, err := w.store.Units(w.ctx(), keyturn.UnitFilter{Name: unit})
	w.ok(err)
	r, _, err := w.store.Request(w.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual})
	w.ok(err)
	_, _, err = w.store.ClaimRotation(w.ctx(), r.ID, "planner", time.Minute)
	w.ok(err)
	other := units[0] // keeps the rotation from ending
	other.ID, other.ClusterID = other.ID+"x", other.ClusterID+"x"
	w.ok(w.store.SavePlan(w.ctx(), r.ID, "planner", []keyturn.Unit{units[0], other}))
	tasks, _, err := w.store.Tasks(w.ctx(), r.ID, keyturn.Page{})
	w.ok(err)
	i := slices.IndexFunc(tasks, func(t keyturn.Task) bool { return t.Unit == unit })
	out, err := w.store.Intend(w.ctx(), []keyturn.IntentWrite{{
		Task: tasks[i].ID, Unit: unit, Owner: "w", Intent: keyturn.Intent{Before: units[0].KeyID}, ApplyFor: time.Second, Lease: time.Minute,
	}})
	w.ok(err)
	if state == "" {
		return
	}
	result := keyturn.TaskResult{Task: tasks[i].ID, From: keyturn.TaskIntended, Epoch: out[0].Epoch, State: state, Reason: "lost"}
	if state == keyturn.TaskSucceeded {
		result.Reason, result.KeyAfter, result.Resolution = "", "k2", keyturn.ResolutionConfirmed
	}
	done, err := w.store.Finish(w.ctx(), []keyturn.TaskResult{result})
	if err != nil || !done.Taken[0] {
		w.t.Fatal(done, err)
	}
}

// A look from right before the rotation says nothing of the key that was replaced: it is taken again.
func TestRetireSoonAfterTheRotationLooksAgain(t *testing.T) {
	t.Parallel()
	w, unit, keeper := retiring(t)
	if _, err := keeper.Retirement(w.ctx(), query("k0")); err != nil {
		t.Fatal(err)
	}
	w.advance(time.Minute)
	if _, err := w.store.Observe(w.ctx(), []keyturn.Observation{{Unit: unit, Known: "k1", KeyID: "k2"}}); err != nil {
		t.Fatal(err)
	}
	w.sys.set(unit, "k2")
	w.advance(time.Minute)
	report, err := keeper.Retirement(w.ctx(), query("k1"))
	if err != nil || len(report) != 1 || !report[0].Allowed(false) {
		t.Fatalf("report is %+v, %v", report, err)
	}
}

func TestRetireAfterACrashDisablesAgain(t *testing.T) {
	t.Parallel()
	w, _, keeper := retiring(t)
	w.store.noteFail = true
	if _, err := keeper.Retire(w.ctx(), query("k0")); err == nil {
		t.Fatal("it did not die")
	}
	if k := w.key("k0"); k.State != nil {
		t.Errorf("k0 is %+v, and nobody wrote down that it was disabled", k)
	}
	w.store.noteFail = false
	done, err := keeper.Retire(w.ctx(), query("k0"))
	if err != nil || done[0].DisabledAt == nil || !slices.Equal(w.sys.disabled, []string{"k0", "k0"}) {
		t.Errorf("retired %+v, %v, disabled %v", done, err, w.sys.disabled)
	}
}

func TestRetireThatTheKMSRefuses(t *testing.T) {
	t.Parallel()
	w, _, keeper := retiring(t)
	w.sys.breaks("disable", errors.New("access denied"))
	if _, err := keeper.Retire(w.ctx(), query("k0")); err == nil || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("retiring: %v", err)
	}
	if k := w.key("k0"); k.State != nil {
		t.Errorf("k0 is %+v", k)
	}
}

func TestRetireWhereKeyturnDisablesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.SystemOpsManager)
	w.unit(1, "k0", "k1")
	w.advance(10 * day)
	report, err := w.keeper.Retirement(w.ctx(), query("k0"))
	if err != nil || report[0].Able || len(report[0].Needs)+len(report[0].Unknowns) != 0 || !strings.Contains(report[0].Advice, "deactivate it") {
		t.Fatalf("report is %+v, %v", report, err)
	}
	q := query("k0")
	q.AcceptUnknown = true
	if _, err := w.keeper.Retire(w.ctx(), q); !errors.Is(err, keyturn.ErrConflict) || !strings.Contains(err.Error(), "deactivate it") {
		t.Errorf("retiring: %v", err)
	}
}

func TestRetireOfAnAtlasThatShowsNoClusters(t *testing.T) {
	t.Parallel()
	w, _, _ := retiring(t)
	report, err := w.newKeeper("one", retirer{w.sys}).Retirement(w.ctx(), query("k0"))
	if err != nil || report[0].Allowed(false) || !report[0].Allowed(true) {
		t.Errorf("report is %+v, %v: whether clusters are paused is unknown", report, err)
	}
}

func TestRetireOfNothing(t *testing.T) {
	t.Parallel()
	w, _, keeper := retiring(t)
	for _, name := range []string{"k9", "nobody"} {
		if _, err := keeper.Retirement(context.WithoutCancel(w.ctx()), query(name)); !errors.Is(err, keyturn.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
