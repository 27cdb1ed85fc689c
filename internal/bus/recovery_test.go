package bus_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/worker"
)

func TestRecovery(t *testing.T) {
	t.Parallel()

	// what an operator breaks while tasks are consumed
	for name, test := range map[string]struct {
		breakIt func(*testing.T, string)
		lost    bool
	}{
		"GoesOnWhenTheStreamIsDeleted": {lost: true, breakIt: func(t *testing.T, url string) {
			_, js := raw(t, url)
			if err := js.DeleteStream(t.Context(), "KEYTURN_TASK"); err != nil {
				t.Fatal(err)
			}
		}},
		"GoesOnWhenTheConsumerIsDeleted": {breakIt: func(t *testing.T, url string) {
			_, js := raw(t, url)
			if err := js.DeleteConsumer(t.Context(), "KEYTURN_TASK", "om"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := startServer(t, nil)
			lost := make(chan string, 10)
			var declared atomic.Bool
			b := connect(t, bus.Config{URL: url, Lost: func(stream string) {
				if declared.Load() {
					lost <- stream
				}
			}})
			declared.Store(true)
			got := make(chan string, 10)
			consume(t, func(ctx context.Context) error {
				return b.ConsumeTasks(ctx, "om", 4, func(_ context.Context, d worker.Delivery) {
					got <- d.Key()
					d.Ack()
				})
			})
			if err := b.PublishTasks(t.Context(), "om", alone(tasks("om", 1))); err != nil {
				t.Fatal(err)
			}
			before := receive(t, "a task before", got)
			test.breakIt(t, url)
			if test.lost {
				if stream := receive(t, "the loss is told", lost); stream != bus.StreamTask {
					t.Errorf("lost %q, want %q", stream, bus.StreamTask)
				}
			}
			if err := b.PublishTasks(t.Context(), "om", alone(tasks("om", 1))); err != nil {
				t.Fatal(err)
			}
			// The first task may come again: its acknowledgement was under way when the consumer went.
			for receive(t, "another task after", got) == before {
			}
		})
	}

	t.Run("KeepsAcknowledgementsOfTheOldStreamFromTheNewOne", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, nil)
		b := connect(t, bus.Config{URL: url})
		_, js := raw(t, url)
		got := make(chan worker.Delivery)
		release := make(chan struct{})
		consume(t, func(ctx context.Context) error {
			return b.ConsumeTasks(ctx, "om", 2, func(_ context.Context, d worker.Delivery) {
				got <- d
				<-release
			})
		})
		deliver := func() worker.Delivery {
			if err := b.PublishTasks(t.Context(), "om", alone(tasks("om", 1))); err != nil {
				t.Fatal(err)
			}
			return receive(t, "a task", got)
		}
		older := deliver()
		if err := js.DeleteStream(t.Context(), "KEYTURN_TASK"); err != nil {
			t.Fatal(err)
		}
		newer := deliver() // number 1 of the new stream, as older was of the old one
		older.Ack()
		if err := b.Healthy(t.Context()); err != nil { // the server has seen all that was sent before
			t.Fatal(err)
		}
		if n := stored(t, js, "KEYTURN_TASK"); n != 1 {
			t.Errorf("%d stored, want the new task untouched", n)
		}
		newer.Ack()
		eventually(t, "the new task is done", func() bool { return stored(t, js, "KEYTURN_TASK") == 0 })
		close(release)
	})

	t.Run("DeclaresAStreamThatIsMissingForAPublish", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, nil)
		b := connect(t, bus.Config{URL: url})
		_, js := raw(t, url)
		for _, stream := range []string{"KEYTURN_TASK", "KEYTURN_EVENT", "KEYTURN_ROTATION"} {
			if err := js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.PublishTasks(t.Context(), "om", alone(tasks("om", 3))); err != nil {
			t.Error(err)
		}
		if err := b.PublishRotation(t.Context(), keyturn.NewID(time.Now())); err != nil {
			t.Error(err)
		}
		if err := b.PublishEvents(t.Context(), []worker.Event{{ID: "1", Type: "task.failed", Data: []byte("{}")}}); err != nil {
			t.Error(err)
		}
		if n := b.Stats().Lost; n != 3 {
			t.Errorf("%d losses counted, want 3", n)
		}
	})

	t.Run("KeepsTriggersOverARestartAndTellsThatTasksAreGone", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		run := func(lost *sync.Map) (*bus.Bus, func()) {
			server, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{StoreDir: dir, Listen: "127.0.0.1:0", User: "u", Password: "p"})
			if err != nil {
				t.Fatal(err)
			}
			b, err := bus.Connect(t.Context(), bus.Config{Embedded: server, Lost: func(s string) { lost.Store(s, true) }})
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Declare(t.Context()); err != nil {
				t.Fatal(err)
			}
			nc, js := raw(t, "nats://u:p@"+server.Addr())
			if stored(t, js, "KEYTURN_TRIGGER") == 0 {
				if _, err := js.Publish(t.Context(), "keyturn.trigger", []byte("first")); err != nil {
					t.Fatal(err)
				}
			}
			nc.Close()
			return b, func() {
				if err := b.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if err := server.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		var fresh, lost sync.Map
		b, stop := run(&fresh)
		if err := b.PublishTasks(t.Context(), "om", alone(tasks("om", 2))); err != nil {
			t.Fatal(err)
		}
		stop()
		b, stop = run(&lost)
		defer stop()
		if _, ok := lost.Load(bus.StreamTask); !ok {
			t.Error("nobody was told that the tasks are gone")
		}
		if _, ok := lost.Load(bus.StreamTrigger); ok {
			t.Error("the triggers are said to be lost")
		}
		got := make(chan string, 2)
		endConsume := consume(t, func(ctx context.Context) error {
			return b.ConsumeTriggers(ctx, 1, func(_ context.Context, d worker.Delivery) {
				got <- string(d.Data())
				d.Ack()
			})
		})
		if body := receive(t, "the trigger after the restart", got); body != "first" {
			t.Errorf("got %q", body)
		}
		endConsume()
	})

	t.Run("KeepsTasksOnDiskIfAsked", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for _, publish := range []bool{true, false} {
			server, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{StoreDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			b, err := bus.Connect(t.Context(), bus.Config{Embedded: server, DiskTasks: true, AckWait: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if publish {
				if err := b.PublishTasks(t.Context(), "om", alone(tasks("om", 4))); err != nil {
					t.Fatal(err)
				}
			}
			got := make(chan struct{}, 100)
			stop := consume(t, func(ctx context.Context) error {
				return b.ConsumeTasks(ctx, "om", 4, func(ctx context.Context, d worker.Delivery) {
					got <- struct{}{}
					if publish {
						<-ctx.Done() // unfinished
						return
					}
					d.Ack()
				})
			})
			for range 4 {
				receive(t, "a task", got)
			}
			stop()
			if err := b.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if err := server.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("MovesTasksToMemoryWhenTheSettingChanges", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, func(o *server.Options) { o.SyncAlways = true })
		connect(t, bus.Config{URL: url, DiskTasks: true})
		b := connect(t, bus.Config{URL: url})
		if err := b.PublishTasks(t.Context(), "om", alone(tasks("om", 2))); err != nil {
			t.Error(err)
		}
	})
}
