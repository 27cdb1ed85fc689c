package bus_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/internal/filelock"
	"github.com/keyturn/keyturn/worker"
)

func TestStartEmbedded(t *testing.T) {
	t.Parallel()

	t.Run("RefusesASecondServerOnTheFolder", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		first := startEmbedded(t, bus.EmbeddedConfig{StoreDir: dir})
		_, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{StoreDir: dir})
		held, ok := errors.AsType[*filelock.HeldError](err)
		if !ok || held.PID != os.Getpid() {
			t.Fatalf("got %v, want a HeldError that names this process", err)
		}
		if err := first.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		startEmbedded(t, bus.EmbeddedConfig{StoreDir: dir})
	})

	t.Run("SaysWhyItCantListen", func(t *testing.T) {
		t.Parallel()
		taken := startEmbedded(t, bus.EmbeddedConfig{Listen: "127.0.0.1:0", User: "u", Password: "p"})
		for listen, want := range map[string]string{
			taken.Addr():      "address already in use",
			"127.0.0.1":       "HOST:PORT",
			"127.0.0.1:http":  "not a number",
			"127.0.0.1:99999": "not a number",
		} {
			_, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{StoreDir: t.TempDir(), Listen: listen, User: "u", Password: "p"})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("listening on %s: got %v, want %q", listen, err, want)
			}
		}
		if _, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"}); err == nil {
			t.Error("a port without a password was opened")
		}
	})

	t.Run("HasNoPortUnlessAsked", func(t *testing.T) {
		t.Parallel()
		if addr := startEmbedded(t, bus.EmbeddedConfig{}).Addr(); addr != "" {
			t.Errorf("it listens on %s", addr)
		}
	})

	t.Run("LetsOthersTriggerAndReadAndNothingElse", func(t *testing.T) {
		t.Parallel()
		server := startEmbedded(t, bus.EmbeddedConfig{Listen: "127.0.0.1:0", User: "outside", Password: "secret"})
		b := connect(t, bus.Config{Embedded: server})
		if _, err := nats.Connect("nats://outside:wrong@" + server.Addr()); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("with a wrong password: %v, want %v", err, nats.ErrAuthorization)
		}
		quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
		nc, js := raw(t, "nats://outside:secret@"+server.Addr(), quiet)
		if _, err := js.Publish(t.Context(), "keyturn.trigger", []byte("{}")); err != nil {
			t.Errorf("publishing a trigger: %v", err)
		}

		events, err := js.OrderedConsumer(t.Context(), "KEYTURN_EVENT", jetstream.OrderedConsumerConfig{})
		if err != nil {
			t.Fatalf("reading events: %v", err)
		}
		if err := b.PublishEvents(t.Context(), []worker.Event{{ID: "1", Type: "task.failed", Data: []byte("{}")}}); err != nil {
			t.Fatal(err)
		}
		if msg, err := events.Next(jetstream.FetchMaxWait(patience)); err != nil || msg.Subject() != "keyturn.event.task.failed" {
			t.Errorf("reading an event: %v %v", msg, err)
		}

		short := func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 300*time.Millisecond)
		}
		for what, try := range map[string]func(context.Context) error{
			"deleting a stream": func(ctx context.Context) error { return js.DeleteStream(ctx, "KEYTURN_TASK") },
			"publishing a task": func(ctx context.Context) error { _, err := js.Publish(ctx, "keyturn.task.om.p.c", nil); return err },
			"taking tasks": func(ctx context.Context) error {
				_, err := js.CreateConsumer(ctx, "KEYTURN_TASK", jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
				return err
			},
		} {
			ctx, cancel := short()
			if try(ctx) == nil {
				t.Errorf("%s was allowed", what)
			}
			cancel()
		}
		if _, err := nc.SubscribeSync("_INSIDE.>"); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "listening to the inside is refused", func() bool { return errors.Is(nc.LastError(), nats.ErrPermissionViolation) })
	})
}
