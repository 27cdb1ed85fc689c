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
	mu                  sync.Mutex
	clock               func() time.Time
	skew                time.Duration // of the database's clock
	policies            []*waiting
	fired               []keyturn.Rotation
	bySlot              map[string]bool
	err                 error // of every call while set
	hangs               bool  // calls answer when their context ends
	calls               int
	stopped, superseded []keyturn.ID
	open                map[string]int // unended rotations by policy; nil: they end at once
	looks               []*looking
}

// looking is a rotation under way with windows.
type looking struct {
	look    keyturn.WindowLook
	opening keyturn.Opening
}

type waiting struct {
	policy    keyturn.Policy
	slot      *keyturn.Slot
	wake      time.Time // zero: at the slot
	heldUntil time.Time
	until     time.Time // of its pause
	deadline  *time.Time
	skipped   *keyturn.Skipped
	units     []keyturn.Unit
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

func (f *fakeStore) FireDue(ctx context.Context, limit int, decide func(keyturn.Due, time.Time) (keyturn.Firing, error)) ([]keyturn.Rotation, error) {
	if f.hung(ctx) {
		return nil, ctx.Err()
	}
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
		if claimed == limit || w.locked || w.slot == nil || w.wakeAt().After(now) || !w.until.IsZero() && !w.until.After(now) || w.heldUntil.After(now) {
			continue
		}
		claimed++
		due := keyturn.Due{Policy: w.policy, Slot: *w.slot, UnderWay: f.open[w.policy.Name] > 0, OldUnits: w.oldUnits}
		firing, err := decide(due, now)
		if err != nil {
			w.heldUntil = now.Add(time.Minute)
			continue
		}
		fired = append(fired, f.start(w, firing, now)...)
		w.slot, w.wake, w.deadline = firing.Next, firing.Wake, firing.Deadline
		if firing.Skipped != nil {
			w.skipped = firing.Skipped
		}
	}
	f.fired = append(f.fired, fired...)
	return fired, nil
}

func (w *waiting) wakeAt() time.Time {
	if !w.wake.IsZero() && w.wake.Before(w.slot.At) {
		return w.wake
	}
	return w.slot.At
}

func (w *waiting) oldUnits(before time.Time) ([]keyturn.Unit, error) {
	var old []keyturn.Unit
	for _, u := range w.units {
		if !u.KeySince.After(before) {
			old = append(old, u)
		}
	}
	return old, nil
}

// start inserts rotations for slots that have none.
func (f *fakeStore) start(w *waiting, firing keyturn.Firing, now time.Time) (fired []keyturn.Rotation) {
	for _, s := range firing.Start {
		key := w.policy.Name + " " + s.Slot.Name()
		if w.policy.Paused || f.bySlot[key] {
			continue
		}
		f.bySlot[key] = true
		r := keyturn.Rotation{
			ID: keyturn.NewID(now), Policy: w.policy.Name, Slot: s.Slot.Name(), RequestedAt: now, Only: s.Only, Reason: s.Reason,
		}
		fired = append(fired, r)
		if f.open != nil {
			f.open[w.policy.Name]++
		}
		if s.Opening.LookAt != nil || s.Opening.Until != nil {
			f.looks = append(f.looks, &looking{look: keyturn.WindowLook{Rotation: r.ID, Policy: w.policy, OldestKey: w.oldestKey}, opening: s.Opening})
		}
		if s.Supersedes {
			for _, before := range f.fired {
				if before.Policy == w.policy.Name {
					f.superseded = append(f.superseded, before.ID)
				}
			}
		}
	}
	return fired
}

func (w *waiting) oldestKey() (*time.Time, error) {
	if len(w.units) == 0 {
		return nil, nil //nolint:nilnil // none is known
	}
	return w.units[0].KeySince, nil
}

func (f *fakeStore) ResumeDue(_ context.Context, _ int, next func(keyturn.Policy, time.Time, time.Time) (*keyturn.Slot, error)) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, w := range f.policies {
		if w.until.IsZero() || w.until.After(f.now()) {
			continue
		}
		slot, err := next(w.policy, w.until, f.now())
		if err != nil {
			return nil, err
		}
		w.slot, w.until, w.policy.Paused = slot, time.Time{}, false
		names = append(names, w.policy.Name)
	}
	return names, nil
}

func (f *fakeStore) LookAtWindows(_ context.Context, _ int, decide func(keyturn.WindowLook, time.Time) (keyturn.Opening, error)) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	looked := 0
	for _, l := range f.looks {
		if l.opening.LookAt == nil || l.opening.LookAt.After(f.now()) {
			continue
		}
		opening, err := decide(l.look, f.now())
		if err != nil {
			return 0, err
		}
		l.opening = opening
		looked++
	}
	return looked, nil
}

func (f *fakeStore) Superseded(context.Context, int) ([]keyturn.ID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.superseded), nil
}

func (f *fakeStore) StopRotation(_ context.Context, id keyturn.ID, _, _ string, _ bool) (keyturn.Rotation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = append(f.stopped, id)
	f.superseded = slices.DeleteFunc(f.superseded, func(s keyturn.ID) bool { return s == id })
	return keyturn.Rotation{}, keyturn.ErrConflict // it has ended meanwhile: no reason to stop firing
}

// hung waits for the end of ctx if the store hangs.
func (f *fakeStore) hung(ctx context.Context) bool {
	f.mu.Lock()
	hangs := f.hangs
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
	}
	return hangs
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
		at := w.wakeAt()
		if w.heldUntil.After(at) {
			at = w.heldUntil
		}
		if !w.until.IsZero() && w.until.Before(at) {
			at = w.until
		}
		if soonest.IsZero() || at.Before(soonest) {
			soonest = at
		}
	}
	for _, l := range f.looks {
		if l.opening.LookAt != nil && (soonest.IsZero() || l.opening.LookAt.Before(soonest)) {
			soonest = *l.opening.LookAt
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

func (p *fakePublisher) PublishRotations(ctx context.Context, ids []keyturn.ID) error {
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
	for _, id := range ids {
		p.ids = append(p.ids, id.String())
	}
	return nil
}

func (p *fakePublisher) published() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(slices.Values(p.ids))
}
