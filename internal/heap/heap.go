// Package heap lets the garbage collector run less often while the heap is small, within a limit.
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

// Size is what a server may have of Go's memory: the heap, the stacks of its goroutines and what the runtime keeps of
// both, in bytes. What else it has comes to some 65 MB: docs/performance.md. Of that the embedded database takes Database,
// which is left for the heap of a server that has another one.
const (
	Size     = 72 << 20
	Database = 16 << 20
)

// growth is by how much the heap grows until it is collected, in percent of what is in use, unless the limit comes first.
// https://pkg.go.dev/runtime#hdr-Environment_Variables
const growth = 200

// keeper sets the limit anew after each collection.
type keeper struct {
	size    uint64
	mu      sync.Mutex
	stopped bool
	limit   uint64 // as it is now
	percent int    // as it was before
	before  int64
}

// token is what a collection finds unused: that tells the keeper of it.
type token struct{ of *keeper }

// Keep lets the heap grow to three times what is in use, as long as all of Go's memory fits into size bytes. The runtime
// itself sees to that, so it does not matter when a busy process comes to hear of a collection. A heap that needs more than two
// thirds of the size gets more. It does nothing when the environment says how to collect (GOGC, GOMEMLIMIT).
// The function that it returns sets everything back.
func Keep(size uint64) (stop func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	k := &keeper{size: size}
	k.percent, k.before = debug.SetGCPercent(growth), debug.SetMemoryLimit(-1)
	k.adjust()
	return k.stop
}

func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.stopped {
		k.stopped = true
		debug.SetGCPercent(k.percent)
		debug.SetMemoryLimit(k.before)
	}
}

// adjust sets the limit for the heap that the last collection left, and waits for the next one.
func (k *keeper) adjust() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return
	}
	// It stops the world for a moment, so it is only called for a difference.
	if limit := limitFor(k.size, inUse()); max(limit, k.limit)-min(limit, k.limit) > k.limit/20 {
		debug.SetMemoryLimit(int64(limit)) //nolint:gosec // a few times what is in memory
		k.limit = limit
	}
	runtime.AddCleanup(&token{of: k}, (*keeper).adjust, k)
}

// limitFor is how much memory Go may have with so many bytes of its heap in use: the size, unless that leaves too little
// to grow. From two thirds of the size on it is more, and from all of it on twice what is in use, as much as ever.
func limitFor(size, inUse uint64) uint64 {
	if inUse <= size*2/3 {
		return size
	}
	return min(3*inUse-size, 2*inUse)
}

// inUse is what the last collection found, in bytes.
func inUse() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
