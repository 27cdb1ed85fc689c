package worker

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	// windowFactor is how many tasks of a target wait in the queue or are worked on for each that
	// may be in flight: enough that no worker ever finds the queue empty while the next ones are
	// fetched, few enough that a pause or a newer rotation takes effect soon.
	windowFactor = 8
	windowLeast  = 64
	// bundleMost is how many tasks share a message.
	bundleMost = 4
)

// feeder hands out one target's tasks, a bounded number at a time, and refills
// as tasks end.
type feeder struct {
	target string
	places int // at the target, over all workers
	window int
	store  FeedStore
	queue  Queue
	log    *zap.Logger

	wakeup chan struct{}
	open   atomic.Int64 // deliveries that this process works on
	since  atomic.Int64 // tasks that ended here since the last refill
	drain  func()       // called when nothing was left to hand out and nothing is open
}

func newFeeder(target string, concurrency int) *feeder {
	return &feeder{
		target: target,
		places: concurrency,
		window: max(windowLeast, windowFactor*concurrency),
		wakeup: make(chan struct{}, 1),
	}
}

// wake makes the feeder look for tasks to hand out; it never blocks.
func (f *feeder) wake() {
	select {
	case f.wakeup <- struct{}{}:
	default: // it is about to look anyway
	}
}

// begun and ended let the feeder refill as deliveries end and not at the next tick: after each eighth of the window in
// tasks, and when nothing is left here.
func (f *feeder) begun() { f.open.Add(1) }

func (f *feeder) ended(tasks int) {
	open := f.open.Add(-1)
	if f.since.Add(int64(tasks)) >= int64(f.window/8) || open == 0 {
		f.since.Store(0)
		f.wake()
	}
}

// run hands out tasks each time it is woken, until ctx ends.
func (f *feeder) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wakeup:
		}
		if err := f.feed(ctx); err != nil && ctx.Err() == nil {
			f.log.Warn("handing out tasks; the sweeper tries again", zap.String("target", f.target), zap.Error(err))
		}
	}
}

func (f *feeder) feed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	fed, err := f.store.Feed(ctx, f.target, f.window)
	if err != nil {
		return err
	}
	if len(fed.Tasks) == 0 {
		if f.open.Load() == 0 {
			f.drain()
		}
		return nil
	}
	most := 1 // what is left is spread over all places
	if fed.More {
		most = bundleMost
	}
	if f.open.Load() == 0 { // nothing is worked on here: all places are to have something to do
		most = max(1, min(most, len(fed.Tasks)/f.places))
	}
	return f.queue.PublishTasks(ctx, f.target, bundles(fed.Tasks, most))
}

// bundles splits tasks, in their order, into those that share a message: tasks of one project that begin with their protocol.
func bundles(tasks []keyturn.QueuedTask, most int) [][]keyturn.QueuedTask {
	out := make([][]keyturn.QueuedTask, 0, len(tasks))
	for len(tasks) > 0 {
		n := 1
		for n < min(most, len(tasks)) && tasks[n].Bundles(tasks[0]) {
			n++
		}
		out, tasks = append(out, tasks[:n:n]), tasks[n:]
	}
	return out
}
