package worker

import (
	"context"
	"errors"
	"slices"
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
					if got, err := b.wait(t.Context(), b.add(t.Context(), i)); err != nil || got != 2*i {
						t.Errorf("%d became %d, %v", i, got, err)
					}
				})
			}
			callers.Wait()
			// The first goes alone or with those already there; then full groups of at most 10.
			if len(sizes) > 4 || slices.Max(sizes) > 10 || time.Since(begin) > 4*time.Millisecond {
				t.Errorf("commits of %v took %s: want groups of at most 10", sizes, time.Since(begin))
			}
		})
	})

	t.Run("AFullGroupDoesNotRest", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var sizes []int
			b := newBatcher(func(values []int) ([]int, error) {
				sizes = append(sizes, len(values))
				return values, nil
			})
			begin := time.Now()
			var all []*answer[int]
			// What comes during a commit and makes a group full, then while the rest of it rests, then again during a commit. The
			// room of one group is used for another, and none of them may have anything of that.
			for _, come := range []struct {
				at time.Duration
				n  int
			}{{0, 1}, {500, 15}, {2500, 15}, {4000, 15}} {
				time.Sleep(time.Until(begin.Add(come.at * time.Microsecond)))
				for range come.n {
					all = append(all, b.add(t.Context(), len(all)))
				}
			}
			for i, a := range all {
				<-a.done
				if a.value != i || a.err != nil {
					t.Errorf("value %d became %d, %v", i, a.value, a.err)
				}
			}
			if want := []int{1, 10, 10, 10, 10, 5}; !slices.Equal(sizes, want) || time.Since(begin) > 12*time.Millisecond {
				t.Errorf("groups of %v took %s, want %v, of which only the last one rests", sizes, time.Since(begin), want)
			}
		})
	})

	t.Run("RestsUntilSomebodyWaits", func(t *testing.T) {
		t.Parallel()
		// When values come, in ms after the start, from when on somebody waits for them, and when their commits, of 1 ms each, are to end.
		type value struct{ at, waits, done time.Duration }
		const never = 100
		for name, values := range map[string][]value{
			"the first one does not wait":               {{0, never, 1}},
			"those that come until 5 ms later do":       {{0, never, 1}, {2, never, 7}, {5, never, 7}},
			"not longer than that":                      {{0, never, 1}, {6, never, 7}},
			"nor after a silence":                       {{0, never, 1}, {20, never, 21}},
			"who is waited for at once does not wait":   {{0, 0, 1}, {2, 2, 3}, {4, 4, 5}},
			"a rest ends when somebody begins to wait":  {{0, never, 1}, {2, 4, 5}, {3, never, 5}},
			"and the next one is whole again":           {{0, 0, 1}, {2, 2, 3}, {4, never, 9}},
			"to wait for what is under way ends none":   {{0, 0, 1}, {0, never, 7}},
			"one that comes during a commit waits then": {{0, never, 1}, {0, never, 7}, {3, never, 7}},
		} {
			synctest.Test(t, func(t *testing.T) {
				b := newBatcher(func(values []int) ([]int, error) { return values, nil })
				begin := time.Now()
				var callers sync.WaitGroup
				for i, v := range values {
					callers.Go(func() {
						time.Sleep(v.at*time.Millisecond + time.Microsecond*time.Duration(i)/10)
						a := b.add(t.Context(), i)
						select {
						case <-a.done:
						case <-time.After((v.waits - v.at) * time.Millisecond):
						}
						if _, err := b.wait(t.Context(), a); err != nil {
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
					if _, err := b.wait(t.Context(), b.add(t.Context(), i)); !errors.Is(err, broken) {
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
			flush := b.flush
			b.flush = func(ctx context.Context, values []int) ([]int, error) {
				answer, err := flush(ctx, values)
				return answer, errors.Join(err, ctx.Err())
			}
			ctx, cancel := context.WithCancel(t.Context())
			left := b.add(ctx, 1) // whose context begins the commits
			stays := b.add(t.Context(), 2)
			cancel()
			if _, err := b.wait(ctx, left); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if got, err := b.wait(t.Context(), stays); got != 2 || err != nil {
				t.Errorf("got %d, %v", got, err)
			}
		})
	})

	t.Run("AnAnswerOfTheWrongLengthIsAnError", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBatcher(func([]int) ([]int, error) { return nil, nil })
			if _, err := b.wait(t.Context(), b.add(t.Context(), 1)); err == nil {
				t.Error("no error")
			}
		})
	})
}
