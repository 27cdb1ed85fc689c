package heap_test

import (
	"crypto/sha256"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"github.com/keyturn/keyturn/internal/heap"
)

const mb = 1 << 20

// The limit is the process's, so this test runs alone.
func TestKeepFollowsCollectionsUntilItIsStopped(t *testing.T) { //nolint:paralleltest // see above
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetGCPercent(70)
	t.Cleanup(func() { debug.SetGCPercent(before) })

	stop := heap.Keep(64 * mb)
	if got := percent(); got != 200 {
		t.Errorf("a small heap grows by %d %%, want 200", got)
	}
	if got := debug.SetMemoryLimit(-1); got != 64*mb {
		t.Errorf("a small heap has a limit of %d, want 64 MB", got)
	}
	large := make([]byte, 129*mb)
	if got := limitAfterCollections(func(limit int64) bool { return limit > 258*mb }); got <= 258*mb {
		t.Errorf("a large heap has a limit of %d, want twice what is in use", got)
	}
	runtime.KeepAlive(large)
	if got := limitAfterCollections(func(limit int64) bool { return limit == 64*mb }); got != 64*mb {
		t.Errorf("a heap that is small again has a limit of %d, want 64 MB", got)
	}
	stop()
	stop() // a second time does no harm
	if got := percent(); got != 70 {
		t.Errorf("afterwards the heap grows by %d %%, want 70 as before", got)
	}
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("afterwards the limit is %d, want none as before", got)
	}
}

// What a plan throws away comes faster than the news of a collection: the limit must hold without them.
func TestKeepHoldsWhateverIsThrownAway(t *testing.T) { //nolint:paralleltest // see above
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	t.Cleanup(heap.Keep(64 * mb))
	kept := make([][]byte, 30<<10)
	most := uint64(0)
	for i := range 512 << 10 { // 30 MB in use, 512 MB in all
		kept[i%len(kept)] = make([]byte, 1<<10)
		for range 4 { // some 200 MB in a second are what a rotation throws away, not as much as memory can be written
			sha256.Sum256(kept[i%len(kept)])
		}
		if i%1024 == 0 {
			most = max(most, taken())
		}
	}
	if most > 80*mb {
		t.Errorf("%d MB of memory were taken, want hardly more than 64", most/mb)
	}
	if most < 50*mb {
		t.Errorf("%d MB of memory were taken: it is collected too often", most/mb)
	}
}

func TestKeepLeavesItToTheEnvironment(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Setenv("GOGC", "")
		t.Setenv("GOMEMLIMIT", "")
		t.Setenv(name, "50")
		before := debug.SetGCPercent(50)
		stop := heap.Keep(64 * mb)
		runtime.GC()
		if got := percent(); got != 50 {
			t.Errorf("the heap grows by %d %% though %s says otherwise", got, name)
		}
		if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
			t.Errorf("there is a limit of %d though %s says otherwise", got, name)
		}
		stop()
		debug.SetGCPercent(before)
	}
}

func percent() int { return int(sampled("/gc/gogc:percent")) } //nolint:gosec // a percentage

// taken is all memory that Go holds: https://pkg.go.dev/runtime/debug#SetMemoryLimit
func taken() uint64 {
	return sampled("/memory/classes/total:bytes") - sampled("/memory/classes/heap/released:bytes")
}

func sampled(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// limitAfterCollections collects until the limit is as wanted: what a collection tells comes a little after it.
func limitAfterCollections(wanted func(int64) bool) int64 {
	got := debug.SetMemoryLimit(-1)
	for range 1000 {
		if wanted(got) {
			break
		}
		runtime.GC()
		runtime.Gosched()
		got = debug.SetMemoryLimit(-1)
	}
	return got
}
