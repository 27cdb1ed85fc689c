package storagetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
)

// Clock is a clock that only moves when it is told to.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fixture is a store with a clock, and short ways to bring it into a state.
type fixture struct {
	Store
	t     testing.TB
	clock *Clock
	// unitKeys are the keys that units use, as turnAll left them.
	unitKeys map[string]string
	// evaluator evaluates alerts; nil: a new one each time.
	evaluator *alerts.Evaluator
}

const (
	applyFor = 40 * time.Second
	lease    = time.Minute
	settle   = 2 * time.Minute
	owner    = "worker-1"
)

func newFixture(t *testing.T, newStore New) *fixture {
	t.Helper()
	clock := &Clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	return &fixture{Store: newStore(t, clock.Now), t: t, clock: clock, unitKeys: map[string]string{}}
}

func (f *fixture) ctx() context.Context { return f.t.Context() }

// ok fails the test at once if err is not nil.
func (f *fixture) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// is fails the test unless err is the sentinel.
func (f *fixture) is(err, sentinel error) {
	f.t.Helper()
	if !errors.Is(err, sentinel) {
		f.t.Fatalf("error is %v, want %v", err, sentinel)
	}
}

func encode(t testing.TB, v any) json.RawMessage {
	t.Helper()
	spec, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func (f *fixture) target(name string) {
	f.t.Helper()
	spec := keyturn.Target{System: keyturn.SystemOpsManager, URL: "https://" + name + ".example.com"}
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindTarget, Name: name, Spec: encode(f.t, spec)}}))
}

// policy makes a policy of a target, with an optional next slot.
func (f *fixture) policy(name, target string, next *keyturn.Slot) {
	f.t.Helper()
	spec := keyturn.Policy{Target: target}
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: name, Spec: encode(f.t, spec), Next: next}}))
}

// estate makes the target om and its policy quarterly.
func (f *fixture) estate() {
	f.t.Helper()
	f.target("om")
	f.policy("quarterly", "om", nil)
}

func (f *fixture) request(policy string) keyturn.Rotation {
	f.t.Helper()
	r, created, err := f.Request(f.ctx(), keyturn.Request{Policy: policy, Trigger: keyturn.TriggerManual, Reason: "test"})
	f.ok(err)
	if !created {
		f.t.Fatal("a request without a trigger id found an earlier rotation")
	}
	return r
}

// running requests a rotation of the policy and plans it with the units.
func (f *fixture) running(policy string, units ...keyturn.Unit) (keyturn.Rotation, []keyturn.Task) {
	f.t.Helper()
	r := f.request(policy)
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, units))
	return f.rotation(r.ID), f.tasks(r.ID)
}

func (f *fixture) rotation(id keyturn.ID) keyturn.Rotation {
	f.t.Helper()
	r, err := f.Rotation(f.ctx(), id)
	f.ok(err)
	return r
}

// tasks returns all tasks of a rotation in the order of their turn.
func (f *fixture) tasks(id keyturn.ID) []keyturn.Task {
	f.t.Helper()
	var all []keyturn.Task
	for page := (keyturn.Page{Limit: 1000}); ; {
		tasks, next, err := f.Tasks(f.ctx(), id, page)
		f.ok(err)
		all = append(all, tasks...)
		if next == "" {
			return all
		}
		page.After = next
	}
}

// task returns the rotation's only task.
func (f *fixture) task(id keyturn.ID) keyturn.Task {
	f.t.Helper()
	tasks := f.tasks(id)
	if len(tasks) != 1 {
		f.t.Fatalf("rotation has %d tasks, want 1", len(tasks))
	}
	return tasks[0]
}

// epoch counts who has held the task's intent; 0: it had none.
func (f *fixture) epoch(id keyturn.ID) int64 {
	if intent := f.detail(id).Intent; intent != nil {
		return intent.Epoch
	}
	return 0
}

func (f *fixture) history(filter keyturn.HistoryFilter) []keyturn.KeyRecord {
	f.t.Helper()
	records, next, err := f.History(f.ctx(), filter)
	f.ok(err)
	if next != "" {
		f.t.Fatalf("%d key records and still a next page", len(records))
	}
	return records
}

func (f *fixture) unit(id string) keyturn.Unit {
	f.t.Helper()
	units, _, err := f.Units(f.ctx(), keyturn.UnitFilter{Name: id})
	f.ok(err)
	if len(units) != 1 {
		f.t.Fatalf("found %d units called %s, want 1", len(units), id)
	}
	return units[0]
}

// unit makes the n-th unit of a project of a target; it can be rotated.
func makeUnit(target, project string, n int) keyturn.Unit {
	cluster := fmt.Sprintf("c%03d", n)
	return keyturn.Unit{
		ID: target + "." + project + "." + cluster, Target: target, System: keyturn.SystemOpsManager,
		ProjectID: project, ProjectName: project + "-name", ClusterID: cluster, ClusterName: cluster + "-name",
		Component: keyturn.ComponentReplicaSet, Name: fmt.Sprintf("rs%d", n), FCV: "4.0", Rotatable: true,
	}
}

func makeUnits(target, project string, n int) []keyturn.Unit {
	units := make([]keyturn.Unit, n)
	for i := range units {
		units[i] = makeUnit(target, project, i)
	}
	return units
}

// write makes an intent for the unit of a task, if there is that task.
func (f *fixture) write(task keyturn.ID, before string) keyturn.IntentWrite {
	known, err := f.Task(f.ctx(), task)
	if err != nil && !errors.Is(err, keyturn.ErrNotFound) {
		f.t.Error(err)
	}
	return keyturn.IntentWrite{Task: task, Unit: known.Unit, Owner: owner, Intent: keyturn.Intent{Before: before}, ApplyFor: applyFor, Lease: lease}
}

// intend writes one intent and returns the answer.
func (f *fixture) intend(task keyturn.ID, before string) keyturn.IntentOutcome {
	f.t.Helper()
	out, err := f.Intend(f.ctx(), []keyturn.IntentWrite{f.write(task, before)})
	f.ok(err)
	if len(out) != 1 {
		f.t.Fatalf("%d answers to one intent", len(out))
	}
	return out[0]
}

// mustIntend writes an intent that must be allowed, and returns its epoch.
func (f *fixture) mustIntend(task keyturn.ID, before string) int64 {
	f.t.Helper()
	out := f.intend(task, before)
	if out.Verdict != keyturn.VerdictGo {
		f.t.Fatalf("verdict is %q, want go", out.Verdict)
	}
	return out.Epoch
}

// record records results and returns which were taken. What it says of the tasks that ended has to be what
// AnnouncedTasks reads.
func (f *fixture) record(ctx context.Context, results []keyturn.TaskResult) ([]bool, error) {
	f.t.Helper()
	done, err := f.Finish(ctx, results)
	if err != nil {
		return done.Taken, err
	}
	var ids []keyturn.ID
	ends := map[keyturn.ID]keyturn.TaskResult{}
	for i, r := range results {
		if done.Taken[i] && r.State.Final() {
			ids, ends[r.Task] = append(ids, r.Task), r
		}
	}
	tasks, records, err := f.AnnouncedTasks(ctx, ids)
	f.ok(err)
	whole := len(tasks) > 0
	for _, t := range tasks {
		whole = whole && ends[t.ID].Whole(f.epoch(t.ID))
	}
	if whole == done.Told.ID.IsZero() {
		f.t.Fatalf("these tasks ended: %+v; what is told of them is %+v", tasks, done.Told)
	}
	byTask := func(a, b keyturn.Task) int { return bytes.Compare(a.ID[:], b.ID[:]) }
	byID := func(a, b keyturn.KeyRecord) int { return bytes.Compare(a.ID[:], b.ID[:]) }
	slices.SortFunc(tasks, byTask)
	slices.SortFunc(done.Told.Tasks, byTask)
	slices.SortFunc(records, byID)
	slices.SortFunc(done.Told.Records, byID)
	if whole && !(reflect.DeepEqual(done.Told.Tasks, tasks) && slices.EqualFunc(done.Told.Records, records, func(a, b keyturn.KeyRecord) bool { return reflect.DeepEqual(a, b) })) {
		f.t.Errorf("told are\n%+v\n%+v\nthe database has\n%+v\n%+v", done.Told.Tasks, done.Told.Records, tasks, records)
	}
	return done.Taken, nil
}

// finish records one result and returns whether it was taken.
func (f *fixture) finish(result keyturn.TaskResult) bool {
	f.t.Helper()
	ok, err := f.record(f.ctx(), []keyturn.TaskResult{result})
	f.ok(err)
	if len(ok) != 1 {
		f.t.Fatalf("%d answers to one result", len(ok))
	}
	return ok[0]
}

func (f *fixture) mustFinish(result keyturn.TaskResult) {
	f.t.Helper()
	if !f.finish(result) {
		f.t.Fatalf("result %+v was refused", result)
	}
}

func succeeded(task keyturn.ID, epoch int64, key string) keyturn.TaskResult {
	return keyturn.TaskResult{
		Task: task, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskSucceeded,
		Resolution: keyturn.ResolutionConfirmed, KeyAfter: key,
	}
}

// turn carries a pending task out: the unit's key goes from before to after.
func (f *fixture) turn(task keyturn.ID, before, after string) {
	f.t.Helper()
	f.mustFinish(succeeded(task, f.mustIntend(task, before), after))
}

// feed hands out tasks of the target.
func (f *fixture) feed(target string, window int) []keyturn.QueuedTask {
	f.t.Helper()
	fed, err := f.Feed(f.ctx(), target, window)
	f.ok(err)
	return fed.Tasks
}

// drain returns the waiting announcements and removes them.
func (f *fixture) drain() []keyturn.Announcement {
	f.t.Helper()
	notes, err := f.Unannounced(f.ctx(), 1000, lease)
	f.ok(err)
	ids := make([]keyturn.ID, len(notes))
	for i, n := range notes {
		ids[i] = n.ID
	}
	f.ok(f.Announced(f.ctx(), ids))
	return notes
}

// requested lists the rotations of which announcements tell that they were requested.
func requested(notes []keyturn.Announcement) []keyturn.ID {
	var ids []keyturn.ID
	for _, n := range notes {
		switch n.Type {
		case "rotation.requested":
			ids = append(ids, n.Rotation)
		case "rotations":
			ids = append(ids, n.Requested...)
		}
	}
	return ids
}

// types lists the types of announcements in their order.
func types(notes []keyturn.Announcement) []string {
	out := make([]string, len(notes))
	for i, n := range notes {
		out[i] = n.Type
	}
	return out
}

func (f *fixture) slot(in time.Duration) *keyturn.Slot {
	at := f.clock.Now().Add(in)
	return &keyturn.Slot{Local: at.Format("2006-01-02T15:04:05"), Timezone: "UTC", At: at}
}
