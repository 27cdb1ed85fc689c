package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
)

// sharded makes the fake system's units clusters of one config server replica set and so many shards.
func (s *fakeSystem) sharded(clusters, shards int) {
	s.units = nil
	for c := range clusters {
		for n := range shards + 1 {
			u := keyturn.Unit{
				ID: fmt.Sprintf("om.p%d.c%d-%d", c%2, c, n), Target: "om", System: keyturn.SystemOpsManager, ProjectID: fmt.Sprintf("p%d", c%2),
				ClusterID: fmt.Sprintf("c%d-%d", c, n), ClusterName: fmt.Sprintf("cluster%d", c), Component: keyturn.ComponentShard,
				Name: fmt.Sprintf("rs%d", n), Rotatable: true,
			}
			if n == shards/2 { // somewhere among the others
				u.Component = keyturn.ComponentConfig
			}
			s.units = append(s.units, u)
			s.keys[u.ID] = "key-0"
		}
	}
}

// timeline notes when each unit's change arrived and when its new key was first seen.
type timeline struct {
	mu      sync.Mutex
	applied map[string]time.Time
	seen    map[string]time.Time
	events  time.Duration // nanoseconds: events of one instant stay in their order
}

// at is now, later than any event before.
func (tl *timeline) at() time.Time {
	tl.events++
	return time.Now().Add(tl.events)
}

func (tl *timeline) watch(s *fakeSystem, fail func(unit string) error) {
	tl.applied, tl.seen = map[string]time.Time{}, map[string]time.Time{}
	s.apply = func(unit string, turn func()) error {
		if fail != nil {
			if err := fail(unit); err != nil {
				return err
			}
		}
		tl.mu.Lock()
		tl.applied[unit] = tl.at()
		tl.mu.Unlock()
		pass(200 * time.Millisecond)
		turn()
		return nil
	}
	s.current = func(unit, key string) (string, error) {
		tl.mu.Lock()
		defer tl.mu.Unlock()
		if _, ok := tl.seen[unit]; !ok && key != "key-0" {
			tl.seen[unit] = tl.at()
		}
		return key, nil
	}
}

var errRefused = &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "refused", Err: fmt.Errorf("the system refuses")}

func TestRollout(t *testing.T) {
	t.Parallel()
	run := func(name, rollout string, test func(t *testing.T, b *bundle, tl *timeline)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, 0)
				defer b.close()
				b.system.sharded(6, 3)
				if err := b.store.ApplyResources(t.Context(), []keyturn.ResourceChange{{
					Kind: keyturn.KindPolicy, Name: "quarterly", Spec: []byte(`{"target":"om","rollout":` + rollout + `}`), Expect: 1,
				}}); err != nil {
					t.Fatal(err)
				}
				test(t, b, &timeline{})
			})
		})
	}

	run("CanaryIsConfirmedBeforeTheRestBegins", `{"canary":1}`, func(t *testing.T, b *bundle, tl *timeline) {
		tl.watch(b.system, nil)
		defer b.start("w1")()
		defer b.start("w2")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationSucceeded || r.Counts.Succeeded != 24 || r.Wave == nil || *r.Wave != (keyturn.Wave{Current: 2, Total: 2}) {
			t.Fatalf("%+v %+v", r, r.Wave)
		}
		b.checkTruth(1)
		first := slices.MinFunc(b.tasks(r.ID), func(x, y keyturn.Task) int { return tl.applied[x.Unit].Compare(tl.applied[y.Unit]) }).Unit
		for unit, at := range tl.applied {
			if unit != first && !at.After(tl.seen[first]) {
				t.Errorf("unit %s began at %s, the canary was confirmed at %s", unit, at, tl.seen[first])
			}
		}
	})

	run("CanaryThatFailsHaltsTheRest", `{"canary":1,"batch":"25%"}`, func(t *testing.T, b *bundle, tl *timeline) {
		tl.watch(b.system, func(string) error { return errRefused })
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationFailed || !r.Halted || r.Counts.Failed != 1 || r.Counts.Skipped != 23 || !strings.Contains(r.Reason, "canary") {
			t.Errorf("%s %s %+v", r.State, r.Reason, r.Counts)
		}
		b.checkTruth(0)
	})

	run("PausesBetweenBatches", `{"batch":8,"pauseBetween":"1m"}`, func(t *testing.T, b *bundle, tl *timeline) {
		tl.watch(b.system, nil)
		stop := b.start("w1")
		id := b.request("a").ID
		pass(20 * time.Second)
		if r, err := b.store.Rotation(t.Context(), id); err != nil || r.Counts.Succeeded != 8 || r.Wave == nil || r.Wave.NextAt == nil || r.Wave.Total != 3 {
			t.Fatalf("%+v %+v, %v", r, r.Wave, err)
		}
		stop() // what is waited for does not begin anew with another worker
		defer b.start("w2")()
		r := b.await(id, 15*time.Minute)
		if r.State != keyturn.RotationSucceeded {
			t.Fatalf("%s %s", r.State, r.Reason)
		}
		var times []time.Time
		for _, at := range tl.applied {
			times = append(times, at)
		}
		slices.SortFunc(times, time.Time.Compare)
		for _, i := range []int{8, 16} {
			if gap := times[i].Sub(times[i-1]); gap < time.Minute-time.Millisecond || gap > time.Minute+5*time.Second {
				t.Errorf("pause before the %dth unit is %s", i, gap)
			}
		}
		if took := times[23].Sub(times[0]); took > 150*time.Second {
			t.Errorf("took %s", took)
		}
	})

	run("HaltsPastMaxFailures", `{"batch":4,"maxFailures":2}`, func(t *testing.T, b *bundle, tl *timeline) {
		var mu sync.Mutex
		sent := 0
		tl.watch(b.system, func(string) error {
			mu.Lock()
			defer mu.Unlock()
			if sent++; sent > 6 {
				return errRefused
			}
			return nil
		})
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		if r.State != keyturn.RotationPartial || !r.Halted || r.Counts.Succeeded != 6 || r.Counts.Failed < 3 || r.Counts.Failed > 6 ||
			!strings.Contains(r.Reason, "maxFailures (2)") {
			t.Errorf("%s %s %+v", r.State, r.Reason, r.Counts)
		}
	})

	for _, order := range []keyturn.Order{keyturn.OrderConfigFirst, keyturn.OrderShardsFirst} {
		run("Keeps"+string(order), `{"canary":1,"batch":"30%","order":"`+string(order)+`"}`, func(t *testing.T, b *bundle, tl *timeline) {
			tl.watch(b.system, nil)
			defer b.start("w1")()
			defer b.start("w2")()
			r := b.await(b.request("a").ID, time.Minute)
			if r.State != keyturn.RotationSucceeded {
				t.Fatalf("%s %s", r.State, r.Reason)
			}
			for _, u := range b.system.units {
				for _, v := range b.system.units {
					firstKind := u.Component == keyturn.ComponentConfig == (order == keyturn.OrderConfigFirst)
					if u.ClusterName != v.ClusterName || u.Component == v.Component || !firstKind {
						continue
					}
					if !tl.applied[v.ID].After(tl.seen[u.ID]) {
						t.Errorf("%s of %s began before %s had ended", v.Component, v.ClusterName, u.Component)
					}
				}
			}
		})
	}

	run("RotationsBesideItGoOn", `{"batch":4,"pauseBetween":"30m"}`, func(t *testing.T, b *bundle, tl *timeline) {
		if err := b.store.ApplyResources(t.Context(), []keyturn.ResourceChange{{
			Kind: keyturn.KindPolicy, Name: "plain", Spec: []byte(`{"target":"om"}`),
		}}); err != nil {
			t.Fatal(err)
		}
		defer b.start("w1")()
		b.request("a")
		pass(time.Minute)
		other, _, err := b.store.Request(t.Context(), keyturn.Request{Policy: "plain", Trigger: keyturn.TriggerManual, TriggerID: "b"})
		if err != nil {
			t.Fatal(err)
		}
		if r := b.await(other.ID, time.Minute); r.Counts.Succeeded != 24 {
			t.Errorf("%s %+v", r.State, r.Counts)
		}
	})
}

// slowSystem takes its time to say which key is in use.
type slowSystem struct {
	*fakeSystem
	looking chan struct{}
}

func (s *slowSystem) Current(ctx context.Context, unit string) (string, error) {
	pass(100 * time.Millisecond)
	select {
	case s.looking <- struct{}{}:
	default:
	}
	return s.fakeSystem.Current(ctx, unit)
}

func TestLook(t *testing.T) {
	t.Parallel()
	run := bundled(t)

	run("FindsUnitsAndKeysBeforeTheFirstRotation", 250, func(t *testing.T, b *bundle) {
		pass(8 * time.Minute)
		defer b.start("w1")()
		defer b.start("w2")()
		pass(time.Minute)
		if n := len(b.records(keyturn.OriginObserved)); n != 0 {
			t.Fatalf("%d keys were looked at too early", n)
		}
		pass(2 * time.Minute)
		if n := len(b.records(keyturn.OriginObserved)); n != 250 {
			t.Errorf("%d keys were recorded, want 250", n)
		}
		pass(time.Minute)
		b.queue.mu.Lock()
		defer b.queue.mu.Unlock()
		if n := len(b.queue.events); n != 250 || b.queue.events[0].Type != "key.observed" {
			t.Errorf("%d events", n)
		}
	})

	run("NoticesThatSomebodyElseTurnedAKey", 5, func(t *testing.T, b *bundle) {
		often := keyturn.Duration(time.Minute)
		b.one.target.Observe = &often
		defer b.start("w1")()
		r := b.await(b.request("a").ID, time.Minute)
		unit := b.system.units[2].ID
		b.system.mu.Lock()
		b.system.keys[unit] = "key-theirs"
		b.system.mu.Unlock()
		pass(3 * time.Minute)
		var drift []keyturn.KeyRecord
		for _, k := range b.records(keyturn.OriginObserved) {
			if k.KeyID == "key-theirs" {
				drift = append(drift, k)
			}
		}
		if len(drift) != 1 || drift[0].Unit != unit || drift[0].PreviousKeyID != "key-1" || !drift[0].From.After(*r.FinishedAt) {
			t.Errorf("records %+v", drift)
		}
	})

	run("YieldsToRotations", 400, func(t *testing.T, b *bundle) {
		looking := make(chan struct{}, 1000)
		b.one.sys = &slowSystem{fakeSystem: b.system, looking: looking}
		defer b.start("w1")()
		b.askLook()
		<-looking
		r := b.await(b.request("a").ID, 5*time.Minute)
		if r.State != keyturn.RotationSucceeded || r.Counts.Succeeded != 400 {
			t.Errorf("%s %+v", r.State, r.Counts)
		}
		if n := len(b.records(keyturn.OriginObserved)); n != 400 {
			t.Errorf("%d observed keys, want one for each unit: none of ours was taken for somebody else's", n)
		}
		pass(90 * time.Second)
		b.checkTruth(1)
	})

	run("LeavesATargetInTroubleAlone", 300, func(t *testing.T, b *bundle) {
		var mu sync.Mutex
		calls := 0
		b.system.current = func(string, string) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			calls++
			return "", &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "rate_limited", RetryAfter: time.Minute, Err: fmt.Errorf("too many requests")}
		}
		b.askLook()
		defer b.start("w1")()
		pass(5 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if calls == 0 || calls > 10 {
			t.Errorf("%d calls to a target that refuses them", calls)
		}
	})

	run("OneUnitInTroubleDoesNotHideTheOthers", 50, func(t *testing.T, b *bundle) {
		gone := b.system.units[7].ID
		b.system.current = func(unit, key string) (string, error) {
			if unit == gone {
				return "", errRefused
			}
			return key, nil
		}
		b.askLook()
		defer b.start("w1")()
		pass(time.Minute)
		if n := len(b.records(keyturn.OriginObserved)); n != 49 {
			t.Errorf("%d keys were recorded, want 49", n)
		}
	})
}

// askLook makes the keys of the target due to be looked at.
func (b *bundle) askLook() {
	b.t.Helper()
	if err := b.store.AskLook(b.t.Context(), "om"); err != nil {
		b.t.Fatal(err)
	}
}
