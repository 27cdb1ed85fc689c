package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

func TestRunOnceFiresEverythingDueInBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, bus := newFakeStore(), &fakePublisher{}
		for i := range 25 {
			store.add(t, fmt.Sprintf("p%02d", i), keyturn.Schedule{Cron: "@hourly"})
		}
		store.add(t, "later", keyturn.Schedule{Cron: "@daily"})
		elapse(time.Hour + time.Second)
		s := scheduler.New(scheduler.Config{Store: store, Publisher: bus, Batch: 10})
		fired, err := s.RunOnce(t.Context())
		if err != nil || fired != 25 {
			t.Fatalf("RunOnce: %d, %v, want 25", fired, err)
		}
		if store.calls < 3 || store.calls > 4 { // two claim at once
			t.Errorf("%d calls of FireDue, want 3 or 4", store.calls)
		}
		if !slices.Equal(bus.published(), store.ids()) {
			t.Errorf("published %v, fired %v", bus.published(), store.ids())
		}
		if fired, err := s.RunOnce(t.Context()); fired != 0 || err != nil {
			t.Errorf("second RunOnce: %d, %v, want nothing", fired, err)
		}
	})
}

func TestRunOnceFiresOnceForMissedSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		w := store.add(t, "p", keyturn.Schedule{Cron: "0 * * * *"})
		paused := store.add(t, "paused", keyturn.Schedule{Cron: "0 * * * *"})
		paused.policy.Paused = true
		core, logs := observer.New(zap.WarnLevel)
		reg := prometheus.NewRegistry()
		s := scheduler.New(scheduler.Config{Store: store, Publisher: &fakePublisher{}, Log: zap.New(core), Metrics: scheduler.NewMetrics(reg)})
		elapse(5*time.Hour + 30*time.Minute)
		if fired, err := s.RunOnce(t.Context()); fired != 1 || err != nil {
			t.Fatalf("RunOnce: %d, %v, want 1", fired, err)
		}
		if got := store.slots("p"); !slices.Equal(got, []string{"2000-01-01T05:00:00 UTC"}) {
			t.Errorf("fired %q, want the newest slot", got)
		}
		if w.slot.Local != "2000-01-01T06:00:00" || paused.slot.Local != "2000-01-01T06:00:00" {
			t.Errorf("next slots %v and %v, want 06:00", w.slot, paused.slot)
		}
		if n := logs.FilterField(zap.Int("missed", 4)).FilterField(zap.String("policy", "p")).Len(); n != 1 || logs.Len() != 1 {
			t.Errorf("logged %v, want the 4 missed slots once", logs.All())
		}
		want := `
# HELP keyturn_scheduler_rotations_fired_total Rotations that the schedules of policies started.
# TYPE keyturn_scheduler_rotations_fired_total counter
keyturn_scheduler_rotations_fired_total 1
# HELP keyturn_scheduler_slots_missed_total Slots that passed while no scheduler ran and did not fire; at most 100 are counted for each policy at a time.
# TYPE keyturn_scheduler_slots_missed_total counter
keyturn_scheduler_slots_missed_total 4
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "keyturn_scheduler_rotations_fired_total", "keyturn_scheduler_slots_missed_total"); err != nil {
			t.Error(err)
		}
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Errorf("metrics: %v, %v", problems, err)
		}
	})
}

func TestRunOnceGoesOnAfterAScheduleThatCannotBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		bad := store.add(t, "bad", keyturn.Schedule{Cron: "@hourly"})
		store.add(t, "good", keyturn.Schedule{Cron: "@hourly"})
		bad.policy.Schedule.Timezone = "Gone/Zone"
		core, logs := observer.New(zap.ErrorLevel)
		s := scheduler.New(scheduler.Config{Store: store, Publisher: &fakePublisher{}, Log: zap.New(core)})
		elapse(time.Hour)
		if fired, err := s.RunOnce(t.Context()); fired != 1 || err != nil {
			t.Fatalf("RunOnce: %d, %v, want the good one", fired, err)
		}
		if len(store.slots("good")) != 1 || len(store.slots("bad")) != 0 {
			t.Errorf("fired %v", store.fired)
		}
		if logs.FilterField(zap.String("policy", "bad")).Len() != 1 {
			t.Errorf("logged %v, want the bad policy once", logs.All())
		}
	})
}

func TestRunOnceEndsAfterTheLastSlot(t *testing.T) {
	t.Parallel()
	store := newFakeStore()
	last := time.Date(9999, 12, 31, 23, 0, 0, 0, time.UTC)
	w := store.add(t, "p", keyturn.Schedule{Cron: "@hourly"})
	w.slot = &keyturn.Slot{Local: "9999-12-31T23:00:00", Timezone: "UTC", At: last}
	store.clock = func() time.Time { return last.Add(time.Second) }
	s := scheduler.New(scheduler.Config{Store: store, Publisher: &fakePublisher{}})
	if fired, err := s.RunOnce(t.Context()); fired != 1 || err != nil || w.slot != nil {
		t.Errorf("RunOnce: %d, %v, next %v, want one and no next", fired, err, w.slot)
	}
}

func TestPublishErrorLosesNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		bus  *fakePublisher
	}{
		{"refused", &fakePublisher{err: errors.New("no responders")}},
		{"hangs", &fakePublisher{hang: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore()
				for i := range 100 {
					store.add(t, fmt.Sprintf("p%d", i), keyturn.Schedule{Cron: "@hourly"})
				}
				core, logs := observer.New(zap.WarnLevel)
				s := scheduler.New(scheduler.Config{Store: store, Publisher: tc.bus, Log: zap.New(core)})
				elapse(time.Hour)
				start := time.Now()
				if fired, err := s.RunOnce(t.Context()); fired != 100 || err != nil {
					t.Fatalf("RunOnce: %d, %v, want 100", fired, err)
				}
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("a bus in trouble held the slots back for %s", took)
				}
				if logs.Len() != 1 || logs.FilterField(zap.Int("rotations", 100)).Len() != 1 {
					t.Errorf("logged %v, want one line for the batch", logs.All())
				}
			})
		})
	}
}

func TestStoreErrorIsReturned(t *testing.T) {
	t.Parallel()
	store := newFakeStore()
	store.err = errors.New("connection refused")
	s := scheduler.New(scheduler.Config{Store: store, Publisher: &fakePublisher{}})
	if _, err := s.RunOnce(context.Background()); !errors.Is(err, store.err) {
		t.Errorf("got %v, want the store's error", err)
	}
}
