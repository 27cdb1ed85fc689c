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
					if got, err := b.add(t.Context(), i).wait(t.Context()); err != nil || got != 2*i {
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

	t.Run("AnErrorReachesEveryCallerOfTheGroup", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			broken := errors.New("disk full")
			b := newBatcher(func([]int) ([]int, error) { return nil, broken })
			var callers sync.WaitGroup
			for i := range 5 {
				callers.Go(func() {
					if _, err := b.add(t.Context(), i).wait(t.Context()); !errors.Is(err, broken) {
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
			if _, err := b.add(ctx, 1).wait(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if got, err := b.add(t.Context(), 2).wait(t.Context()); got != 2 || err != nil {
				t.Errorf("got %d, %v", got, err)
			}
		})
	})

	t.Run("AnAnswerOfTheWrongLengthIsAnError", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBatcher(func([]int) ([]int, error) { return nil, nil })
			if _, err := b.add(t.Context(), 1).wait(t.Context()); err == nil {
				t.Error("no error")
			}
		})
	})
}
