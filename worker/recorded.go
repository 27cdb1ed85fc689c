package worker

import (
	"sync"

	"github.com/keyturn/keyturn"
)

// recordedMost bounds what is kept: some 1 kB a task.
const recordedMost = 8192

// recorded keeps what this process recorded until it is announced, so that the announcer need not read it again. What
// another process announces first, or what is too much, is forgotten: the database has it all.
type recorded struct {
	mu            sync.Mutex
	newer, older  map[keyturn.ID]keyturn.Told // by announcement
	newerHasTasks int
}

// add keeps what an announcement tells.
func (r *recorded) add(what keyturn.Told) {
	if what.ID.IsZero() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.newer == nil || r.newerHasTasks+len(what.Tasks) > recordedMost/2 {
		r.newer, r.older, r.newerHasTasks = make(map[keyturn.ID]keyturn.Told), r.newer, 0
	}
	r.newer[what.ID] = what
	r.newerHasTasks += len(what.Tasks)
}

// take returns what the announcement tells and forgets it.
func (r *recorded) take(announcement keyturn.ID) (keyturn.Told, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, some := range []map[keyturn.ID]keyturn.Told{r.newer, r.older} {
		if what, ok := some[announcement]; ok {
			delete(some, announcement)
			return what, true
		}
	}
	return keyturn.Told{}, false
}
