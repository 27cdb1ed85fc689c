package opsmanager

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

// patience remembers for which process each task waits, and since when that has not moved: an agent that is dead never
// reaches the goal. A process of ours that begins anew only waits a little longer, and so does a task that did not look for a
// while: its target was away, so that no agent could move, or it was held.
type patience struct {
	mu    sync.Mutex
	by    map[keyturn.ID]standstill
	swept time.Time
}

// standstill is a process that keeps a task waiting.
type standstill struct {
	process string
	version int64 // of the automation config that it has reached
	since   time.Time
	asked   time.Time // when the task looked last
}

// waits notes which process is the slowest and returns for how long it has stood still. complete is how long it may: a task
// that did not look for a quarter of that, and for a minute, begins to wait anew.
func (p *patience) waits(task keyturn.ID, process string, version int64, now time.Time, complete time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil {
		p.by = make(map[keyturn.ID]standstill)
	}
	if most := max(complete, time.Hour); now.Sub(p.swept) > most {
		p.swept = now
		maps.DeleteFunc(p.by, func(_ keyturn.ID, s standstill) bool { return now.Sub(s.asked) > most })
	}
	s, ok := p.by[task]
	if !ok || s.process != process || s.version != version || now.Before(s.since) || now.Sub(s.asked) > max(complete/4, time.Minute) {
		s = standstill{process: process, version: version, since: now}
	}
	s.asked = now
	p.by[task] = s
	return now.Sub(s.since)
}

// over forgets a task that waits for nobody any more.
func (p *patience) over(task keyturn.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.by, task)
}

// slowest returns the process that is furthest behind, and the version that it has reached.
func (as *automationStatus) slowest(names []string) (process string, version int64) {
	reached := make(map[string]int64, len(names))
	for i := range as.Processes {
		p := &as.Processes[i]
		reached[p.Name] = p.Reached.number()
	}
	for i, name := range names { // one that is not listed has reached none
		if v := reached[name]; i == 0 || v < version {
			process, version = name, v
		}
	}
	return process, version
}

// outOfPatience ends a task that waits for agents of which the slowest has not moved for timeouts.complete. nil: it may
// go on waiting.
func (c *Client) outOfPatience(q question, task keyturn.ID, as *automationStatus, names []string) error {
	process, version := as.slowest(names)
	complete := c.target.Timeouts.Complete
	if c.patience.waits(task, process, version, c.now(), complete.Std()) < complete.Std() {
		return nil
	}
	c.patience.over(task)
	return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: codeAgentsStill},
		fmt.Errorf("gave up, nothing was changed: process %s has stood at version %d of the automation config for timeouts.complete (%s): "+
			"see whether its automation agent runs, then turn the key again", c.clean(process), version, complete))
}
