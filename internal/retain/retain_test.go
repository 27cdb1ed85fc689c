package retain_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestLookRecordsSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.SystemOpsManager)
	unit := w.unit(1, "k0", "k1")
	w.advance(2 * day)
	w.sys.has(unit, w.snapshot("s1", "k0", -5*day, 30*day), w.snapshot("s2", "", 0, 10*day))
	job := w.do(keyturn.JobSnapshots)
	if job.DoneAt == nil || job.Trouble != "" || job.Taken {
		t.Fatalf("job is %+v", job)
	}
	k := w.key("k0")
	if k.Snapshots != 1 || k.Sure != keyturn.SureExact || k.SafeToRetireAt == nil || !k.SafeToRetireAt.Equal(w.clock().Add(30*day)) || k.InUse {
		t.Errorf("k0 is %+v", k)
	}
	if len(k.Units) != 1 || !slices.Equal(k.Units[0].Policies, []string{"quarterly"}) || k.Units[0].Name != "rs1" {
		t.Errorf("its units are %+v", k.Units)
	}
	if k := w.key("k1"); k.Snapshots != 1 || k.Sure != keyturn.SureByTime || !k.InUse {
		t.Errorf("k1 is %+v", k)
	}
}

func TestLookStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.SystemOpsManager)
	const units, each = 5, 1300
	for i := range units {
		unit := w.unit(i, "k0")
		var many []keyturn.Snapshot
		for n := range each {
			many = append(many, w.snapshot(fmt.Sprint("s", n), "k0", -day, day))
		}
		w.sys.has(unit, many...)
	}
	w.do(keyturn.JobSnapshots)
	if k := w.key("k0"); k.Snapshots != units*each {
		t.Errorf("%d snapshots, want %d", k.Snapshots, units*each)
	}
	if w.store.most > 600 {
		t.Errorf("%d snapshots were held at once", w.store.most)
	}
}

func TestTroubleOfOneUnitLeavesTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.SystemOpsManager)
	one, two := w.unit(1, "a0", "a1"), w.unit(2, "b0", "b1")
	w.advance(2 * day)
	w.sys.has(one, w.snapshot("s1", "a0", -5*day, day), w.snapshot("s2", "a0", -5*day, day))
	w.sys.has(two, w.snapshot("s1", "b0", -5*day, day))
	w.sys.breaks(one, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "not_found", Err: errors.New("no such cluster")})
	if job := w.do(keyturn.JobSnapshots); job.DoneAt == nil {
		t.Fatalf("job is %+v", job)
	}
	if k := w.key("b0"); k.Snapshots != 1 || k.Sure != keyturn.SureExact {
		t.Errorf("b0 is %+v", k)
	}
	if k := w.key("a0"); k.Snapshots != 1 || k.Sure != keyturn.SureUnknown || !strings.Contains(strings.Join(k.Reasons, " "), "no such cluster") {
		t.Errorf("a0 is %+v", k)
	}
}

func TestTroubleOfTheTargetEndsTheLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.SystemOpsManager)
	for i := range 30 {
		w.unit(i, "k0")
	}
	w.sys.breaks("", &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "rate_limited", RetryAfter: time.Minute, Err: errors.New("429")})
	job := w.do(keyturn.JobSnapshots)
	if job.DoneAt != nil || !strings.Contains(job.Trouble, "429") || job.NotBefore == nil || job.HeldUntil == nil || !job.HeldUntil.Equal(w.clock().Add(time.Minute)) {
		t.Errorf("job is %+v", job)
	}
	if n := len(w.sys.asked); n > 3 {
		t.Errorf("%d units were asked for by a target in trouble", n)
	}
	if k := w.key("k0"); k.Sure != keyturn.SureUnknown {
		t.Errorf("k0 is %+v", k)
	}
}

func TestLookYieldsToRotations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.SystemOpsManager)
	var units []keyturn.Unit
	for i := range 250 { // three groups
		id := w.unit(i, "k0")
		units = append(units, keyturn.Unit{ID: id, Target: "om", ProjectID: "p1", ClusterID: fmt.Sprint("c", i), Component: keyturn.ComponentShard, Rotatable: true})
	}
	w.sys.hang, w.sys.atWork = make(chan struct{}), make(chan struct{}, 1000)
	w.ok(w.store.AskKeyJob(w.ctx(), "om", keyturn.JobSnapshots))
	var looking sync.WaitGroup
	looking.Go(func() {
		if _, err := w.keeper.Next(w.ctx(), keyturn.JobSnapshots); err != nil {
			t.Error(err)
		}
	})
	<-w.sys.atWork
	r, _, err := w.store.Request(w.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual})
	w.ok(err)
	_, _, err = w.store.ClaimRotation(w.ctx(), r.ID, "planner", time.Minute)
	w.ok(err)
	w.ok(w.store.SavePlan(w.ctx(), r.ID, "planner", units[:1]))
	close(w.sys.hang)
	looking.Wait()
	job := w.job(keyturn.JobSnapshots)
	if len(w.sys.asked) != 100 || job.DoneAt != nil || job.AskedAt == nil || job.Trouble != "" {
		t.Errorf("%d units were looked at, job is %+v", len(w.sys.asked), job)
	}
	if some, err := w.keeper.Next(w.ctx(), keyturn.JobSnapshots); err != nil || some {
		t.Errorf("a look began beside a rotation: %v, %v", some, err)
	}
	w.advance(7 * time.Hour)
	if some, err := w.keeper.Next(w.ctx(), keyturn.JobSnapshots); err != nil || !some || w.job(keyturn.JobSnapshots).DoneAt == nil {
		t.Errorf("a look waits for ever: %v, %v", some, err)
	}
}

func TestOneReplicaAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.SystemOpsManager)
	w.unit(1, "k0")
	w.sys.hang, w.sys.atWork = make(chan struct{}), make(chan struct{}, 10)
	w.ok(w.store.AskKeyJob(w.ctx(), "om", keyturn.JobSnapshots))
	var looking sync.WaitGroup
	looking.Go(func() {
		if _, err := w.keeper.Next(w.ctx(), keyturn.JobSnapshots); err != nil {
			t.Error(err)
		}
	})
	<-w.sys.atWork
	other := w.newKeeper("two", w.sys)
	if some, err := other.Next(w.ctx(), keyturn.JobSnapshots); err != nil || some {
		t.Errorf("another replica looks too: %v, %v", some, err)
	}
	close(w.sys.hang)
	looking.Wait()
}

func TestJobsAreDueByThemselves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.SystemOpsManager)
	w.unit(1, "k0")
	made := w.clock()
	for _, step := range []struct {
		at     time.Duration
		looked bool
		audit  bool
	}{
		{9 * time.Minute, false, false},
		{10 * time.Minute, true, true},
		{6 * time.Hour, false, false},
		{6*time.Hour + 10*time.Minute, true, false},
		{24*time.Hour + 10*time.Minute, true, true},
	} {
		w.advance(made.Add(step.at).Sub(w.clock()))
		for kind, want := range map[keyturn.KeyJobKind]bool{keyturn.JobSnapshots: step.looked, keyturn.JobAudit: step.audit} {
			if got, err := w.keeper.Next(w.ctx(), kind); err != nil || got != want {
				t.Errorf("after %s: %s %v (%v), want %v", step.at, kind, got, err, want)
			}
		}
	}
	never := keyturn.Duration(0)
	w.target.KMIP.Every, w.target.Observe = &never, &never
	w.advance(100 * day)
	for _, kind := range []keyturn.KeyJobKind{keyturn.JobSnapshots, keyturn.JobAudit} {
		if got, err := w.keeper.Next(w.ctx(), kind); err != nil || got {
			t.Errorf("%s although it is only to be done when asked: %v", kind, err)
		}
	}
}

func TestJobsOfARunningKeeper(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.SystemOpsManager)
	w.unit(1, "k0")
	w.sys.hang, w.sys.atWork = make(chan struct{}), make(chan struct{}, 10)
	ctx, cancel := contextOf(t)
	var running sync.WaitGroup
	running.Go(func() { w.keeper.Run(ctx) })
	w.ok(w.keeper.AskAudit(w.ctx(), "om"))
	<-w.sys.atWork // it did not wait for its ticker
	cancel()       // in the middle of a look
	running.Wait()
	if job := w.job(keyturn.JobSnapshots); job.Taken || job.DoneAt != nil || job.AskedAt == nil {
		t.Errorf("job is %+v: another process goes on at once", job)
	}
}
