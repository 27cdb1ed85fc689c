package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

// bundlePatience is how long a task may wait here, from the moment at which its message came. Then it is handed out anew.
const bundlePatience = 5 * time.Second

// message is a delivery's tasks.
type message struct {
	jobs []job
	done chan struct{} // closed when all have ended, or were left

	mu   sync.Mutex
	open int
	err  error // of one that was left
}

func newMessage(tasks []keyturn.QueuedTask, again bool, now time.Time) *message {
	m := &message{jobs: make([]job, len(tasks)), done: make(chan struct{}), open: len(tasks)}
	for i := range m.jobs {
		j := &m.jobs[i]
		j.QueuedTask, j.message = tasks[i], m
		// Most of what comes again has ended, and to see that would cost the target a call each: it is taken apart.
		j.apart = again && len(tasks) > 1
		if i > 0 { // the first one has all the time, so that each message brings something forward
			j.patience = now.Add(bundlePatience)
		}
	}
	return m
}

// late reports whether the task is better handed out anew: it waited for too long, or its message was delivered before.
func (j *job) late(now time.Time) bool {
	return j.apart || !j.patience.IsZero() && now.After(j.patience)
}

// panicked is a task's panic.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("%v\n%s", p.value, p.stack) }

// end notes that one of the tasks has ended, or was left with an error.
func (m *message) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if was := (*panicked)(nil); m.err == nil || errors.As(err, &was) { // a panic is told, whatever came before it
		m.err = err
	}
	if m.open--; m.open == 0 {
		close(m.done)
	}
}

// left returns why the message is not to be gone on with: one of its tasks was left.
func (m *message) left() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// over reports whether all tasks have ended and their results are durable.
func (m *message) over() bool {
	select {
	case <-m.done:
	default:
		return false
	}
	for i := range m.jobs {
		if !m.jobs[i].answer.there() {
			return false
		}
	}
	return true
}

// handle works on one delivery and ends it, or leaves it to come again when what it led to could not be made durable. Until then
// the delivery is one place at the target, in which whatever task has waited longest is worked on. It returns how many tasks it had.
func (r *rotator) handle(stopping context.Context, p *places, d Delivery) int {
	tasks, err := keyturn.ParseQueuedTasks(d.Data())
	if err != nil {
		ctx, cancel := unstopped(stopping)
		defer cancel()
		reject(ctx, d, r.log, err.Error())
		return 1
	}
	m := newMessage(tasks, d.Again(), r.now())
	p.add(m.jobs)
	for !m.over() {
		j := p.next(m.done)
		if j == nil { // nothing is left to do but to see the results recorded
			break
		}
		r.carryOut(stopping, p, j)
	}
	ctx, cancel := unstopped(stopping)
	defer cancel()
	left := m.left()
	for i := range m.jobs {
		err = cmp.Or(err, r.recorded(ctx, &m.jobs[i]))
	}
	if was := (*panicked)(nil); errors.As(left, &was) { // it is this handler's, wherever it came to light
		panic(was)
	}
	if cmp.Or(left, err) == nil { // else it is not durable: nothing may be acknowledged
		d.Ack()
	}
	return len(tasks)
}

// unstopped is for what is finished also while the worker shuts down.
func unstopped(stopping context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(stopping), handTimeout)
}

// carryOut works on a task and tells its message what became of it.
func (r *rotator) carryOut(stopping context.Context, p *places, j *job) {
	var err error
	defer func() {
		if value := recover(); value != nil { // the place is another message's
			err = &panicked{value, debug.Stack()}
		}
		j.message.end(err)
	}()
	err = r.begin(stopping, p, j)
}

// begin works on a task, unless its message is not gone on with.
func (r *rotator) begin(stopping context.Context, p *places, j *job) error {
	if err := cmp.Or(j.message.left(), stopping.Err()); err != nil { // it comes again, elsewhere
		return err
	}
	ctx, cancel := unstopped(stopping)
	defer cancel()
	j.places = p
	if err := r.work(ctx, stopping, j); err != nil {
		return err
	}
	if j.result.State == keyturn.TaskFailed || j.result.State == keyturn.TaskParked { // it may be a reason to go no further
		return r.recorded(ctx, j)
	}
	return nil
}
