package worker

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// flushTimeout bounds one group commit.
const flushTimeout = 30 * time.Second

// batcher commits in groups: what arrives while a commit is under way goes out
// together in the next one. A caller that is alone does not wait: its commit
// starts at once. While groups come one after the other, each waits up to
// linger for company, because a commit costs about the same for one row as for thirty.
type batcher[T, R any] struct {
	flush    func(context.Context, []T) ([]R, error)
	max      int // values in one commit
	parallel int // commits under way at once
	linger   time.Duration
	observe  func(size int, took time.Duration)

	mu      sync.Mutex
	queue   []waiting[T, R]
	running int
	full    chan struct{} // of capacity 1; wakes a group that waits for company
}

type waiting[T, R any] struct {
	value T
	done  chan answer[R]
}

type answer[R any] struct {
	value R
	err   error
}

// do returns when the value is durable, or could not be made so, or ctx ended;
// in the last case the commit may still happen.
func (b *batcher[T, R]) do(ctx context.Context, value T) (R, error) {
	w := waiting[T, R]{value: value, done: make(chan answer[R], 1)}
	b.mu.Lock()
	b.queue = append(b.queue, w)
	if len(b.queue) == lingerFor {
		notify(b.full)
	}
	start := b.running < b.parallel
	if start {
		b.running++
	}
	b.mu.Unlock()
	if start {
		go b.drain(context.WithoutCancel(ctx)) // the group is not only this caller's
	}
	select {
	case a := <-w.done:
		return a.value, a.err
	case <-ctx.Done():
		var none R
		return none, fmt.Errorf("waiting for a group commit: %w", ctx.Err())
	}
}

func (b *batcher[T, R]) drain(ctx context.Context) {
	for busy := false; ; busy = true {
		if busy {
			b.wait()
		}
		b.mu.Lock()
		n := min(len(b.queue), b.max)
		if n == 0 {
			b.running--
			b.mu.Unlock()
			return
		}
		group := b.queue[:n:n]
		b.queue = b.queue[n:]
		if len(b.queue) == 0 {
			b.queue = nil
		}
		b.mu.Unlock()
		b.commit(ctx, group)
	}
}

// lingerFor is the size of a group that waits for no more company.
const lingerFor = 48

// wait returns when the group has company enough, at the latest after linger.
func (b *batcher[T, R]) wait() {
	b.mu.Lock()
	n := len(b.queue)
	b.mu.Unlock()
	if n < 2 || n >= lingerFor {
		return
	}
	timer := time.NewTimer(b.linger)
	defer timer.Stop()
	select {
	case <-b.full:
	case <-timer.C:
	}
}

func (b *batcher[T, R]) commit(ctx context.Context, group []waiting[T, R]) {
	values := make([]T, len(group))
	for i, w := range group {
		values[i] = w.value
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	results, err := b.flush(ctx, values)
	b.observe(len(values), time.Since(begin))
	if err == nil && len(results) != len(values) {
		err = fmt.Errorf("group commit of %d answered %d", len(values), len(results))
	}
	for i, w := range group {
		if err != nil {
			w.done <- answer[R]{err: err}
			continue
		}
		w.done <- answer[R]{value: results[i]}
	}
}
