// Package kms is what the doubles of the three key management services have in common: faults that can be switched
// on for an operation, and the record of what was really asked and done.
package kms

import (
	"io"
	"maps"
	"net/http"
	"sync"
)

// Fault is what goes wrong with one request.
type Fault string

// The faults.
const (
	FaultNone        Fault = ""
	FaultLost        Fault = "lost"         // executed; the connection breaks instead of an answer
	FaultReset       Fault = "reset"        // not executed; the connection breaks
	FaultThrottle    Fault = "throttle"     // not executed; too many requests
	FaultDenied      Fault = "denied"       // not executed; a permission is missing
	FaultErrorBefore Fault = "error-before" // not executed; 500
	FaultErrorAfter  Fault = "error-after"  // executed; 500
	FaultGarbage     Fault = "garbage"      // executed; 200 with a body that is none
	FaultHang        Fault = "hang"         // not executed; no answer until the caller gives up
)

// Executes reports whether the request has its effect all the same.
func (f Fault) Executes() bool {
	return f == FaultNone || f == FaultLost || f == FaultErrorAfter || f == FaultGarbage
}

// Desk is where requests come in: it counts them, and says what goes wrong.
type Desk struct {
	mu     sync.Mutex
	counts map[string]int
	queued map[string][]Fault
	always map[string]Fault
	onHang func()
}

// OnHang makes f be called when a request meets FaultHang: it has arrived, and gets no answer.
func (d *Desk) OnHang(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onHang = f
}

// Fail makes the next requests of an operation meet these faults, one each.
func (d *Desk) Fail(operation string, faults ...Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queued == nil {
		d.queued = map[string][]Fault{}
	}
	d.queued[operation] = append(d.queued[operation], faults...)
}

// FailAlways makes every request of an operation meet the fault, once the queued ones are used up.
func (d *Desk) FailAlways(operation string, fault Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.always == nil {
		d.always = map[string]Fault{}
	}
	d.always[operation] = fault
}

// Calls returns how many requests of an operation came in.
func (d *Desk) Calls(operation string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts[operation]
}

// AllCalls returns how many requests of each operation came in.
func (d *Desk) AllCalls() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.counts)
}

// Take counts a request and returns what goes wrong with it.
func (d *Desk) Take(operation string) Fault {
	fault, onHang := d.take(operation)
	if fault == FaultHang && onHang != nil {
		onHang()
	}
	return fault
}

func (d *Desk) take(operation string) (_ Fault, onHang func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil {
		d.counts = map[string]int{}
	}
	d.counts[operation]++
	if queue := d.queued[operation]; len(queue) > 0 {
		d.queued[operation] = queue[1:]
		return queue[0], d.onHang
	}
	return d.always[operation], d.onHang
}

// Serve executes a request as its fault has it, and answers as the fault has it. It returns false if the caller is
// to answer: what execute returned, or the provider's own words for the fault.
func Serve(w http.ResponseWriter, req *http.Request, fault Fault, execute func()) (answered bool) {
	if fault.Executes() {
		execute()
	}
	switch fault {
	case FaultLost, FaultReset:
		panic(http.ErrAbortHandler)
	case FaultHang:
		_, _ = io.Copy(io.Discard, req.Body) // only then the server sees that the caller hangs up
		<-req.Context().Done()
		return true
	case FaultGarbage:
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte("<html>")) // who asked gets nothing more anyway
		return true
	default:
		return false
	}
}
