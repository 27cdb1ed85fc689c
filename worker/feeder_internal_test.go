package worker

import (
	"context"
	"fmt"
	"testing"

	"github.com/keyturn/keyturn"
)

// TestFeeder_Bundles: tasks share messages while there are many, but not while places have nothing to do.
func TestFeeder_Bundles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tasks, open int
		more        bool
		messages    int
	}{
		"the first part of a plan":     {tasks: 16, more: true, messages: 8},
		"the whole window":             {tasks: 64, more: true, messages: 16},
		"a refill":                     {tasks: 8, open: 8, more: true, messages: 2},
		"the last ones":                {tasks: 8, open: 8, messages: 8},
		"few for places that are free": {tasks: 4, more: true, messages: 4},
	} {
		fed := keyturn.Fed{Tasks: make([]keyturn.QueuedTask, c.tasks), More: c.more}
		for i := range fed.Tasks {
			fed.Tasks[i].Unit, fed.Tasks[i].State = fmt.Sprintf("om.p1.c%d", i), keyturn.TaskPending
		}
		f, queue := newFeeder("om", 8), &countingQueue{}
		f.store, f.queue = feeding{fed: fed}, queue
		f.open.Store(int64(c.open))
		if err := f.feed(t.Context()); err != nil || queue.messages != c.messages {
			t.Errorf("%s: %d messages, %v, want %d", name, queue.messages, err, c.messages)
		}
	}
}

// feeding is a FeedStore that hands out.
type feeding struct {
	FeedStore
	fed keyturn.Fed
}

func (s feeding) Feed(context.Context, string, int) (keyturn.Fed, error) { return s.fed, nil }

// countingQueue counts messages.
type countingQueue struct {
	Queue
	messages int
}

func (q *countingQueue) PublishTasks(_ context.Context, _ string, bundles [][]keyturn.QueuedTask) error {
	q.messages += len(bundles)
	return nil
}
