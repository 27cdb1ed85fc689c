package storagetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// benchUnits is the size of the rotation whose tasks the benchmarks move.
const benchUnits = 20000

// Benchmark measures what each unit costs the database: an intent and a result, in batches, in the
// middle of a rotation of 20,000 units. newStore returns a store with the database's own clock.
func Benchmark(b *testing.B, newStore func(b *testing.B) Store) {
	b.Helper()
	for _, size := range []int{100, 256} {
		b.Run(fmt.Sprintf("Intend/batch=%d", size), func(b *testing.B) { benchmark(b, newStore(b), size, true, false) })
		b.Run(fmt.Sprintf("Finish/batch=%d", size), func(b *testing.B) { benchmark(b, newStore(b), size, false, true) })
		b.Run(fmt.Sprintf("FeedIntendFinish/batch=%d", size), func(b *testing.B) { benchmark(b, newStore(b), size, true, true) })
	}
	b.Run("SavePlan/units=10000", func(b *testing.B) { benchmarkPlan(b, newStore(b), 10000) })
	b.Run("FinishRotations/open=20000", func(b *testing.B) { benchmarkIdle(b, newStore(b)) })
}

// benchmark moves batches through feed, intent and result; only the named steps are measured. One iteration is one batch.
func benchmark(b *testing.B, store Store, size int, intents, results bool) {
	b.Helper()
	f := &fixture{Store: store, t: b, clock: &Clock{}}
	f.estate()
	left := 0
	b.ResetTimer()
	b.StopTimer()
	for range b.N {
		if left < size {
			left = benchUnits
			f.clock.Advance(time.Minute)
			f.running("quarterly", makeUnits("om", "p1", benchUnits)...)
		}
		left -= size
		if intents && results {
			b.StartTimer()
		}
		fed := f.feed("om", size)
		if len(fed) != size {
			b.Fatalf("fed %d, want %d", len(fed), size)
		}
		writes := make([]keyturn.IntentWrite, size)
		for i, task := range fed {
			writes[i] = keyturn.IntentWrite{
				Task: task.Task, Unit: task.Unit, Owner: owner, Intent: keyturn.Intent{Before: task.Unit + "-a"}, ApplyFor: applyFor, Lease: lease,
			}
		}
		if intents {
			b.StartTimer()
		}
		out, err := f.Intend(f.ctx(), writes)
		f.ok(err)
		if !results {
			b.StopTimer()
		}
		done := make([]keyturn.TaskResult, size)
		for i, o := range out {
			if o.Verdict != keyturn.VerdictGo {
				b.Fatalf("verdict is %s", o.Verdict)
			}
			done[i] = succeeded(fed[i].Task, o.Epoch, fed[i].Unit+"-"+fed[i].Task.String())
		}
		if results {
			b.StartTimer()
		}
		ok, err := f.Finish(f.ctx(), done)
		f.ok(err)
		for _, taken := range ok.Taken {
			if !taken {
				b.Fatal("a result was refused")
			}
		}
		b.StopTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/unit")
}

func benchmarkPlan(b *testing.B, store Store, n int) {
	b.Helper()
	f := &fixture{Store: store, t: b, clock: &Clock{}}
	f.estate()
	units := makeUnits("om", "p1", n)
	for b.Loop() {
		f.running("quarterly", units...)
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/plan")
}

// benchmarkIdle measures the tick of the sweeper when there is nothing to do.
func benchmarkIdle(b *testing.B, store Store) {
	b.Helper()
	f := &fixture{Store: store, t: b, clock: &Clock{}}
	f.estate()
	f.running("quarterly", makeUnits("om", "p1", benchUnits)...)
	for b.Loop() {
		_, err := f.FinishRotations(f.ctx())
		f.ok(err)
		_, err = f.Requeue(f.ctx(), time.Minute, nil)
		f.ok(err)
	}
}
