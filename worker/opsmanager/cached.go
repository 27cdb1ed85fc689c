package opsmanager

import (
	"context"
	"sync"
	"time"
)

// cached is something that was read, and when. Several callers at once read it once: an automation config has
// megabytes, and all tasks of a project ask for the same one.
type cached[T any] struct {
	reading chan struct{} // who holds its one place reads

	mu    sync.Mutex
	value T
	begun time.Time // when the read began; zero: nothing was read
	stale time.Time // reads that began before are worth nothing
}

func newCached[T any]() *cached[T] { return &cached[T]{reading: make(chan struct{}, 1)} }

// get returns what was read at most maxAge ago, or reads it. With 0 the read began after the call of get did.
func (c *cached[T]) get(ctx context.Context, now func() time.Time, maxAge time.Duration, read func(context.Context) (T, error)) (T, error) {
	oldest := now().Add(-maxAge)
	if v, ok := c.since(oldest); ok {
		return v, nil
	}
	var none T
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
	case <-ctx.Done():
		return none, ctx.Err()
	}
	if v, ok := c.since(oldest); ok { // somebody else read it meanwhile
		return v, nil
	}
	begun := now()
	v, err := read(ctx)
	if err != nil {
		return none, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if begun.After(c.begun) || c.begun.IsZero() {
		c.value, c.begun = v, begun
	}
	return v, nil
}

func (c *cached[T]) since(oldest time.Time) (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun.IsZero() || c.begun.Before(oldest) || !c.begun.After(c.stale) {
		var none T
		return none, false
	}
	return c.value, true
}

// invalidate makes everything that was read so far, or is being read, worth nothing.
func (c *cached[T]) invalidate(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = now
	if !c.begun.After(now) {
		var none T
		c.value, c.begun = none, time.Time{}
	}
}
