package bench_test

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/scheduler"
)

// BenchmarkIdleScheduler runs a scheduler on a million policies that are not due, and reports what this process
// takes meanwhile: the memory it has from the system, and CPU of one core. Postgres is another process.
func BenchmarkIdleScheduler(b *testing.B) {
	pg := seedPostgres(b, manyPolicies)
	w := &watched{timedStore: pg.open(b), bus: startBus(b), all: newLateness(0)}
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { scheduler.New(scheduler.Config{Store: w, Publisher: w}).Run(ctx) })
	wait(b, 5*time.Second) // it has started
	for b.Loop() {
		const over = 40 * time.Second // longer than a scheduler sleeps
		begin := cpuOf(b)
		wait(b, over)
		b.ReportMetric(100*(cpuOf(b)-begin).Seconds()/over.Seconds(), "cpu-%")
	}
	debug.FreeOSMemory() // what seeding left behind
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	b.ReportMetric(float64(mem.Sys-mem.HeapReleased)/(1<<20), "MB")
	b.ReportMetric(0, "ns/op")
	stop()
	running.Wait()
}

func cpuOf(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
