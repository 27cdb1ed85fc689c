package web

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reads int
		var broken error
		s := shared[int]{life: 2 * time.Second, timeout: 10 * time.Second, now: time.Now}
		s.read = func(ctx context.Context) (int, error) {
			reads++ // one at a time
			n := reads
			select {
			case <-time.After(time.Second):
				return n, broken
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.get(impatient); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who gives up gets %v", err)
			}
		})
		synctest.Wait() // it is the one that began the reading
		for range 10 {
			wg.Go(func() {
				if n, err := s.get(t.Context()); n != 1 || err != nil {
					t.Errorf("got %d, %v", n, err)
				}
			})
		}
		wg.Wait()
		if n, err := s.get(t.Context()); n != 1 || err != nil || reads != 1 {
			t.Errorf("within its life: %d, %v after %d reads", n, err, reads)
		}
		time.Sleep(2 * time.Second)
		if n, err := s.get(t.Context()); n != 2 || err != nil {
			t.Errorf("after its life: %d, %v", n, err)
		}
		time.Sleep(2 * time.Second)
		broken = errors.New("away")
		if _, err := s.get(t.Context()); !errors.Is(err, broken) {
			t.Errorf("a reading that fails gives %v", err)
		}
		broken = nil
		if n, err := s.get(t.Context()); n != 4 || err != nil {
			t.Errorf("after a failure: %d, %v", n, err)
		}
		s.timeout = time.Millisecond
		time.Sleep(2 * time.Second)
		if _, err := s.get(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a reading that hangs gives %v", err)
		}
	})
}
