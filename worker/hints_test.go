package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// TestMessagesAreHints is about messages that name another unit than that of their task. The row decides, whatever they say.
func TestMessagesAreHints(t *testing.T) {
	t.Parallel()
	run := bundled(t)

	run("Pending", 40, func(t *testing.T, b *bundle) {
		queue := &wrongQueue{memoryQueue: b.queue, units: b.system.units, until: time.Now().Add(30 * time.Second)}
		defer b.startWith("w1", b.store, queue)()
		if r := b.await(b.request("a").ID, 20*time.Minute); r.Counts.Succeeded != 40 || queue.wrong < 40 {
			t.Errorf("counts %+v after %d wrong messages", r.Counts, queue.wrong)
		}
		b.checkTruth(1)
	})

	run("Intended", 2, func(t *testing.T, b *bundle) {
		r := b.request("a")
		if _, _, err := b.store.ClaimRotation(t.Context(), r.ID, "dead", time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := b.store.SavePlan(t.Context(), r.ID, "dead", b.system.units); err != nil {
			t.Fatal(err)
		}
		task := b.tasks(r.ID)[0]
		out, err := b.store.Intend(t.Context(), []keyturn.IntentWrite{{
			Task: task.ID, Unit: task.Unit, Owner: "dead", Intent: keyturn.Intent{Before: "key-0"}, ApplyFor: 15 * time.Second, Lease: 30 * time.Second,
		}})
		if err != nil || out[0].Verdict != keyturn.VerdictGo {
			t.Fatalf("%+v %v", out, err)
		}
		queue := &wrongQueue{memoryQueue: b.queue, units: b.system.units, until: time.Now().Add(2 * time.Minute)}
		defer b.startWith("w2", b.store, queue)()
		if r := b.await(r.ID, 30*time.Minute); r.Counts.Succeeded != 2 || queue.wrong < 2 {
			t.Errorf("counts %+v after %d wrong messages", r.Counts, queue.wrong)
		}
		b.checkTruth(1)
	})
}

// wrongQueue names the first unit instead of the task's, and the second one instead of that, until a moment.
type wrongQueue struct {
	*memoryQueue
	units []keyturn.Unit
	until time.Time
	wrong int
}

func (q *wrongQueue) PublishTasks(ctx context.Context, target string, bundles [][]keyturn.QueuedTask) error {
	for _, tasks := range bundles {
		for i := range tasks {
			if time.Now().After(q.until) {
				continue
			}
			was := tasks[i].Unit
			if tasks[i].Unit = q.units[0].ID; was == q.units[0].ID {
				tasks[i].Unit = q.units[1].ID
			}
			q.wrong++
		}
	}
	return q.memoryQueue.PublishTasks(ctx, target, bundles)
}

var _ worker.Queue = (*wrongQueue)(nil)
