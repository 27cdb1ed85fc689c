package scheduler_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// elapse lets time pass, in a synctest bubble: at once.
func elapse(d time.Duration) { <-time.After(d) }

// fakeStore keeps scheduler.Store's contract in memory.
type fakeStore struct {
	mu       sync.Mutex
	clock    func() time.Time
	skew     time.Duration // of the database's clock
	policies []*waiting
	fired    []keyturn.Rotation
	bySlot   map[string]bool
	err      error // of every call while set
	calls    int
}

type waiting struct {
	policy    keyturn.Policy
	slot      *keyturn.Slot
	heldUntil time.Time
	locked    bool // by another scheduler's transaction
}

func newFakeStore() *fakeStore { return &fakeStore{bySlot: make(map[string]bool), clock: time.Now} }

func (f *fakeStore) now() time.Time { return f.clock().Add(f.skew) }

// add makes a policy wait for its first slot from now on.
func (f *fakeStore) add(t *testing.T, name string, s keyturn.Schedule) *waiting {
	t.Helper()
	tt, err := scheduler.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &waiting{policy: keyturn.Policy{Name: name, Schedule: s}}
	if slot, ok := tt.First(f.now()); ok {
		w.slot = &slot
	}
	f.policies = append(f.policies, w)
	return w
}

func (f *fakeStore) FireDue(ctx context.Context, limit int, next func(keyturn.Due, time.Time) (*keyturn.Slot, error)) ([]keyturn.Rotation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.err != nil {
		return nil, f.err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var fired []keyturn.Rotation
	now, claimed := f.now(), 0
	for _, w := range f.policies {
		if claimed == limit || w.locked || w.slot == nil || w.slot.At.After(now) || w.heldUntil.After(now) {
			continue
		}
		claimed++
		following, err := next(keyturn.Due{Policy: w.policy, Slot: *w.slot}, now)
		if err != nil {
			w.heldUntil = now.Add(time.Minute)
			continue
		}
		key := w.policy.Name + " " + w.slot.Name()
		if !w.policy.Paused && !f.bySlot[key] {
			f.bySlot[key] = true
			fired = append(fired, keyturn.Rotation{ID: keyturn.NewID(now), Policy: w.policy.Name, Slot: w.slot.Name(), RequestedAt: now})
		}
		w.slot = following
	}
	f.fired = append(f.fired, fired...)
	return fired, nil
}

func (f *fakeStore) NextDue(context.Context) (time.Duration, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return 0, false, f.err
	}
	var soonest time.Time
	for _, w := range f.policies {
		if w.slot == nil {
			continue
		}
		at := w.slot.At
		if w.heldUntil.After(at) {
			at = w.heldUntil
		}
		if soonest.IsZero() || at.Before(soonest) {
			soonest = at
		}
	}
	return soonest.Sub(f.now()), !soonest.IsZero(), nil
}

func (f *fakeStore) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// slots returns the names of the slots that fired for a policy.
func (f *fakeStore) slots(policy string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, r := range f.fired {
		if r.Policy == policy {
			names = append(names, r.Slot)
		}
	}
	return names
}

func (f *fakeStore) ids() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []string
	for _, r := range f.fired {
		ids = append(ids, r.ID.String())
	}
	slices.Sort(ids)
	return ids
}

// fakePublisher notes what was published, or fails, or hangs.
type fakePublisher struct {
	mu   sync.Mutex
	ids  []string
	err  error
	hang bool
}

func (p *fakePublisher) PublishRotation(ctx context.Context, id keyturn.ID) error {
	p.mu.Lock()
	hang, err := p.hang, p.err
	p.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids = append(p.ids, id.String())
	return nil
}

func (p *fakePublisher) published() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(slices.Values(p.ids))
}
