package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite"
	"github.com/keyturn/keyturn/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bundle is a worker with a real SQLite database, a queue in memory and a fake
// control plane, all in fake time.
type bundle struct {
	t      *testing.T
	store  *sqlite.Store
	queue  *memoryQueue
	system *fakeSystem
	one    *oneSystem
	part   int // units of a plan that are saved at a time; 0: the default
}

// The target's times: short, because a minute of fake time costs some seconds with the race detector.
const (
	settle = time.Minute
	verify = 2 * time.Minute
)

func setup(t *testing.T, units int) *bundle {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "keyturn.db"), Logger: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	target := keyturn.Target{
		Name: "om", Generation: 1, System: keyturn.SystemOpsManager, URL: "https://om.example.com",
		Limits: keyturn.Limits{Concurrency: 8},
		Timeouts: keyturn.TargetTimeouts{
			Request: keyturn.Duration(10 * time.Second), Settle: keyturn.Duration(settle), Verify: keyturn.Duration(verify),
		},
	}
	b := &bundle{t: t, store: store, queue: newMemoryQueue(), system: newFakeSystem(units)}
	b.one = &oneSystem{sys: b.system, target: target}
	b.applyPolicy(`{"target":"om"}`)
	return b
}

// pass lets fake time pass: everything here runs inside synctest.
func pass(d time.Duration) { time.Sleep(d) }

// bundled runs tests with a bundle in fake time.
func bundled(t *testing.T) func(name string, units int, test func(t *testing.T, b *bundle)) {
	return func(name string, units int, test func(t *testing.T, b *bundle)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, units)
				defer b.close()
				test(t, b)
			})
		})
	}
}

func (b *bundle) applyPolicy(spec string) {
	b.t.Helper()
	targetSpec, err := json.Marshal(b.one.target)
	if err != nil {
		b.t.Fatal(err)
	}
	err = b.store.ApplyResources(b.t.Context(), []keyturn.ResourceChange{
		{Kind: keyturn.KindTarget, Name: "om", Spec: targetSpec},
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: json.RawMessage(spec)},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// start runs a worker until the returned stop.
func (b *bundle) start(owner string) (stop func()) {
	b.t.Helper()
	return b.startOn(owner, b.store)
}

func (b *bundle) startOn(owner string, store worker.Store) (stop func()) {
	return b.startWith(owner, store, b.queue)
}

func (b *bundle) startWith(owner string, store worker.Store, queue worker.Queue) (stop func()) {
	w := worker.New(worker.Config{
		Owner: owner, Store: store, Queue: queue, Systems: b.one, Targets: b.one, PlanPart: b.part,
		Logger: zaptest.NewLogger(b.t), Metrics: worker.NewMetrics(prometheus.NewRegistry()),
	})
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("worker: %v", err)
		}
	}
}

func (b *bundle) close() {
	if err := b.store.Close(); err != nil {
		b.t.Error(err)
	}
}

func (b *bundle) request(id string) keyturn.Rotation {
	b.t.Helper()
	r, _, err := b.store.Request(b.t.Context(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: id})
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// await lets fake time pass until the rotation has ended. It looks less and less often: looking is what costs.
func (b *bundle) await(id keyturn.ID, most time.Duration) keyturn.Rotation {
	b.t.Helper()
	wait := 100 * time.Millisecond
	for end := time.Now().Add(most); ; wait = min(wait*5/4, 2*time.Second) {
		r, err := b.store.Rotation(b.t.Context(), id)
		if err != nil {
			b.t.Fatal(err)
		}
		if r.State.Final() {
			return r
		}
		if time.Now().After(end) {
			b.t.Fatalf("rotation is still %s after %s: %+v, tasks %+v", r.State, most, r.Counts, b.tasks(id))
		}
		pass(wait)
	}
}

func (b *bundle) tasks(id keyturn.ID) []keyturn.Task {
	b.t.Helper()
	tasks, _, err := b.store.Tasks(b.t.Context(), id, keyturn.Page{Limit: 1000})
	if err != nil {
		b.t.Fatal(err)
	}
	return tasks
}

func (b *bundle) records(origin keyturn.Origin) []keyturn.KeyRecord {
	b.t.Helper()
	all, _, err := b.store.History(b.t.Context(), keyturn.HistoryFilter{Page: keyturn.Page{Limit: 1000}})
	if err != nil {
		b.t.Fatal(err)
	}
	var some []keyturn.KeyRecord
	for _, k := range all {
		if k.Origin == origin {
			some = append(some, k)
		}
	}
	return some
}

// checkTruth compares the history with what the control plane really did.
func (b *bundle) checkTruth(applied int) {
	b.t.Helper()
	b.system.mu.Lock()
	defer b.system.mu.Unlock()
	byUnit := map[string][]keyturn.KeyRecord{}
	for _, k := range b.records(keyturn.OriginRotated) {
		byUnit[k.Unit] = append(byUnit[k.Unit], k)
	}
	for _, u := range b.system.units {
		if got := b.system.applied[u.ID]; got != applied {
			b.t.Errorf("unit %s was turned %d times, want %d", u.ID, got, applied)
		}
		if got := len(byUnit[u.ID]); got != applied {
			b.t.Errorf("unit %s has %d records of a rotation, want %d", u.ID, got, applied)
			continue
		}
		if applied > 0 && byUnit[u.ID][applied-1].KeyID != b.system.keys[u.ID] {
			b.t.Errorf("unit %s: history ends with %s, the truth is %s", u.ID, byUnit[u.ID][applied-1].KeyID, b.system.keys[u.ID])
		}
	}
}

// only returns the single task of a rotation of one unit.
func (b *bundle) only(id keyturn.ID) keyturn.Task {
	b.t.Helper()
	tasks := b.tasks(id)
	if len(tasks) != 1 {
		b.t.Fatalf("%d tasks, want 1", len(tasks))
	}
	return tasks[0]
}

// doublingQueue publishes tasks into another channel than they are consumed from.
type doublingQueue struct {
	*memoryQueue
	into chan *memoryDelivery
}

func (q *doublingQueue) PublishTasks(_ context.Context, _ string, bundles [][]keyturn.QueuedTask) error {
	return putBundles(q.into, q.put, bundles)
}

// slowStore delays the answer to the first intent.
type slowStore struct {
	worker.Store
	once  sync.Once
	delay time.Duration
}

func (s *slowStore) Intend(ctx context.Context, writes []keyturn.IntentWrite) ([]keyturn.IntentOutcome, error) {
	out, err := s.Store.Intend(ctx, writes)
	s.once.Do(func() { pass(s.delay) })
	return out, err
}

// flakyStore refuses results until a moment.
type flakyStore struct {
	worker.Store
	until time.Time
}

func (s *flakyStore) Finish(ctx context.Context, results []keyturn.TaskResult) (keyturn.Finished, error) {
	if time.Now().Before(s.until) {
		return keyturn.Finished{}, errors.New("database is away")
	}
	return s.Store.Finish(ctx, results)
}
