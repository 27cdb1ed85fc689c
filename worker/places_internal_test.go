package worker

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestPlaces_Next lets places come and go while tasks are added: each task is claimed once, and none is lost to a place that left.
func TestPlaces_Next(t *testing.T) {
	t.Parallel()
	const rounds, perRound, lanes = 200, 4, 8
	var p places
	var claimed [rounds][perRound]atomic.Int32
	jobs := make([][]job, rounds)
	var all sync.WaitGroup
	all.Add(rounds * perRound)
	ended := make(chan struct{})
	var open sync.WaitGroup
	for range lanes {
		open.Go(func() {
			for {
				done := make(chan struct{})
				go close(done) // at any time
				for j := p.next(done); j != nil; j = p.next(done) {
					claimed[j.Failures/perRound][j.Failures%perRound].Add(1)
					all.Done()
				}
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	for i := range rounds {
		jobs[i] = make([]job, perRound)
		for k := range jobs[i] {
			jobs[i][k].Failures = i*perRound + k
		}
		p.add(jobs[i][1:])
		p.lookedAt(&jobs[i][0])
	}
	all.Wait()
	close(ended)
	open.Wait()
	for i := range claimed {
		for k := range claimed[i] {
			if n := claimed[i][k].Load(); n != 1 {
				t.Errorf("task %d of message %d was claimed %d times", k, i, n)
			}
		}
	}
	if len(p.ahead)+len(p.waiting)+len(p.idle) > 0 {
		t.Errorf("%d and %d tasks and %d places are left over", len(p.ahead), len(p.waiting), len(p.idle))
	}
}

// TestPlaces_Order: what was looked at goes first, then what has waited longest.
func TestPlaces_Order(t *testing.T) {
	t.Parallel()
	var p places
	jobs := make([]job, 4)
	p.add(jobs)
	looked := p.toLookAt()
	if looked != &jobs[0] {
		t.Fatal("not the first one is looked at")
	}
	p.lookedAt(looked)
	done := make(chan struct{})
	close(done)
	for i := range jobs {
		if p.next(done) != &jobs[i] {
			t.Errorf("task %d is out of order", i)
		}
	}
	if j := p.next(done); j != nil || p.toLookAt() != nil {
		t.Errorf("there is one more: %+v", j)
	}
}

// TestPlaces_Idle: a place that has nothing to do gets the next task, however it comes.
func TestPlaces_Idle(t *testing.T) {
	t.Parallel()
	for name, add := range map[string]func(p *places, jobs []job){
		"added":     (*places).add,
		"looked at": func(p *places, jobs []job) { p.lookedAt(&jobs[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var p places
				jobs := make([]job, 1)
				got := make(chan *job, 1)
				go func() { got <- p.next(nil) }()
				synctest.Wait()
				add(&p, jobs)
				if <-got != &jobs[0] || len(p.ahead)+len(p.waiting)+len(p.idle) > 0 {
					t.Errorf("%d and %d tasks and %d places are left over", len(p.ahead), len(p.waiting), len(p.idle))
				}
			})
		})
	}
}

// TestMessage_TellsOfAPanic: it is worse than whatever error came before it.
func TestMessage_TellsOfAPanic(t *testing.T) {
	t.Parallel()
	m := message{done: make(chan struct{}), open: 3}
	failed, worse := errors.New("database is away"), &panicked{value: "nil map"}
	for _, err := range []error{failed, worse, failed} {
		m.end(err)
	}
	if got := m.left(); !errors.Is(got, worse) {
		t.Errorf("the message was left because of %v, want the panic", got)
	}
}
