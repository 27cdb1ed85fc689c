package bus_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/worker"
)

func TestConsumeTasks(t *testing.T) {
	t.Parallel()

	t.Run("KeepsToTheConcurrencyOverAllWorkers", func(t *testing.T) {
		t.Parallel()
		const concurrency, total = 6, 300
		url := startServer(t, nil)
		workers := []*bus.Bus{connect(t, bus.Config{URL: url}), connect(t, bus.Config{URL: url})}
		var now, peak, done atomic.Int64
		var by [2]atomic.Int64
		for i, w := range workers {
			consume(t, func(ctx context.Context) error {
				return w.ConsumeTasks(ctx, "om", concurrency, func(_ context.Context, d worker.Delivery) {
					n := now.Add(1)
					for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
					}
					by[i].Add(1)
					if done.Load() < concurrency {
						// The first ones wait until the limit is reached, so that the peak is exact.
						eventually(t, "the concurrency is used", func() bool { return peak.Load() >= concurrency })
					}
					now.Add(-1)
					done.Add(1)
					d.Ack()
				})
			})
		}
		if err := workers[0].PublishTasks(t.Context(), "om", alone(tasks("om", total))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all tasks handled", func() bool { return done.Load() >= total })
		if peak.Load() != concurrency || done.Load() != total {
			t.Errorf("peak %d and %d handled, want exactly %d and %d", peak.Load(), done.Load(), concurrency, total)
		}
		if by[0].Load() == 0 || by[1].Load() == 0 {
			t.Errorf("one worker got nothing: %d and %d", by[0].Load(), by[1].Load())
		}
	})

	t.Run("ChangesTheConcurrencyInPlace", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, nil)
		b := connect(t, bus.Config{URL: url})
		if err := b.PublishTasks(t.Context(), "om", alone(tasks("om", 20))); err != nil {
			t.Fatal(err)
		}
		for _, concurrency := range []int{2, 5} {
			var held atomic.Int64
			stop := consume(t, func(ctx context.Context) error {
				return b.ConsumeTasks(ctx, "om", concurrency, func(ctx context.Context, _ worker.Delivery) {
					held.Add(1)
					<-ctx.Done()
				})
			})
			eventually(t, "the concurrency is used", func() bool { return held.Load() == int64(concurrency) })
			stop()
			if got := held.Load(); got != int64(concurrency) {
				t.Errorf("%d in flight, want %d", got, concurrency)
			}
		}
	})

	t.Run("SeesOnlyTheTargetsTasks", func(t *testing.T) {
		t.Parallel()
		b := connect(t, bus.Config{Embedded: startEmbedded(t, bus.EmbeddedConfig{})})
		for _, target := range []string{"om", "om-2"} {
			if err := b.PublishTasks(t.Context(), target, alone(tasks(target, 1))); err != nil {
				t.Fatal(err)
			}
			got := make(chan keyturn.QueuedTask, 2)
			consume(t, func(ctx context.Context) error {
				return b.ConsumeTasks(ctx, target, 4, func(_ context.Context, d worker.Delivery) {
					var task keyturn.QueuedTask
					if err := json.Unmarshal(d.Data(), &task); err != nil {
						t.Error(err)
					}
					got <- task
					d.Ack()
				})
			})
			if task := receive(t, "a task", got); !strings.HasPrefix(task.Unit, target+".") {
				t.Errorf("the workers of %s got a task of %s", target, task.Unit)
			}
		}
	})

	t.Run("GivesALostWorkersTasksToOthers", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, nil)
		cfg := bus.Config{URL: url, AckWait: 300 * time.Millisecond}
		lost, other := connect(t, cfg), connect(t, cfg)
		taken, again := make(chan string, 1), make(chan string, 1)
		release := make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- lost.ConsumeTasks(t.Context(), "om", 1, func(_ context.Context, d worker.Delivery) {
				taken <- d.Key()
				<-release
			})
		}()
		if err := other.PublishTasks(t.Context(), "om", alone(tasks("om", 1))); err != nil {
			t.Fatal(err)
		}
		first := receive(t, "the first worker has the task", taken)
		if err := lost.Close(t.Context()); err != nil { // the connection is cut, the handler hangs
			t.Fatal(err)
		}
		consume(t, func(ctx context.Context) error {
			return other.ConsumeTasks(ctx, "om", 1, func(_ context.Context, d worker.Delivery) {
				again <- d.Key()
				d.Ack()
			})
		})
		if second := receive(t, "the other worker has the task", again); second != first {
			t.Errorf("redelivered as %s, want the same key %s", second, first)
		}
		if other.Stats().Redelivered == 0 {
			t.Error("the redelivery was not counted")
		}
		close(release)
		if err := receive(t, "the lost worker ends", ended); err == nil {
			t.Error("consuming on a closed connection ended without an error")
		}
	})

	t.Run("KeepsALongTaskAndSurvivesAPanic", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, nil)
		b := connect(t, bus.Config{URL: url, AckWait: 400 * time.Millisecond})
		list := tasks("om", 2)
		long, panics := list[0].Task, make(chan struct{}, 100)
		var longs atomic.Int64
		release := make(chan struct{})
		consume(t, func(ctx context.Context) error {
			return b.ConsumeTasks(ctx, "om", 2, func(_ context.Context, d worker.Delivery) {
				if strings.Contains(string(d.Data()), long.String()) {
					longs.Add(1)
					<-release
					d.Ack()
					return
				}
				panics <- struct{}{}
				panic("a bug")
			})
		})
		if err := b.PublishTasks(t.Context(), "om", alone(list)); err != nil {
			t.Fatal(err)
		}
		// Each time the other message comes again, an AckWait has passed.
		for range 4 {
			receive(t, "the message of the handler that panics comes again", panics)
		}
		_, js := raw(t, url)
		cons, err := js.Consumer(t.Context(), "KEYTURN_TASK", "om")
		if err != nil {
			t.Fatal(err)
		}
		if got := cons.CachedInfo().NumRedelivered; got != 1 {
			t.Errorf("%d messages were delivered again, want only the one whose handler panics", got)
		}
		close(release)
		if got := longs.Load(); got != 1 {
			t.Errorf("the long task was delivered %d times, want once", got)
		}
		eventually(t, "the panics are counted", func() bool { return b.Stats().Panics >= 4 })
	})

	t.Run("HandsUnfinishedTasksBackAtTheEnd", func(t *testing.T) {
		t.Parallel()
		const total = 8
		url := startServer(t, nil)
		cfg := bus.Config{URL: url, AckWait: time.Hour} // so that only a hand-back brings them back
		a, z := connect(t, cfg), connect(t, cfg)
		if err := a.PublishTasks(t.Context(), "om", alone(tasks("om", total))); err != nil {
			t.Fatal(err)
		}
		var held, finished atomic.Int64
		stop := consume(t, func(ctx context.Context) error {
			return a.ConsumeTasks(ctx, "om", total, func(ctx context.Context, d worker.Delivery) {
				if held.Add(1) == 1 {
					<-ctx.Done()
					d.Ack() // one finishes in time
					finished.Add(1)
					return
				}
				<-ctx.Done()
			})
		})
		eventually(t, "the first worker has all", func() bool { return held.Load() == total })
		stop()
		consume(t, func(ctx context.Context) error {
			return z.ConsumeTasks(ctx, "om", total, func(_ context.Context, d worker.Delivery) {
				d.Ack()
				finished.Add(1)
			})
		})
		eventually(t, "the second worker finishes the rest", func() bool { return finished.Load() == total })
		if got := a.Stats().HandedBack; got != total-1 {
			t.Errorf("%d handed back, want %d", got, total-1)
		}
	})

	t.Run("RefusesBadArguments", func(t *testing.T) {
		t.Parallel()
		b := connect(t, bus.Config{URL: startServer(t, nil)})
		nothing := func(context.Context, worker.Delivery) {}
		if err := b.ConsumeTasks(t.Context(), "a.b", 1, nothing); err == nil {
			t.Error("a target with a dot was accepted")
		}
		if err := b.ConsumeTasks(t.Context(), "om", 0, nothing); err == nil {
			t.Error("a concurrency of 0 was accepted")
		}
	})
}
