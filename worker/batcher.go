package worker

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

const (
	// flushTimeout bounds one group commit.
	flushTimeout = 30 * time.Second
	// yields is how often others may run before a group is closed: those of them who are about to add a value do so.
	// Where nobody else has anything to do it costs nothing; on two busy cores it makes groups larger.
	yields = 3
	// rest is how long a batcher rests after a group, unless somebody has nothing to do but to wait for the next one.
	rest = 5 * time.Millisecond
)

// batcher commits in groups: what arrives while a commit is under way, or while it rests, goes out together in the next one. A
// commit that somebody waits for starts at once; the busier the worker and the slower the database, the larger the groups.
type batcher[T, R any] struct {
	flush   func(context.Context, []T) ([]R, error)
	max     int // values in one commit
	observe func(size int, took time.Duration)

	mu      sync.Mutex
	queue   []waiting[T, R]
	hurried bool            // somebody waits for a value in the queue
	cut     chan struct{}   // closed to end the rest that is under way; nil: none is
	spare   []waiting[T, R] // room for the next queue: what the last group had
	running bool            // a goroutine commits
	ended   time.Time       // when the last commit did; only who commits touches it
}

type waiting[T, R any] struct {
	value T
	to    *answer[R]
}

// answer is what becomes of a value.
type answer[R any] struct {
	taken bool          // its group is closed; guarded by the batcher's mu
	done  chan struct{} // closed when it is there
	value R
	err   error
}

// add puts the value into the next group, which does not end with ctx.
func (b *batcher[T, R]) add(ctx context.Context, value T) *answer[R] {
	to := &answer[R]{done: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, waiting[T, R]{value, to})
	if len(b.queue) >= b.max {
		b.endRest()
	}
	start := !b.running
	b.running = true
	b.mu.Unlock()
	if start {
		go b.drain(context.WithoutCancel(ctx)) // the group is not only this caller's
	}
	return to
}

// wait returns when the value is durable, or could not be made so, or ctx ended; in the last case the commit may still happen.
// Who calls it has nothing else to do, so the value's group waits for no more company.
func (b *batcher[T, R]) wait(ctx context.Context, a *answer[R]) (R, error) {
	b.hurry(a)
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		var none R
		return none, fmt.Errorf("waiting for a group commit: %w", ctx.Err())
	}
}

// there reports whether the answer need not be waited for.
func (a *answer[R]) there() bool {
	if a == nil {
		return true
	}
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

func (b *batcher[T, R]) drain(ctx context.Context) {
	for {
		b.gather()
		for range yields {
			runtime.Gosched()
		}
		b.mu.Lock()
		n := min(len(b.queue), b.max)
		if n == 0 {
			b.running = false
			b.mu.Unlock()
			return
		}
		group := b.queue[:n:n]
		for _, w := range group {
			w.to.taken = true
		}
		if b.queue = b.queue[n:]; len(b.queue) == 0 {
			b.hurried = false
			b.queue, b.spare = b.spare, nil
		}
		b.mu.Unlock()
		b.commit(ctx, group)
		clear(group)
		b.mu.Lock()
		b.spare = group[:0]
		b.mu.Unlock()
	}
}

// hurry ends the rest before the answer's group.
func (b *batcher[T, R]) hurry(a *answer[R]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.taken {
		return
	}
	b.hurried = true
	b.endRest()
}

// endRest ends the rest that is under way. The caller holds mu.
func (b *batcher[T, R]) endRest() {
	if b.cut != nil {
		close(b.cut)
		b.cut = nil
	}
}

// gather rests, if there is something to commit, but no full group, and nobody waits for it. It obeys no context: the group is nobody's,
// and a worker that stops waits for it.
func (b *batcher[T, R]) gather() {
	left := rest - time.Since(b.ended)
	b.mu.Lock()
	if left <= 0 || b.hurried || len(b.queue) == 0 || len(b.queue) >= b.max {
		b.mu.Unlock()
		return
	}
	cut := make(chan struct{})
	b.cut = cut
	b.mu.Unlock()
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-cut:
	case <-timer.C:
	}
	b.mu.Lock()
	b.cut = nil
	b.mu.Unlock()
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
	b.ended = time.Now()
	b.observe(len(values), b.ended.Sub(begin))
	if err == nil && len(results) != len(values) {
		err = fmt.Errorf("group commit of %d answered %d", len(values), len(results))
	}
	for i, w := range group {
		if w.to.err = err; err == nil {
			w.to.value = results[i]
		}
		close(w.to.done)
	}
}
