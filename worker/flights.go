package worker

import (
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

// flights are the tasks that this process works on, and those whose change may still be under way though its call has ended. The
// database knows both, by its clock. If that is set forward, leases end and systems settle too soon, so what this process sent
// itself it measures by its own clock, which is monotonic.
type flights struct {
	now func() time.Time

	mu sync.Mutex
	by map[keyturn.ID]flight
}

type flight struct {
	busy    bool
	settled time.Time // when the system must show the change; zero: none is under way
}

// begin reports whether the task may be worked on: no other delivery of it is.
func (f *flights) begin(task keyturn.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.by[task]
	if was.busy {
		return false
	}
	if f.by == nil {
		f.by = make(map[keyturn.ID]flight)
	}
	f.by[task] = flight{busy: true, settled: was.settled}
	return true
}

// end is to follow on begin.
func (f *flights) end(task keyturn.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if was := f.by[task]; was.settled.After(f.now()) {
		f.by[task] = flight{settled: was.settled}
	} else {
		delete(f.by, task)
	}
}

// sent notes that a change was sent and nobody knows what became of it: within settle it shows, or never.
func (f *flights) sent(task keyturn.ID, settle time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.by[task]
	was.settled = f.now().Add(settle)
	f.by[task] = was
	time.AfterFunc(settle, func() { f.forget(task) })
}

// forget lets go of a task that has settled, also when others went on with it.
func (f *flights) forget(task keyturn.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if was := f.by[task]; !was.busy && !was.settled.After(f.now()) {
		delete(f.by, task)
	}
}

// settledIn is how long until the system must show what this process sent for the task; not positive: nothing is under way.
func (f *flights) settledIn(task keyturn.ID) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if was := f.by[task]; !was.settled.IsZero() {
		return was.settled.Sub(f.now())
	}
	return 0
}
