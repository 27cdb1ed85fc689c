package scheduler_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// start runs n schedulers on one store until the returned stop is called.
func start(t *testing.T, store *fakeStore, bus *fakePublisher, n int) (schedulers []*scheduler.Scheduler, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range n {
		s := scheduler.New(scheduler.Config{Store: store, Publisher: bus})
		schedulers = append(schedulers, s)
		wg.Go(func() { s.Run(ctx) })
	}
	synctest.Wait()
	return schedulers, func() { cancel(); wg.Wait() }
}

func TestRunFiresEachSlotOnceOverAYear(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, bus := newFakeStore(), &fakePublisher{}
		schedules := map[string]keyturn.Schedule{
			"gap":   {Cron: "30 2 * * *", Timezone: "America/New_York"},
			"fold":  {Cron: "30 1 * * *", Timezone: "America/New_York"},
			"every": {Cron: "@every 36h"},
		}
		want := make(map[string][]string)
		end := time.Now().Add(365 * 24 * time.Hour)
		for name, s := range schedules {
			w := store.add(t, name, s)
			tt, err := scheduler.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			for slot, ok := *w.slot, true; ok && slot.At.Before(end); slot, ok = tt.Next(slot) {
				want[name] = append(want[name], slot.Name())
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		s := scheduler.New(scheduler.Config{Store: store, Publisher: bus, Recheck: 20 * time.Minute})
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(ctx) })
		elapse(time.Until(end))
		cancel()
		wg.Wait()
		for name := range schedules {
			if got := store.slots(name); !slices.Equal(got, want[name]) {
				t.Errorf("%s: fired %d slots, want %d:\n%q\n%q", name, len(got), len(want[name]), got, want[name])
			}
		}
		if !slices.Equal(bus.published(), store.ids()) {
			t.Errorf("published %d of %d rotations", len(bus.published()), len(store.ids()))
		}
		for _, r := range store.fired {
			slot, zone, _ := strings.Cut(r.Slot, " ")
			if zone == "UTC" {
				if at, err := time.Parse(time.RFC3339, slot); err != nil || r.RequestedAt.Sub(at) > 50*time.Millisecond {
					t.Errorf("slot %s fired at %s (%v)", r.Slot, r.RequestedAt, err)
				}
			}
		}
	})
}

func TestRunFollowsTheDatabasesClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.add(t, "p", keyturn.Schedule{Cron: "0 * * * *"})
		_, stop := start(t, store, &fakePublisher{}, 1)
		defer stop()

		elapse(10 * time.Minute)
		store.set(func() { store.skew = 55 * time.Minute }) // forward: it is 01:05 now
		elapse(31 * time.Second)
		if got := store.slots("p"); !slices.Equal(got, []string{"2000-01-01T01:00:00 UTC"}) {
			t.Fatalf("after a step forward: fired %q, want the slot within 30 s", got)
		}
		store.set(func() { store.skew = -9 * time.Minute }) // back: it is 00:01 again
		elapse(65 * time.Minute)                            // 01:06
		if got := store.slots("p"); len(got) != 1 {
			t.Fatalf("after a step back: fired %q, want no slot twice", got)
		}
		elapse(time.Hour)
		if got := store.slots("p"); len(got) != 2 || got[1] != "2000-01-01T02:00:00 UTC" {
			t.Fatalf("fired %q, want the second slot", got)
		}
	})
}

func TestRunBacksOffAndComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.add(t, "p", keyturn.Schedule{Cron: "0 * * * *"})
		store.err = errors.New("connection refused")
		core, logs := observer.New(zap.ErrorLevel)
		s := scheduler.New(scheduler.Config{Store: store, Publisher: &fakePublisher{}, Log: zap.New(core)})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(ctx) })
		elapse(2 * time.Hour)
		tries := 0
		store.set(func() { tries, store.err = store.calls, nil })
		if tries < 2*60*60/30 || tries > 2*60*60/14 {
			t.Errorf("%d tries in two hours, want one in 15 to 30 s", tries)
		}
		if logs.Len() != tries {
			t.Errorf("%d log lines for %d errors", logs.Len(), tries)
		}
		elapse(31 * time.Second)
		if got := store.slots("p"); len(got) != 1 {
			t.Errorf("fired %q once the store was back, want one slot", got)
		}
		cancel()
		wg.Wait()
	})
}

func TestRunEndsAtOnceWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, stop := start(t, newFakeStore(), &fakePublisher{}, 1) // nothing to do: it sleeps
		elapse(5 * time.Second)
		before := time.Now()
		stop()
		if waited := time.Since(before); waited != 0 {
			t.Errorf("Run ended %s after its context", waited)
		}
	})
}

func TestWakeLooksAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		schedulers, stop := start(t, store, &fakePublisher{}, 1)
		defer stop()
		w := store.add(t, "p", keyturn.Schedule{Cron: "@daily"})
		store.set(func() { w.slot.At = time.Now() })
		schedulers[0].Wake()
		schedulers[0].Wake()
		synctest.Wait()
		if got := store.slots("p"); len(got) != 1 {
			t.Errorf("fired %q, want the slot at once", got)
		}
	})
}

func TestRunDoesNotSpinOnWhatOthersHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		w := store.add(t, "p", keyturn.Schedule{Cron: "@hourly"})
		_, stop := start(t, heldElsewhere(store), &fakePublisher{}, 1)
		defer stop()
		elapse(2 * time.Hour)
		store.set(func() {
			if store.calls > 2*60*60 {
				t.Errorf("%d calls in two hours for slot %v that another scheduler holds", store.calls, w.slot)
			}
		})
	})
}

// heldElsewhere makes every policy skip in FireDue, as a lock of another transaction does.
func heldElsewhere(store *fakeStore) *fakeStore {
	for _, w := range store.policies {
		w.locked = true
	}
	return store
}

func TestTwoSchedulersShareTheSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, bus := newFakeStore(), &fakePublisher{}
		store.add(t, "p", keyturn.Schedule{Cron: "*/5 * * * *"})
		store.add(t, "q", keyturn.Schedule{Cron: "*/5 * * * *"})
		_, stop := start(t, store, bus, 2)
		elapse(24*time.Hour + time.Minute)
		stop()
		for _, name := range []string{"p", "q"} {
			got := store.slots(name)
			if len(got) != 288 || len(slices.Compact(got)) != 288 {
				t.Errorf("%s: %d slots, %d different, want 288", name, len(got), len(slices.Compact(got)))
			}
		}
		if len(bus.published()) != 2*288 {
			t.Errorf("%d published, want %d", len(bus.published()), 2*288)
		}
	})
}

// TestRunGivesUpOnAStoreThatHangs takes the database's end of the connection away without a
// word: a call that nobody answers must not be waited for.
func TestRunGivesUpOnAStoreThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, bus := newFakeStore(), &fakePublisher{}
		store.add(t, "daily", keyturn.Schedule{Cron: "0 12 * * *"})
		store.set(func() { store.hangs = true })
		_, stop := start(t, store, bus, 1)
		defer stop()
		elapse(12*time.Hour + time.Minute)
		store.set(func() { store.hangs = false })
		elapse(2 * time.Minute)
		if got := store.slots("daily"); len(got) != 1 {
			t.Errorf("fired %q two minutes after the store was back, want one slot", got)
		}
	})
}
