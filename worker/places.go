package worker

import (
	"slices"
	"sync"
)

// places are where this process works on one target's tasks. Each message in hand is one place, which is good for one call at a
// time; its tasks are worked on wherever a place is free, so that none stands still while the database makes durable what
// became of its own.
type places struct {
	mu      sync.Mutex
	ahead   []*job      // looked at already; they go first
	waiting []*job      // of all messages in hand, oldest first
	idle    []chan *job // of the places that have nothing to do
}

// add gives tasks to places that have nothing to do, or lets them wait for one.
func (p *places) add(jobs []job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range jobs {
		if !p.handOver(&jobs[i]) {
			p.waiting = append(p.waiting, &jobs[i])
		}
	}
}

// lookedAt adds a task that was looked at ahead.
func (p *places) lookedAt(j *job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.handOver(j) {
		p.ahead = append(p.ahead, j)
	}
}

// handOver gives a task to a place that has nothing to do, if there is one. The caller holds mu.
func (p *places) handOver(j *job) bool {
	if len(p.idle) == 0 {
		return false
	}
	p.idle[0] <- j
	p.idle = p.idle[1:]
	return true
}

// toLookAt claims a task that waits; nil: there is none.
func (p *places) toLookAt() *job {
	p.mu.Lock()
	defer p.mu.Unlock()
	return pop(&p.waiting)
}

// next claims a task, for which it waits until done; nil: done. It has no context, because whoever waits is done when other
// places have ended the tasks of its message: each has its limit, and begins none when the worker is stopped.
func (p *places) next(done <-chan struct{}) *job {
	p.mu.Lock()
	j := pop(&p.ahead)
	if j == nil {
		j = pop(&p.waiting)
	}
	if j != nil {
		p.mu.Unlock()
		return j
	}
	mine := make(chan *job, 1)
	p.idle = append(p.idle, mine)
	p.mu.Unlock()
	select {
	case j := <-mine:
		return j
	case <-done:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = slices.DeleteFunc(p.idle, func(c chan *job) bool { return c == mine })
	select {
	case j := <-mine:
		return j
	default:
		return nil
	}
}

func pop(jobs *[]*job) *job {
	if len(*jobs) == 0 {
		return nil
	}
	j := (*jobs)[0]
	(*jobs)[0] = nil
	*jobs = (*jobs)[1:]
	return j
}
