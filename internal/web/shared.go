package web

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// shared is something dear to read that many look at: it is read once for all who wait for it, and shown to
// others for a while, too.
type shared[T any] struct {
	read    func(context.Context) (T, error)
	life    time.Duration // how long it is shown to others
	timeout time.Duration // of reading it, however long those who wait would wait
	now     func() time.Time
	one     singleflight.Group

	mu   sync.Mutex
	last T
	at   time.Time // zero: it was not read yet
}

func (s *shared[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	last, fresh := s.last, !s.at.IsZero() && s.now().Sub(s.at).Abs() < s.life
	s.mu.Unlock()
	if fresh {
		return last, nil
	}
	result := s.one.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
		defer cancel()
		read, err := s.read(ctx)
		if err == nil {
			s.mu.Lock()
			s.last, s.at = read, s.now()
			s.mu.Unlock()
		}
		return read, err
	})
	select {
	case r := <-result:
		read, _ := r.Val.(T)
		return read, r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
