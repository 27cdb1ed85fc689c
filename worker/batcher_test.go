package worker

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBatcher(t *testing.T) {
	t.Parallel()

	newBatcher := func(flush func([]int) ([]int, error)) *batcher[int, int] {
		return &batcher[int, int]{
			flush: func(_ context.Context, values []int) ([]int, error) {
				time.Sleep(time.Millisecond) // fake time: a commit
				return flush(values)
			},
			max: 10, observe: func(int, time.Duration) {},
		}
	}

	t.Run("GroupsWhatComesDuringACommit", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var sizes []int
			b := newBatcher(func(values []int) ([]int, error) {
				sizes = append(sizes, len(values))
				doubled := make([]int, len(values))
				for i, v := range values {
					doubled[i] = 2 * v
				}
				return doubled, nil
			})
			begin := time.Now()
			var callers sync.WaitGroup
			for i := range 25 {
				callers.Go(func() {
					if got, err := b.add(t.Context(), i, false).wait(t.Context()); err != nil || got != 2*i {
						t.Errorf("%d became %d, %v", i, got, err)
					}
				})
			}
			callers.Wait()
			// The first goes alone or with those already there; then full groups of at most 10.
			if len(sizes) > 4 || time.Since(begin) > 4*time.Millisecond {
				t.Errorf("commits of %v took %s: want groups", sizes, time.Since(begin))
			}
		})
	})

	t.Run("RestsWhileAllWhoWaitArePatient", func(t *testing.T) {
		t.Parallel()
		// When values come, in ms after the start, and when their commits, of 1 ms each, are to end.
		type value struct {
			at      time.Duration
			patient bool
			done    time.Duration
		}
		for name, values := range map[string][]value{
			"the first one does not wait":               {{0, true, 1}},
			"those that come until 5 ms later do":       {{0, true, 1}, {2, true, 7}, {5, true, 7}},
			"not longer than that":                      {{0, true, 1}, {6, true, 7}},
			"nor after a silence":                       {{0, true, 1}, {20, true, 21}},
			"who is in a hurry waits for nobody":        {{0, true, 1}, {2, false, 3}},
			"and takes those along who have waited":     {{0, false, 1}, {0, true, 2}, {0, false, 2}},
			"a hurry is over with its group":            {{0, false, 1}, {2, false, 3}, {4, true, 9}},
			"one that comes during a commit waits then": {{0, true, 1}, {0, true, 7}, {3, true, 7}},
		} {
			synctest.Test(t, func(t *testing.T) {
				b := newBatcher(func(values []int) ([]int, error) { return values, nil })
				begin := time.Now()
				var callers sync.WaitGroup
				for i, v := range values {
					callers.Go(func() {
						time.Sleep(v.at*time.Millisecond + time.Microsecond*time.Duration(i)/10)
						if _, err := b.add(t.Context(), i, v.patient).wait(t.Context()); err != nil {
							t.Error(err)
						}
						if got := time.Since(begin).Round(time.Millisecond); got != v.done*time.Millisecond {
							t.Errorf("%s: value %d was durable after %s, want %d ms", name, i, got, v.done)
						}
					})
				}
				callers.Wait()
			})
		}
	})

	t.Run("AnErrorReachesEveryCallerOfTheGroup", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			broken := errors.New("disk full")
			b := newBatcher(func([]int) ([]int, error) { return nil, broken })
			var callers sync.WaitGroup
			for i := range 5 {
				callers.Go(func() {
					if _, err := b.add(t.Context(), i, false).wait(t.Context()); !errors.Is(err, broken) {
						t.Errorf("error %v", err)
					}
				})
			}
			callers.Wait()
		})
	})

	t.Run("ACallerThatLeavesDoesNotStopTheOthers", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBatcher(func(values []int) ([]int, error) { return values, nil })
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := b.add(ctx, 1, false).wait(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if got, err := b.add(t.Context(), 2, false).wait(t.Context()); got != 2 || err != nil {
				t.Errorf("got %d, %v", got, err)
			}
		})
	})

	t.Run("AnAnswerOfTheWrongLengthIsAnError", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBatcher(func([]int) ([]int, error) { return nil, nil })
			if _, err := b.add(t.Context(), 1, false).wait(t.Context()); err == nil {
				t.Error("no error")
			}
		})
	})
}
