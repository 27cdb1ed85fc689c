package worker

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// crew is some workers that share a bus.
type crew struct {
	places []*places
	inUse  atomic.Int64
	most   atomic.Int64 // the largest inUse
	ended  atomic.Int64
}

func newCrew(workers, concurrency int, alone bool) *crew {
	c := &crew{}
	for range workers {
		c.places = append(c.places, newPlaces(concurrency, alone, time.Now))
	}
	return c
}

func (c *crew) call(least time.Duration) {
	n := c.inUse.Add(1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	time.Sleep(least + rand.N(least))
	c.inUse.Add(-1)
}

// work carries out tasks as the rotator does, with as many in hands as the bus would give.
func (c *crew) work(ctx context.Context, tasks, most int, call, commit time.Duration) {
	var all sync.WaitGroup
	slots := make(chan struct{}, most)
	for range tasks {
		slots <- struct{}{}
		of := c.places[rand.IntN(len(c.places))]
		of.arrive()
		all.Go(func() {
			p := place{of: of}
			if p.take(ctx, ctx) {
				c.call(call)
				if p.while(ctx, func() { time.Sleep(commit) }) {
					c.call(2 * call)
					p.giveUp()
					time.Sleep(commit)
					c.ended.Add(1)
				}
			}
			p.leave()
			<-slots // the acknowledgement
		})
	}
	all.Wait()
}

func TestPlacesBoundTheCallsOfAllWorkers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		workers, concurrency int
		alone                bool
	}{
		"one that is alone":      {1, 32, true},
		"one that may have more": {1, 32, false},
		"two":                    {2, 32, false},
		"three of an odd number": {3, 33, false},
		"few places":             {1, 2, true},
		"a single place":         {1, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCrew(tt.workers, tt.concurrency, tt.alone)
				begin := time.Now()
				c.work(t.Context(), 2000, mostFor(tt.concurrency), 10*time.Millisecond, 5*time.Millisecond)
				if got := c.ended.Load(); got != 2000 {
					t.Errorf("%d tasks ended, want 2000", got)
				}
				if got := c.most.Load(); got > int64(tt.concurrency) {
					t.Errorf("%d calls at once, want at most %d", got, tt.concurrency)
				}
				// Calls take 45 ms of a task's time on average. What it waits for the database is hidden.
				least := 2000 * 45 * time.Millisecond / time.Duration(tt.concurrency)
				if took := time.Since(begin); tt.concurrency >= fewPlaces && took > least*5/4 {
					t.Errorf("took %s, want not much more than the calls alone: %s", took, least)
				}
				for _, p := range c.places {
					if p.used != 0 || p.held != 0 || len(p.back)+len(p.fresh)+len(p.leaving) != 0 {
						t.Errorf("left behind: %d used, %d held", p.used, p.held)
					}
				}
			})
		})
	}
}

func TestPlacesGoFirstToThoseThatLentThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(1, true, time.Now)
		first, second, third := place{of: p}, place{of: p}, place{of: p}
		var order []string
		var both sync.WaitGroup
		first.take(t.Context(), t.Context())
		both.Go(func() {
			second.take(t.Context(), t.Context())
			time.Sleep(20 * time.Millisecond)
			second.giveUp()
		})
		synctest.Wait()
		both.Go(func() {
			third.take(t.Context(), t.Context())
			order = append(order, "new")
			third.giveUp()
		})
		synctest.Wait()
		first.while(t.Context(), func() { time.Sleep(10 * time.Millisecond) })
		order = append(order, "lent")
		first.giveUp()
		both.Wait()
		if len(order) != 2 || order[0] != "lent" {
			t.Errorf("places went to %v, want first to the one that had lent its own", order)
		}
	})
}

func TestPlacesAreNotLentWhileTheyComeBackLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(1, true, time.Now)
		first, slow := place{of: p}, place{of: p}
		first.take(t.Context(), t.Context())
		var others sync.WaitGroup
		others.Go(func() {
			slow.take(t.Context(), t.Context())
			time.Sleep(lendWait + time.Second)
			slow.giveUp()
		})
		synctest.Wait()
		first.while(t.Context(), func() { time.Sleep(time.Millisecond) })
		others.Wait()
		if p.lend() {
			t.Error("a place was lent though the last one came back late")
		}
		time.Sleep(lendPause)
		if !p.lend() {
			t.Error("places are not lent any more")
		}
	})
}

func TestPlacesAreNotLostWhenWaitingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(1, true, time.Now)
		busy, stopped, waiting := place{of: p}, place{of: p}, place{of: p}
		busy.take(t.Context(), t.Context())
		stopping, stop := context.WithCancel(t.Context())
		var others sync.WaitGroup
		others.Go(func() {
			if stopped.take(t.Context(), stopping) {
				t.Error("got a place that somebody has")
			}
		})
		synctest.Wait()
		stop()
		others.Wait()
		busy.giveUp()
		if !waiting.take(t.Context(), t.Context()) {
			t.Error("the place is gone")
		}
	})
}
