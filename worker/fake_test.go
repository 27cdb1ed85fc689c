package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// memoryQueue is a worker.Queue in memory that delivers again what is not
// acknowledged within ackWait, as a bus does.
type memoryQueue struct {
	ackWait time.Duration

	mu        sync.Mutex
	tasks     chan *memoryDelivery
	rotations chan *memoryDelivery
	triggers  chan *memoryDelivery
	events    []worker.Event
	dead      []string
	sequence  int
	publish   func() error // if set, asked before each publish
}

func newMemoryQueue() *memoryQueue {
	return &memoryQueue{
		ackWait: 30 * time.Second,
		tasks:   make(chan *memoryDelivery, 1000), rotations: make(chan *memoryDelivery, 100), triggers: make(chan *memoryDelivery, 100),
	}
}

type memoryDelivery struct {
	queue *memoryQueue
	data  []byte
	key   string
	ended chan struct{}
	once  sync.Once
	again atomic.Bool
}

// several reports whether it is a message with more than one task.
func (d *memoryDelivery) several() bool {
	tasks, err := keyturn.ParseQueuedTasks(d.data)
	return err == nil && len(tasks) > 1
}

func (d *memoryDelivery) Data() []byte { return d.data }
func (d *memoryDelivery) Key() string  { return d.key }
func (d *memoryDelivery) Again() bool  { return d.again.Load() }
func (d *memoryDelivery) Ack()         { d.once.Do(func() { close(d.ended) }) }
func (d *memoryDelivery) Reject(_ context.Context, reason string) error {
	d.queue.mu.Lock()
	d.queue.dead = append(d.queue.dead, reason)
	d.queue.mu.Unlock()
	d.Ack()
	return nil
}

func (q *memoryQueue) put(c chan *memoryDelivery, v any) error {
	q.mu.Lock()
	publish := q.publish
	q.sequence++
	key := fmt.Sprint(q.sequence)
	q.mu.Unlock()
	if publish != nil {
		if err := publish(); err != nil {
			return err
		}
	}
	data, err := json.Marshal(v)
	if raw, ok := v.(json.RawMessage); ok {
		data, err = raw, nil
	}
	if err != nil {
		return err
	}
	c <- &memoryDelivery{queue: q, data: data, key: key, ended: make(chan struct{})}
	return nil
}

func (q *memoryQueue) PublishTasks(_ context.Context, _ string, bundles [][]keyturn.QueuedTask) error {
	return putBundles(q.tasks, q.put, bundles)
}

func putBundles(into chan *memoryDelivery, put func(chan *memoryDelivery, any) error, bundles [][]keyturn.QueuedTask) error {
	for _, tasks := range bundles {
		message, err := keyturn.EncodeQueuedTasks(tasks)
		if err != nil {
			return err
		}
		if err := put(into, json.RawMessage(message)); err != nil {
			return err
		}
	}
	return nil
}

func (q *memoryQueue) Waiting(context.Context, string) (int, error) { return len(q.tasks), nil }

func (q *memoryQueue) PublishRotation(_ context.Context, id keyturn.ID) error {
	return q.put(q.rotations, json.RawMessage(id.String()))
}

func (q *memoryQueue) PublishEvents(_ context.Context, events []worker.Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, events...)
	return nil
}

func (q *memoryQueue) ConsumeTasks(ctx context.Context, _ string, concurrency int, handle func(context.Context, worker.Delivery)) error {
	return q.consume(ctx, q.tasks, concurrency, handle)
}

func (q *memoryQueue) ConsumeRotations(ctx context.Context, concurrency int, handle func(context.Context, worker.Delivery)) error {
	return q.consume(ctx, q.rotations, concurrency, handle)
}

func (q *memoryQueue) ConsumeTriggers(ctx context.Context, concurrency int, handle func(context.Context, worker.Delivery)) error {
	return q.consume(ctx, q.triggers, concurrency, handle)
}

func (q *memoryQueue) consume(ctx context.Context, c chan *memoryDelivery, concurrency int, handle func(context.Context, worker.Delivery)) error {
	slots := make(chan struct{}, concurrency)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d := <-c:
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				handle(ctx, d)
				select {
				case <-d.ended:
				case <-time.After(q.ackWait):
					d.again.Store(true)
					c <- d
				case <-ctx.Done():
				}
			})
		}
	}
}

// fakeSystem is a control plane with a truth of its own.
type fakeSystem struct {
	mu       sync.Mutex
	units    []keyturn.Unit
	keys     map[string]string // unit → key in use
	applied  map[string]int    // unit → changes carried out
	sent     map[string]int    // unit → changes that arrived
	prepares int

	prepare func(unit string) error                // an error to answer
	apply   func(unit string, turn func()) error   // decides whether and when to turn
	current func(unit, key string) (string, error) // what a reader sees
	look    func(sel keyturn.Selection) ([]keyturn.Unit, error)
}

func newFakeSystem(units int) *fakeSystem {
	s := &fakeSystem{keys: map[string]string{}, applied: map[string]int{}, sent: map[string]int{}}
	for i := range units {
		id, err := keyturn.UnitID("om", fmt.Sprintf("p%d", i%3), fmt.Sprintf("c%d", i))
		if err != nil {
			panic(err)
		}
		s.units = append(s.units, keyturn.Unit{
			ID: id, Target: "om", System: keyturn.SystemOpsManager, ProjectID: fmt.Sprintf("p%d", i%3), ProjectName: "project",
			ClusterID: fmt.Sprintf("c%d", i), ClusterName: fmt.Sprintf("cluster%d", i), Component: keyturn.ComponentReplicaSet,
			Name: fmt.Sprintf("rs%d", i), FCV: "4.0", Rotatable: true,
		})
		s.keys[id] = "key-0"
	}
	return s
}

var errAmbiguous = &keyturn.SystemError{Kind: keyturn.KindAmbiguous, Code: "network", Err: errors.New("connection reset")}

func (s *fakeSystem) Discover(_ context.Context, sel keyturn.Selection) ([]keyturn.Unit, error) {
	if s.look != nil {
		units, err := s.look(sel)
		return slices.Clone(units), err // whoever asks may change its answer
	}
	return slices.Clone(s.units), nil
}

func (s *fakeSystem) Prepare(_ context.Context, unit string, _ keyturn.ID) (keyturn.Intent, error) {
	s.mu.Lock()
	s.prepares++
	prepare := s.prepare
	s.mu.Unlock()
	if prepare != nil {
		if err := prepare(unit); err != nil {
			return keyturn.Intent{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return keyturn.Intent{Before: s.keys[unit]}, nil
}

func (s *fakeSystem) Apply(_ context.Context, unit string, _ keyturn.Intent) error {
	s.mu.Lock()
	s.sent[unit]++
	apply := s.apply
	s.mu.Unlock()
	turn := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.applied[unit]++
		s.keys[unit] = fmt.Sprintf("key-%d", s.applied[unit])
	}
	if apply != nil {
		return apply(unit, turn)
	}
	turn()
	return nil
}

func (s *fakeSystem) Current(_ context.Context, unit string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		return s.current(unit, s.keys[unit])
	}
	return s.keys[unit], nil
}

// oneSystem is a worker.Systems and TargetLister with one target.
type oneSystem struct {
	sys    worker.System
	target keyturn.Target
	err    error
}

func (o *oneSystem) System(context.Context, string, int64) (worker.System, keyturn.Target, error) {
	return o.sys, o.target, o.err
}

func (o *oneSystem) Targets(context.Context) ([]keyturn.Target, error) {
	return []keyturn.Target{o.target}, nil
}
