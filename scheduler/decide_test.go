package scheduler_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// hours names the slots of full hours on the first day of a bubble.
func hours(of ...int) []string {
	var names []string
	for _, h := range of {
		names = append(names, fmt.Sprintf("2000-01-%02dT%02d:00:00 UTC", 1+h/24, h%24))
	}
	return names
}

func TestCatchUpSaysWhichMissedSlotsFire(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		schedule keyturn.Schedule
		down     time.Duration
		want     []string
		skipped  string // the slot that is noted as skipped
	}{
		{"latest is the default", keyturn.Schedule{}, 5*time.Hour + 30*time.Minute, hours(5), hours(1)[0]},
		{"in time nothing is missed", keyturn.Schedule{}, time.Hour + 10*time.Second, hours(1), ""},
		{"latest within the window", keyturn.Schedule{CatchUpWindow: keyturn.Duration(time.Hour)}, 5*time.Hour + 30*time.Minute, hours(5), hours(1)[0]},
		{"latest outside of the window", keyturn.Schedule{CatchUpWindow: keyturn.Duration(10 * time.Minute)}, 5*time.Hour + 30*time.Minute, nil, hours(5)[0]},
		{"a window never skips what is in time", keyturn.Schedule{CatchUpWindow: keyturn.Duration(time.Second)}, time.Hour + 30*time.Second, hours(1), ""},
		{"all", keyturn.Schedule{CatchUp: keyturn.CatchUpAll}, 5*time.Hour + 30*time.Minute, hours(1, 2, 3, 4, 5), ""},
		{"all within the window", keyturn.Schedule{CatchUp: keyturn.CatchUpAll, CatchUpWindow: keyturn.Duration(2 * time.Hour)}, 5*time.Hour + 30*time.Minute, hours(4, 5), hours(3)[0]},
		{"all of two days, a few in each transaction", keyturn.Schedule{CatchUp: keyturn.CatchUpAll}, 40 * time.Hour, nil, ""},
		{"skip", keyturn.Schedule{CatchUp: keyturn.CatchUpSkip}, 5*time.Hour + 30*time.Minute, nil, hours(5)[0]},
		{"skip fires what is in time", keyturn.Schedule{CatchUp: keyturn.CatchUpSkip}, 5*time.Hour + 30*time.Second, hours(5), hours(1)[0]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore()
				tc.schedule.Cron = "0 * * * *"
				w := store.add(t, "p", tc.schedule)
				want := tc.want
				if tc.down == 40*time.Hour {
					for h := 1; h <= 40; h++ {
						want = append(want, hours(h)...)
					}
				}
				elapse(tc.down)
				s := scheduler.New(scheduler.Config{Store: store, Publisher: &fakePublisher{}})
				if fired, err := s.RunOnce(t.Context()); err != nil || fired != len(want) {
					t.Fatalf("RunOnce: %d, %v, want %d", fired, err, len(want))
				}
				if got := store.slots("p"); !slices.Equal(got, want) {
					t.Errorf("fired %q, want %q", got, want)
				}
				if next := time.Now().Truncate(time.Hour).Add(time.Hour); w.slot == nil || !w.slot.At.Equal(next) {
					t.Errorf("next slot is %v, want %v", w.slot, next)
				}
				if got := w.skipped; (got == nil) != (tc.skipped == "") || got != nil && (got.Slot != tc.skipped || got.Reason == "") {
					t.Errorf("skipped is %+v, want %q", got, tc.skipped)
				}
			})
		})
	}
}

func TestOverlapSaysWhatAnUnendedRotationMeans(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		overlap        keyturn.Overlap
		fired, stopped int
	}{{"", 2, 0}, {keyturn.OverlapQueue, 2, 0}, {keyturn.OverlapSkip, 1, 0}, {keyturn.OverlapCancel, 2, 1}} {
		t.Run("overlap="+string(tc.overlap), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore()
				store.open = map[string]int{}
				w := store.add(t, "p", keyturn.Schedule{Cron: "0 * * * *", Overlap: tc.overlap})
				s := scheduler.New(scheduler.Config{Store: store, Publisher: &fakePublisher{}})
				for range 2 {
					elapse(time.Hour)
					if _, err := s.RunOnce(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if got := store.slots("p"); len(got) != tc.fired || len(store.stopped) != tc.stopped {
					t.Errorf("fired %q and stopped %v, want %d and %d", got, store.stopped, tc.fired, tc.stopped)
				}
				if tc.overlap == keyturn.OverlapSkip {
					if w.skipped == nil || w.skipped.Slot != hours(2)[0] {
						t.Errorf("skipped is %+v", w.skipped)
					}
					store.open["p"] = 0 // it has ended
					elapse(time.Hour)
					if n, err := s.RunOnce(t.Context()); n != 1 || err != nil {
						t.Errorf("RunOnce after its end: %d, %v", n, err)
					}
				}
			})
		})
	}
}

func TestPauseThatEndsLosesNoSlotAfterIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		w := store.add(t, "p", keyturn.Schedule{Cron: "0 * * * *"})
		w.policy.Paused, w.until = true, time.Now().Add(3*time.Hour+30*time.Minute)
		_, stop := start(t, store, &fakePublisher{}, 2)
		elapse(5*time.Hour + time.Second)
		stop()
		if got := store.slots("p"); !slices.Equal(got, hours(4, 5)) {
			t.Errorf("fired %q, want what came after the pause", got)
		}
	})
}

func aged(unit string, age time.Duration) keyturn.Unit {
	since := time.Now().Add(-age)
	return keyturn.Unit{ID: "om.p." + unit, Target: "om", ProjectID: "p", ClusterID: unit, Component: keyturn.ComponentShard, Rotatable: true, KeySince: &since}
}

func TestMaxAgeAsksForTheUnitsThatAreDueOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		w := store.add(t, "p", keyturn.Schedule{MaxAge: keyturn.Duration(80 * keyturn.Day), Jitter: 1})
		w.policy.Select.Clusters = []string{"a*"}
		w.units = []keyturn.Unit{aged("a1", 80*keyturn.Day), aged("b1", 90*keyturn.Day), aged("a2", 80*keyturn.Day-90*time.Minute), aged("a3", 0)}
		s := scheduler.New(scheduler.Config{Store: store, Publisher: &fakePublisher{}})
		want := [][]string{{"om.p.a1"}, {"om.p.a2"}, nil}
		for hour, units := range want {
			elapse(time.Hour)
			before := len(store.fired)
			if _, err := s.RunOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(units) == 0 {
				if len(store.fired) != before {
					t.Errorf("hour %d: fired %+v without a key that is due", hour, store.fired[before:])
				}
				continue
			}
			if len(store.fired) != before+1 || !slices.Equal(store.fired[before].Only.Units, units) {
				t.Fatalf("hour %d: fired %+v, want %v", hour, store.fired[before:], units)
			}
			for i := range w.units { // they are turned
				if slices.Contains(units, w.units[i].ID) {
					now := time.Now()
					w.units[i].KeySince = &now
				}
			}
		}
	})
}

func TestMaxAgeLooksForNothingWhileARotationIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.open = map[string]int{"p": 1}
		w := store.add(t, "p", keyturn.Schedule{MaxAge: keyturn.Duration(80 * keyturn.Day)})
		w.units = []keyturn.Unit{aged("a1", 100*keyturn.Day)}
		elapse(time.Hour)
		s := scheduler.New(scheduler.Config{Store: store, Publisher: &fakePublisher{}})
		if n, err := s.RunOnce(t.Context()); n != 0 || err != nil {
			t.Errorf("RunOnce: %d, %v", n, err)
		}
	})
}

// nights are windows that are open on Sunday nights; the bubble begins on a Saturday.
func nights() []keyturn.Window {
	return []keyturn.Window{{Days: []string{"sun"}, From: "22:00", To: "23:00"}}
}

func TestRotationUnderWayFollowsItsWindows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.add(t, "p", keyturn.Schedule{Cron: "0 12 * * *", Windows: nights()})
		_, stop := start(t, store, &fakePublisher{}, 1)
		defer stop()
		isOpen := func() bool {
			store.mu.Lock()
			defer store.mu.Unlock()
			until := store.looks[0].opening.Until
			return until == nil || until.After(store.now())
		}
		elapse(46*time.Hour + time.Second) // Sunday, 22:00
		if got := store.slots("p"); len(got) != 1 || !isOpen() {
			t.Fatalf("fired %q, want one slot when the window opens", got)
		}
		elapse(time.Hour)
		if isOpen() {
			t.Error("the rotation may work after the window's end")
		}
		elapse(6*24*time.Hour + 23*time.Hour)
		if !isOpen() {
			t.Error("the rotation may not work in the next window")
		}
	})
}

func TestDeadlineBeforeTheNextWindow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		deadline keyturn.Deadline
		age      time.Duration
		fired    bool
		told     bool
	}{
		{"run", keyturn.DeadlineRun, 364 * keyturn.Day, true, false},
		{"alert is the default", "", 364 * keyturn.Day, false, true},
		{"no key gets too old", keyturn.DeadlineRun, 300 * keyturn.Day, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				elapse(3 * 24 * time.Hour) // Tuesday
				store := newFakeStore()
				w := store.add(t, "p", keyturn.Schedule{Cron: "0 12 * * *", Windows: nights(), Deadline: tc.deadline})
				w.wake = time.Now().Add(-time.Second) // as a store does for a new policy with windows
				w.units = []keyturn.Unit{aged("a", tc.age)}
				_, stop := start(t, store, &fakePublisher{}, 1)
				defer stop()
				elapse(13 * time.Hour)
				got := store.slots("p")
				store.mu.Lock()
				defer store.mu.Unlock()
				if (len(got) > 0) != tc.fired || (w.deadline != nil) != tc.told {
					t.Fatalf("fired %q, deadline %v", got, w.deadline)
				}
				if tc.fired {
					if o := store.looks[0].opening; o.Until != nil && !o.Until.After(time.Now()) {
						t.Errorf("it fired and may not work: %+v", o)
					}
				}
			})
		})
	}
}

func TestClockThatJumpsFiresEachSlotOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.add(t, "latest", keyturn.Schedule{Cron: "0 * * * *"})
		store.add(t, "all", keyturn.Schedule{Cron: "0 * * * *", CatchUp: keyturn.CatchUpAll})
		_, stop := start(t, store, &fakePublisher{}, 3)
		defer stop()
		elapse(90 * time.Minute)
		store.set(func() { store.skew = 72 * time.Hour }) // the machine was suspended for three days
		elapse(31 * time.Second)
		if got := store.slots("latest"); !slices.Equal(got, hours(1, 73)) {
			t.Errorf("latest fired %q, want the newest of what was missed", got)
		}
		if got := store.slots("all"); len(got) != 73 || len(slices.Compact(slices.Clone(got))) != 73 {
			t.Errorf("all fired %d slots, want each of 73 once", len(got))
		}
		store.set(func() { store.skew = 70 * time.Hour }) // set back
		elapse(2 * time.Hour)                             // 73:30 again
		if latest, all := store.slots("latest"), store.slots("all"); len(latest) != 2 || len(all) != 73 {
			t.Errorf("fired %q and %d slots after a step back, want none a second time", latest, len(all))
		}
		elapse(time.Hour)
		if got := store.slots("latest"); len(got) != 3 || got[2] != hours(74)[0] {
			t.Errorf("fired %q, want to go on with the next slot", got)
		}
	})
}

func TestSkewOfAReplicaChangesNothing(t *testing.T) {
	t.Parallel()
	// A scheduler has no clock of its own: what it decides with is what the store says.
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.add(t, "p", keyturn.Schedule{Cron: "0 * * * *"})
		store.skew = -30 * time.Second
		_, stop := start(t, store, &fakePublisher{}, 2)
		defer stop()
		elapse(time.Hour + 20*time.Second)
		if got := store.slots("p"); len(got) != 0 {
			t.Fatalf("fired %q before the database's clock showed its time", got)
		}
		elapse(11 * time.Second)
		if got := store.slots("p"); !slices.Equal(got, hours(1)) {
			t.Errorf("fired %q", got)
		}
	})
}
