package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// partStore is a database in which saving parts of plans does not go as it should.
type partStore struct {
	worker.Store
	parts    atomic.Int64
	savePart func(n int64) error // before the n-th part, from 1
	savePlan func() error        // before the last one
}

func (s *partStore) SavePart(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit, left int) error {
	if s.savePart != nil {
		if err := s.savePart(s.parts.Add(1)); err != nil {
			return err
		}
	}
	return s.Store.SavePart(ctx, id, owner, units, left)
}

func (s *partStore) SavePlan(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit) error {
	if s.savePlan != nil {
		if err := s.savePlan(); err != nil {
			return err
		}
	}
	return s.Store.SavePlan(ctx, id, owner, units)
}

var errGone = errors.New("the database is gone")

// firstPart lets a worker save one part of a plan, turn its keys, and die.
func (b *bundle) firstPart() keyturn.Rotation {
	b.t.Helper()
	stop := b.startOn("w1", &partStore{Store: b.store, savePart: func(n int64) error {
		if n > 1 {
			return errGone
		}
		return nil
	}})
	r := b.request("a")
	pass(10 * time.Second)
	stop()
	return b.wantPart(r.ID)
}

// wantPart wants a running rotation of which a part is turned, and nothing else is saved.
func (b *bundle) wantPart(id keyturn.ID) keyturn.Rotation {
	b.t.Helper()
	r, err := b.store.Rotation(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	all := len(b.system.units)
	if want := (keyturn.Counts{Total: all, Succeeded: b.part, Pending: all - b.part}); r.State != keyturn.RotationRunning || r.Counts != want {
		b.t.Fatalf("rotation is %s with %+v, want running with %+v", r.State, r.Counts, want)
	}
	return r
}

// changePolicy changes the policy that setup applied.
func (b *bundle) changePolicy(spec string, more ...keyturn.ResourceChange) {
	b.t.Helper()
	change := keyturn.ResourceChange{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: json.RawMessage(spec), Expect: 1}
	err := b.store.ApplyResources(b.t.Context(), append(more, change))
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestParts(t *testing.T) {
	t.Parallel()

	run := func(name string, test func(t *testing.T, b *bundle)) {
		bundled(t)(name, 20, func(t *testing.T, b *bundle) {
			b.part = 8
			test(t, b)
		})
	}

	run("KeysAreTurnedBeforeThePlanIsWhole", func(t *testing.T, b *bundle) {
		var id keyturn.ID
		store := &partStore{Store: b.store, savePart: func(n int64) error {
			if n == 2 {
				pass(10 * time.Second)
				b.wantPart(id)
			}
			return nil
		}}
		defer b.startOn("w1", store)()
		id = b.request("a").ID
		if r := b.await(id, time.Minute); r.State != keyturn.RotationSucceeded || r.Counts.Succeeded != 20 {
			t.Errorf("ended as %s with %+v", r.State, r.Counts)
		}
		b.checkTruth(1)
	})

	run("AnotherPlannerGoesOn", func(t *testing.T, b *bundle) {
		r := b.firstPart()
		defer b.start("w2")()
		if r = b.await(r.ID, 5*time.Minute); r.State != keyturn.RotationSucceeded || r.Counts.Succeeded != 20 {
			t.Errorf("ended as %s with %+v", r.State, r.Counts)
		}
		b.checkTruth(1)
	})

	run("TheSamePlannerGoesOn", func(t *testing.T, b *bundle) {
		defer b.startOn("w1", &partStore{Store: b.store, savePart: func(n int64) error {
			if n == 2 {
				return errGone
			}
			return nil
		}})()
		if r := b.await(b.request("a").ID, 5*time.Minute); r.State != keyturn.RotationSucceeded || r.Counts.Succeeded != 20 {
			t.Errorf("ended as %s with %+v", r.State, r.Counts)
		}
		b.checkTruth(1)
	})

	run("SavingMayTakeLongerThanTheLease", func(t *testing.T, b *bundle) {
		var looks atomic.Int64
		b.system.look = func(keyturn.Selection) ([]keyturn.Unit, error) {
			looks.Add(1)
			return slices.Clone(b.system.units), nil
		}
		slow := func() error { pass(50 * time.Second); return nil }
		store := &partStore{Store: b.store, savePart: func(int64) error { return slow() }, savePlan: slow}
		defer b.startOn("w1", store)()
		defer b.startOn("w2", store)()
		if r := b.await(b.request("a").ID, 10*time.Minute); r.State != keyturn.RotationSucceeded || looks.Load() != 1 {
			t.Errorf("ended as %s after %d looks at the target, want one", r.State, looks.Load())
		}
		b.checkTruth(1)
	})

	run("ASecondMessageDoesNotDisturb", func(t *testing.T, b *bundle) {
		var looks atomic.Int64
		b.system.look = func(keyturn.Selection) ([]keyturn.Unit, error) {
			if looks.Add(1) > 1 {
				return nil, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "http_500", Err: errors.New("too many at once")}
			}
			pass(10 * time.Second)
			return slices.Clone(b.system.units), nil
		}
		defer b.start("w1")()
		r := b.request("a")
		pass(5 * time.Second)
		if err := b.queue.PublishRotation(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		if r = b.await(r.ID, time.Minute); r.State != keyturn.RotationSucceeded || looks.Load() != 1 {
			t.Errorf("ended as %s after %d looks at the target, want one: %s", r.State, looks.Load(), r.Reason)
		}
		b.checkTruth(1)
	})

	run("ARolloutThatThePolicyHasMeanwhileIsTooLate", func(t *testing.T, b *bundle) {
		r := b.firstPart()
		b.changePolicy(`{"target":"om","rollout":{"canary":1,"batch":"50%"}}`)
		defer b.start("w2")()
		if r = b.await(r.ID, 5*time.Minute); r.State != keyturn.RotationSucceeded || r.Counts.Succeeded != 20 || r.Wave != nil {
			t.Errorf("ended as %s with %+v", r.State, r.Counts)
		}
		b.checkTruth(1)
	})

	halts := func(name, reason string, meanwhile func(b *bundle)) {
		run(name, func(t *testing.T, b *bundle) {
			r := b.firstPart()
			meanwhile(b)
			defer b.start("w2")()
			r = b.await(r.ID, 5*time.Minute)
			if r.State != keyturn.RotationPartial || r.Counts != (keyturn.Counts{Total: 8, Succeeded: 8}) || !strings.Contains(r.Reason, reason) {
				t.Errorf("ended as %s with %+v: %s", r.State, r.Counts, r.Reason)
			}
		})
	}
	halts("ATargetThatRefusesToSayTheRestHaltsIt", "401", func(b *bundle) {
		b.system.look = func(keyturn.Selection) ([]keyturn.Unit, error) {
			return nil, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "http_401", Err: errors.New("401 Unauthorized")}
		}
	})
	away := &keyturn.SystemError{Kind: keyturn.KindTransient, Code: "network", Err: errors.New("no route to host")}
	halts("ATargetThatIsAwayForTooLongHaltsIt", "gave up after 1h0m0s", func(b *bundle) {
		b.system.look = func(keyturn.Selection) ([]keyturn.Unit, error) { return nil, away }
		pass(time.Hour)
	})

	run("ATargetThatIsAwayForAWhileIsWaitedFor", func(t *testing.T, b *bundle) {
		r := b.firstPart()
		pass(2 * time.Minute) // longer than a person waits for a rotation that has not begun
		begin := time.Now()
		b.system.look = func(keyturn.Selection) ([]keyturn.Unit, error) {
			if time.Since(begin) < time.Minute {
				return nil, away
			}
			return slices.Clone(b.system.units), nil
		}
		defer b.start("w2")()
		if r = b.await(r.ID, 5*time.Minute); r.State != keyturn.RotationSucceeded || r.Counts.Succeeded != 20 {
			t.Errorf("ended as %s with %+v: %s", r.State, r.Counts, r.Reason)
		}
		b.checkTruth(1)
	})
	halts("APolicyOfAnotherTargetHaltsIt", "target else", func(b *bundle) {
		target := json.RawMessage(`{"system":"ops-manager","url":"https://else.example.com"}`)
		b.changePolicy(`{"target":"else"}`, keyturn.ResourceChange{Kind: keyturn.KindTarget, Name: "else", Spec: target})
	})
}
