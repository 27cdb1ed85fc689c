//go:build unix

package sqlite_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite"
)

// BenchmarkIntendFinish measures the two durable writes of a unit, in batches as the group
// commit makes them, while a rotation of 20,000 units runs.
func BenchmarkIntendFinish(b *testing.B) {
	for _, size := range []int{1, 16, 30, 128, 1000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := open(b, nil)
			var tasks []keyturn.Task
			var busy time.Duration
			units := 0
			for b.Loop() {
				if len(tasks) < size {
					b.StopTimer()
					tasks = append(tasks, planned(b, s, 20_000)...)
					b.StartTimer()
				}
				before := processorTime(b)
				turn(b, s, tasks[:size])
				busy += processorTime(b) - before
				tasks = tasks[size:]
				units += size
			}
			b.ReportMetric(float64(busy.Microseconds())/float64(units), "cpu-µs/unit")
			b.ReportMetric(float64(units)/b.Elapsed().Seconds(), "units/s")
		})
	}
}

// BenchmarkSavePlan measures the plan of 10,000 units, new ones the first time and known ones after that.
func BenchmarkSavePlan(b *testing.B) {
	s := open(b, nil)
	for b.Loop() {
		planned(b, s, 10_000)
	}
}

// BenchmarkFeed measures the refill of a window of 256 after 16 tasks ended, with 20,000 waiting.
func BenchmarkFeed(b *testing.B) {
	s := open(b, nil)
	var tasks []keyturn.QueuedTask
	for b.Loop() {
		if len(tasks) < 16 {
			b.StopTimer()
			planned(b, s, 20_000)
			tasks = feed(b, s, 256)
			b.StartTimer()
		}
		results := make([]keyturn.TaskResult, 16)
		for i, task := range tasks[:16] {
			results[i] = keyturn.TaskResult{Task: task.Task, From: keyturn.TaskPending, State: keyturn.TaskSkipped, Reason: "bench"}
		}
		if _, err := s.Finish(b.Context(), results); err != nil {
			b.Fatal(err)
		}
		tasks = append(tasks[16:], feed(b, s, 256)...)
	}
}

// BenchmarkFinishRotations measures the look for rotations that ended, with 20,000 open tasks.
func BenchmarkFinishRotations(b *testing.B) {
	s := open(b, nil)
	planned(b, s, 20_000)
	for b.Loop() {
		if _, err := s.FinishRotations(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func feed(b *testing.B, s *sqlite.Store, window int) []keyturn.QueuedTask {
	b.Helper()
	fed, err := s.Feed(b.Context(), "om", window)
	if err != nil {
		b.Fatal(err)
	}
	return fed.Tasks
}

// processorTime is what the process used so far: on a machine that others use too, the only honest measure.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
