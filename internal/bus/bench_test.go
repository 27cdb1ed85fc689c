package bus_test

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/worker"
)

// BenchmarkTaskRoundTrip sends tasks through the embedded server in batches of
// 256, with 256 in flight: publish, deliver, handle, acknowledge. The queue is kept at
// two batches, as the feeder does. CPU counts server and client, user and system.
func BenchmarkTaskRoundTrip(b *testing.B) {
	b.Run("memory", func(b *testing.B) { roundTrip(b, false) })
	b.Run("disk", func(b *testing.B) { roundTrip(b, true) })
}

func roundTrip(b *testing.B, disk bool) {
	const batch = 256
	server := startEmbedded(b, bus.EmbeddedConfig{})
	q := connect(b, bus.Config{Embedded: server, DiskTasks: disk})

	feed := make(chan struct{}, 2)
	done := make(chan struct{})
	var handled atomic.Int64
	total := int64((b.N + batch - 1) / batch * batch)
	consume(b, func(ctx context.Context) error {
		return q.ConsumeTasks(ctx, "om", batch, func(_ context.Context, d worker.Delivery) {
			d.Ack()
			n := handled.Add(1)
			if n%batch == 0 {
				feed <- struct{}{}
			}
			if n == total {
				close(done)
			}
		})
	})
	feed <- struct{}{}
	b.ResetTimer()
	before, start := cpu(b), time.Now()
	go func() {
		feed <- struct{}{}
		for sent := int64(0); sent < total; sent += batch {
			<-feed
			if err := q.PublishTasks(b.Context(), "om", alone(tasks("om", batch))); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	<-done
	b.StopTimer()
	b.ReportMetric(float64(total)/time.Since(start).Seconds(), "msgs/s")
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(total), "cpu-ns/msg")
	<-feed
	<-feed
}

// BenchmarkTaskRefill measures how long it takes from an acknowledgement until the slot
// that it freed has the next message.
func BenchmarkTaskRefill(b *testing.B) {
	server := startEmbedded(b, bus.EmbeddedConfig{})
	q := connect(b, bus.Config{Embedded: server})
	queued := tasks("om", b.N+1)
	if err := q.PublishTasks(b.Context(), "om", alone(queued)); err != nil {
		b.Fatal(err)
	}
	arrived := make(chan worker.Delivery)
	consume(b, func(ctx context.Context) error {
		return q.ConsumeTasks(ctx, "om", 1, func(ctx context.Context, d worker.Delivery) {
			select {
			case arrived <- d:
			case <-ctx.Done():
				return
			}
		})
	})
	d := <-arrived
	b.ResetTimer()
	for range b.N {
		d.Ack()
		d = <-arrived
	}
	d.Ack()
}

func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
