package bus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/bus"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of these tests.
const patience = 30 * time.Second

func startEmbedded(tb testing.TB, cfg bus.EmbeddedConfig) *bus.Embedded {
	tb.Helper()
	if cfg.StoreDir == "" {
		cfg.StoreDir = tb.TempDir()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	server, err := bus.StartEmbedded(ctx, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
	})
	return server
}

func connect(tb testing.TB, cfg bus.Config) *bus.Bus {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := bus.Connect(ctx, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = b.Close(ctx) // the server may be gone on purpose
	})
	if err := b.Declare(ctx); err != nil {
		tb.Fatal(err)
	}
	return b
}

// consume runs fn until stop is called, or the test ends.
func consume(tb testing.TB, fn func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fn(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				tb.Errorf("consuming ended with %v", err)
			}
		case <-time.After(patience):
			tb.Error("consuming did not end")
		}
	})
	tb.Cleanup(stop)
	return stop
}

// tasks makes n tasks that were never handed out before.
func tasks(target string, n int) []keyturn.QueuedTask {
	now := time.Now()
	rotation := keyturn.NewID(now)
	list := make([]keyturn.QueuedTask, n)
	for i := range list {
		list[i] = keyturn.QueuedTask{
			Task: keyturn.NewID(now), Rotation: rotation, Unit: fmt.Sprintf("%s.project%d.cluster%d", target, i%10, i),
			State: keyturn.TaskPending, Uncertain: keyturn.UncertainReapply, Generation: 1, Handed: now.UnixMilli(),
		}
	}
	return list
}

// alone puts each task into a bundle of its own.
func alone(tasks []keyturn.QueuedTask) [][]keyturn.QueuedTask {
	bundles := make([][]keyturn.QueuedTask, len(tasks))
	for i := range tasks {
		bundles[i] = tasks[i : i+1]
	}
	return bundles
}

// startServer starts an external server, without access control unless opts says so.
func startServer(tb testing.TB, change func(*server.Options)) (url string) {
	tb.Helper()
	opts := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: tb.TempDir(),
	}
	if change != nil {
		change(opts)
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		tb.Fatal(err)
	}
	ns.Start()
	tb.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(patience) {
		tb.Fatal("the server did not start")
	}
	return ns.ClientURL()
}

// raw connects without the bus, as an operator would.
func raw(tb testing.TB, url string, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	tb.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return nc, js
}

// stored returns how many messages the stream holds.
func stored(tb testing.TB, js jetstream.JetStream, stream string) uint64 {
	tb.Helper()
	s, err := js.Stream(tb.Context(), stream)
	if err != nil {
		tb.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// eventually asks until the answer is yes.
func eventually(tb testing.TB, what string, ask func() bool) {
	tb.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// receive waits for a value.
func receive[T any](tb testing.TB, what string, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		tb.Fatalf("%s: nothing within %s", what, patience)
		panic("unreachable")
	}
}
