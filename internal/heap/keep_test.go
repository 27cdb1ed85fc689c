package heap_test

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"github.com/keyturn/keyturn/internal/heap"
)

// The percentage is the process's, so this test runs alone.
func TestKeepFollowsCollectionsUntilItIsStopped(t *testing.T) { //nolint:paralleltest // see above
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetGCPercent(70)
	t.Cleanup(func() { debug.SetGCPercent(before) })

	stop := heap.Keep(64 << 20)
	runtime.GC()
	if got := percentAfterCollections(func(p int) bool { return p > 100 }); got <= 100 {
		t.Errorf("a small heap grows by %d %%, want more than usual", got)
	}
	large := make([]byte, 129<<20)
	if got := percentAfterCollections(func(p int) bool { return p == 100 }); got != 100 {
		t.Errorf("a large heap grows by %d %%, want 100", got)
	}
	runtime.KeepAlive(large)
	stop()
	stop() // a second time does no harm
	if got := percent(); got != 70 {
		t.Errorf("afterwards the heap grows by %d %%, want 70 as before", got)
	}
}

func TestKeepLeavesItToTheEnvironment(t *testing.T) {
	t.Setenv("GOGC", "50")
	before := debug.SetGCPercent(50)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	stop := heap.Keep(64 << 20)
	runtime.GC()
	if got := percent(); got != 50 {
		t.Errorf("the heap grows by %d %%, want 50 as GOGC says", got)
	}
	stop()
}

func percent() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64()) //nolint:gosec // a percentage
}

// percentAfterCollections collects until the percentage is as wanted: what a collection tells comes a little after it.
func percentAfterCollections(wanted func(int) bool) int {
	got := percent()
	for range 1000 {
		if wanted(got) {
			break
		}
		runtime.GC()
		runtime.Gosched()
		got = percent()
	}
	return got
}
