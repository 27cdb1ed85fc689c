package worker

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// lendWait is the longest that a task whose intent is durable should wait for its place at the
	// target: its change may be sent for sendSlack only.
	lendWait  = 500 * time.Millisecond
	lendPause = time.Minute // for how long places are not lent after one came back late
	fewPlaces = 8           // a concurrency below which tasks keep their place
)

// mostFor is how many tasks of a target may be in hands, over all workers, so that as many as its
// concurrency talk to it while others wait for their row to become durable. Of a few there are none over.
func mostFor(concurrency int) int {
	if concurrency < fewPlaces {
		return concurrency
	}
	return concurrency + concurrency/2
}

// places bounds how many of a target's tasks talk to it at once. A task has a place only while it does:
// waiting for the database it lends it to others.
//
// The bound holds over all workers, though none knows of the others: the bus has at most most tasks in
// hands, and a worker that has a share of them takes the same share of the places. Before it gives a task
// out of its hands, which others may then get, it gives up the part of a place that came with it.
type places struct {
	limit int
	most  int  // tasks in hands, over all workers
	alone bool // no other worker can have tasks of the target
	now   func() time.Time

	mu      sync.Mutex
	held    int // tasks in our hands
	used    int
	back    []turn // of those that wait for a place, and had one before: they come first
	fresh   []turn
	leaving []turn    // of those that wait for others to give up places, before they may be given out of hands
	late    time.Time // when a place last came back late
}

// turn is closed when it has come.
type turn chan struct{}

func newPlaces(concurrency int, alone bool, now func() time.Time) *places {
	return &places{limit: concurrency, most: mostFor(concurrency), alone: alone, now: now}
}

// arrive counts a task that came into our hands.
func (p *places) arrive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held++
	p.serve()
}

// leave waits until a task may be given out of our hands. It must have no place.
func (p *places) leave() {
	p.mu.Lock()
	t := make(turn)
	p.leaving = append(p.leaving, t)
	p.serve()
	p.mu.Unlock()
	<-t // whoever has a place gives it up when its calls end, which have deadlines
}

// take waits for a place, and reports false if a context ended first.
func (p *places) take(ctx, stopping context.Context) bool {
	return p.wait(ctx, stopping, &p.fresh)
}

// lend gives the place to others while its task waits for the database, unless places come back too late.
func (p *places) lend() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.late.IsZero() && p.now().Sub(p.late) < lendPause {
		return false
	}
	p.used--
	p.serve()
	return true
}

// takeBack waits for a place in the stead of one that was lent.
func (p *places) takeBack(ctx context.Context) bool {
	begin := p.now()
	ok := p.wait(ctx, ctx, &p.back)
	if now := p.now(); now.Sub(begin) > lendWait {
		p.mu.Lock()
		p.late = now
		p.mu.Unlock()
	}
	return ok
}

// giveUp ends the use of a place.
func (p *places) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used--
	p.serve()
}

func (p *places) wait(ctx, stopping context.Context, queue *[]turn) bool {
	p.mu.Lock()
	if len(*queue) == 0 && len(p.back) == 0 && p.used < p.share(p.held-len(p.leaving)) {
		p.used++
		p.mu.Unlock()
		return true
	}
	t := make(turn)
	*queue = append(*queue, t)
	p.mu.Unlock()
	select {
	case <-t:
		return true
	case <-ctx.Done():
	case <-stopping.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(*queue, t); i >= 0 {
		*queue = slices.Delete(*queue, i, i+1)
		return false
	}
	p.used-- // it was our turn at the same moment
	p.serve()
	return false
}

// serve gives places to those whose turn it is. The caller holds the lock.
func (p *places) serve() {
	for len(p.leaving) > 0 && (p.used <= p.share(p.held-1) || p.used == 0) {
		p.held--
		p.leaving = next(p.leaving)
	}
	free := p.share(p.held-len(p.leaving)) - p.used
	for ; free > 0 && len(p.back) > 0; free-- {
		p.used++
		p.back = next(p.back)
	}
	for ; free > 0 && len(p.fresh) > 0; free-- {
		p.used++
		p.fresh = next(p.fresh)
	}
}

// share is how many places come with so many tasks. Whoever has any has one: it would wait forever.
func (p *places) share(held int) int {
	if p.alone {
		return p.limit
	}
	return min(max(held*p.limit/p.most, 1), p.limit)
}

func next(queue []turn) []turn {
	close(queue[0])
	queue[0] = nil
	return queue[1:]
}

// place is what one task has of the places while it is in our hands.
type place struct {
	of        *places
	has, left bool
}

// take reports false when the worker stops, or ctx ended, before it was the task's turn.
func (p *place) take(ctx, stopping context.Context) bool {
	p.has = p.of.take(ctx, stopping)
	return p.has
}

// while runs do, which waits for the database, and lends the place meanwhile. It reports false if it did not come back.
func (p *place) while(ctx context.Context, do func()) bool {
	lent := p.of.lend()
	do()
	if lent {
		p.has = p.of.takeBack(ctx)
	}
	return p.has
}

func (p *place) giveUp() {
	if p.has {
		p.has = false
		p.of.giveUp()
	}
}

// leave gives the task out of our hands, once.
func (p *place) leave() {
	p.giveUp()
	if !p.left {
		p.left = true
		p.of.leave()
	}
}
