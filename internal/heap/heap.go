// Package heap lets the garbage collector run less often while the heap is small.
//
// By default it runs each time the heap has doubled. A worker in the middle of a rotation keeps little
// and throws away much: it would collect many times a second for the sake of a few megabytes. While it plans
// a rotation it keeps much: then it would take twice of that.
package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Size is up to where the heap of a server grows before it is collected. What is not in the heap comes to some
// 80 MB: docs/performance.md.
const Size = 40 << 20

// Percent by which a heap grows until it is collected, https://pkg.go.dev/runtime#hdr-Environment_Variables.
const (
	usual = 100
	least = 20  // of a heap that is about as large as it should be
	most  = 200 // also of a heap that has just become much larger: the percentage is set a moment after a collection
)

// keeper sets the percentage anew after each collection.
type keeper struct {
	size    uint64
	mu      sync.Mutex
	stopped bool
	percent int // as it is now
	before  int
}

// token is what a collection finds unused: that tells the keeper of it.
type token struct{ of *keeper }

// Keep lets the heap grow to size bytes before it is collected, by a fifth at least and to three times what is
// in use at most. A heap of which more than twice the size is in use doubles, as ever. It does nothing when the environment says how to collect (GOGC, GOMEMLIMIT).
// The function that it returns sets everything back.
func Keep(size uint64) (stop func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	k := &keeper{size: size, percent: usual}
	k.before = debug.SetGCPercent(usual)
	k.adjust()
	return k.stop
}

func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.stopped {
		k.stopped = true
		debug.SetGCPercent(k.before)
	}
}

// adjust sets the percentage for the heap that the last collection left, and waits for the next one.
func (k *keeper) adjust() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return
	}
	// It stops the world for a moment, so it is only called for a difference.
	if percent := percentFor(k.size, inUse()); max(percent, k.percent)-min(percent, k.percent) > k.percent/20 {
		debug.SetGCPercent(percent)
		k.percent = percent
	}
	runtime.AddCleanup(&token{of: k}, (*keeper).adjust, k)
}

// percentFor is how much a heap may grow, in percent of what is in use, to reach the size.
func percentFor(size uint64, use usage) int {
	if use.heap >= 2*size || use.heap == 0 {
		return usual
	}
	return int(min(max((size-min(size, use.heap))*100/use.base, least), most))
}

// usage is what the last collection found, in bytes. Growth is counted from the base, which has the stacks, too.
type usage struct{ heap, base uint64 }

func inUse() usage {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(samples)
	live := samples[0].Value.Uint64()
	return usage{heap: live, base: live + samples[1].Value.Uint64() + samples[2].Value.Uint64()}
}
