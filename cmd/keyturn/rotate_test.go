package main

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

// finishes makes rotations go on a step each time they are looked at, and end
// with the tasks given.
func (c *cli) finishes(tasks ...keyturn.Task) {
	looks := 0
	c.store.OnRotation = func(r *keyturn.Rotation) {
		looks++
		start := apitest.Epoch()
		switch {
		case r.State.Final():
		case looks < 3:
			r.State, r.StartedAt = keyturn.RotationRunning, &start
			r.Counts = keyturn.Counts{Total: len(tasks), Pending: len(tasks)}
		default:
			r.Counts = keyturn.Counts{Total: len(tasks)}
			for _, task := range tasks {
				count(&r.Counts, task.State)
			}
			end := start.Add(90 * time.Second)
			r.FinishedAt, r.State = &end, r.Counts.Outcome()
			if len(tasks) == 0 {
				r.Reason = "the policy selects no unit"
			}
		}
	}
}

func count(c *keyturn.Counts, state keyturn.TaskState) {
	switch state {
	case keyturn.TaskSucceeded:
		c.Succeeded++
	case keyturn.TaskFailed:
		c.Failed++
	case keyturn.TaskSkipped:
		c.Skipped++
	default:
		c.Parked++
	}
}

func task(unit string, state keyturn.TaskState, reason string) keyturn.Task {
	return keyturn.Task{ID: keyturn.NewID(apitest.Epoch()), Unit: unit, State: state, Reason: reason}
}

func TestRotateTwiceWithOneIDIsOneRotation(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	first := fromJSON[keyturn.Rotation](t, c.run(t, "rotate", "quarterly", "--id", "k", "-o", "json").want(t, exitDone))
	second := fromJSON[keyturn.Rotation](t, c.run(t, "rotate", "quarterly", "--id", "k", "-o", "json").want(t, exitDone))
	third := fromJSON[keyturn.Rotation](t, c.run(t, "rotate", "quarterly", "-o", "json").want(t, exitDone))
	if first.ID != second.ID || first.ID == third.ID {
		t.Errorf("ids %s, %s, %s", first.ID, second.ID, third.ID)
	}
}

func TestRotateThatIsRepeatedIsOneRotation(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	var posts atomic.Int32
	c.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || posts.Add(1) > 2 {
			return false
		}
		if posts.Load() == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		// Done, but the answer gets lost.
		c.pass(r)
		panic(http.ErrAbortHandler)
	}
	c.run(t, "rotate", "quarterly", "--reason", "why not", "--project", "a", "--project", "b").want(t, exitDone)
	rotations := fromJSON[[]keyturn.Rotation](t, c.run(t, "rotations", "-o", "json").want(t, exitDone))
	if len(rotations) != 1 || posts.Load() != 3 {
		t.Fatalf("%d rotations by %d calls, want 1 by 3", len(rotations), posts.Load())
	}
	if r := rotations[0]; r.Reason != "why not" || len(r.Only.Projects) != 2 || r.RequestedBy != "token:admin" {
		t.Errorf("the rotation is %+v", r)
	}
}

func TestRotateWaitEndsWithTheRotation(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		tasks []keyturn.Task
		code  int
		says  []string
	}{
		{"succeeded", []keyturn.Task{task("om-prod.p1.c1", keyturn.TaskSucceeded, "")}, exitDone, []string{"succeeded after 90s", "units 1: 1 succeeded"}},
		{"skipped units do not spoil it", []keyturn.Task{
			task("om-prod.p1.c1", keyturn.TaskSucceeded, ""), task("om-prod.p1.c3", keyturn.TaskSkipped, "backup is off"),
		}, exitDone, []string{"1 skipped: backup is off (payments/ledger)"}},
		{"partial", []keyturn.Task{
			task("om-prod.p1.c1", keyturn.TaskSucceeded, ""),
			task("om-prod.p1.c3", keyturn.TaskSkipped, "backup is off"),
			task("om-prod.p1.c2", keyturn.TaskFailed, "403 forbidden"), task("x", keyturn.TaskFailed, "403 forbidden"),
			task("y", keyturn.TaskParked, "outcome unknown"),
		}, exitNotSucceeded, []string{"partial", "  2 failed: 403 forbidden (such as payments/orders-cfg)\n  1 parked: outcome unknown (y)\n  1 skipped"}},
		{"nothing selected", nil, exitNotSucceeded, []string{"failed", "the policy selects no unit"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCLI(t)
			c.store.AddUnits(someUnits()...)
			c.finishes(test.tasks...)
			c.keepTasks(test.tasks)
			r := c.run(t, "rotate", "quarterly", "--wait").want(t, test.code)
			for _, words := range test.says {
				if !strings.Contains(r.stdout, words) {
					t.Errorf("no %q in\n%s", words, r.stdout)
				}
			}
			if !strings.Contains(r.stderr, "running") || strings.Contains(r.stderr, "\x1b") {
				t.Errorf("progress without a terminal is plain lines: %q", r.stderr)
			}
		})
	}
}

func TestRotateWaitAsJSONHasTheTasks(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	tasks := []keyturn.Task{task("u", keyturn.TaskFailed, "no")}
	c.finishes(tasks...)
	c.keepTasks(tasks)
	r := fromJSON[keyturn.Rotation](t, c.run(t, "rotate", "quarterly", "--wait", "-o", "json").want(t, exitNotSucceeded))
	if len(r.Tasks) != 1 || r.State != keyturn.RotationFailed {
		t.Errorf("the rotation is %+v", r)
	}
}

func TestInterruptStopsWaitingAndNotTheRotation(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.store.OnRotation = func(r *keyturn.Rotation) {
		r.State = keyturn.RotationRunning
		cancel()
	}
	r := c.runContext(ctx, "rotate", "quarterly", "--wait").want(t, exitFailed)
	if !strings.Contains(r.stderr, "the rotation goes on: `keyturn rotations ") {
		t.Errorf("stderr is %q", r.stderr)
	}
	rotations := fromJSON[[]keyturn.Rotation](t, c.run(t, "rotations", "-o", "json").want(t, exitDone))
	if rotations[0].State != keyturn.RotationRunning {
		t.Errorf("the rotation is %s", rotations[0].State)
	}
}

func TestWaitOutlivesARestartOfTheServer(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.finishes(task("u", keyturn.TaskSucceeded, ""))
	var gets atomic.Int32
	c.before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/rotations/") {
			return false
		}
		switch n := gets.Add(1); {
		case n < 2 || n > 20:
			return false
		case n%2 == 0:
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
	}
	r := c.run(t, "rotate", "quarterly", "--wait").want(t, exitDone)
	if !strings.Contains(r.stderr, "still waiting") || !strings.Contains(r.stderr, "answers again") {
		t.Errorf("stderr is %q", r.stderr)
	}
}

func TestWaitSaysThatAPolicyIsPaused(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.run(t, "pause", "quarterly").want(t, exitDone)
	c.finishes(task("u", keyturn.TaskSucceeded, ""))
	if r := c.run(t, "rotate", "quarterly", "--wait").want(t, exitDone); !strings.Contains(r.stderr, "keyturn resume quarterly") {
		t.Errorf("stderr is %q", r.stderr)
	}
}

func TestRotationIsShownWithItsTasks(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.store.AddUnits(someUnits()...)
	start, end := apitest.Epoch().Add(-time.Hour), apitest.Epoch().Add(-59*time.Minute)
	done := task("om-prod.p1.c1", keyturn.TaskSucceeded, "")
	done.KeyBefore, done.KeyAfter, done.Resolution = "key-1", "key-9", keyturn.ResolutionInferred
	r := keyturn.Rotation{
		ID: keyturn.NewID(start), Policy: "quarterly", Target: "om-prod", Trigger: keyturn.TriggerSchedule, Slot: "2026-03-28T11:00:00 UTC",
		State: keyturn.RotationSucceeded, Counts: keyturn.Counts{Total: 1, Succeeded: 1}, RequestedAt: start, StartedAt: &start, FinishedAt: &end,
	}
	c.store.AddRotation(r, done)
	got := c.run(t, "rotations", r.ID.String()).want(t, exitDone).stdout
	want := "rotation   " + r.ID.String() + `
policy     quarterly on om-prod
state      succeeded
units      1: 1 succeeded
trigger    schedule, 2026-03-28T11:00:00 UTC
requested  2026-03-28 11:00:00 UTC
started    2026-03-28 11:00:00 UTC
finished   2026-03-28 11:01:00 UTC, after 60s

UNIT               STATE      KEY BEFORE  KEY AFTER  NOTE
payments/orders-0  succeeded  key-1       key-9      inferred
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	list := c.run(t, "rotations").want(t, exitDone).stdout
	if !strings.Contains(list, "1/1   0    schedule  60m  60s") {
		t.Errorf("the listing is\n%s", list)
	}
}

func TestRotationsAreAScreenfulUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	for range 60 {
		c.store.AddRotation(keyturn.Rotation{ID: keyturn.NewID(apitest.Epoch()), Policy: "quarterly", State: keyturn.RotationSucceeded})
	}
	for args, want := range map[string]int{"rotations": 51, "rotations --limit 0": 61, "rotations --limit 3": 4, "rotations --state failed": 0} {
		r := c.run(t, strings.Fields(args)...).want(t, exitDone)
		if got := strings.Count(r.stdout, "\n"); got != want {
			t.Errorf("%s prints %d lines, want %d", args, got, want)
		}
		if told := strings.Contains(r.stderr, "--limit 0"); told != (args == "rotations") {
			t.Errorf("%s says %q", args, r.stderr)
		}
	}
	if all := fromJSON[[]keyturn.Rotation](t, c.run(t, "rotations", "-o", "json").want(t, exitDone)); len(all) != 60 {
		t.Errorf("%d rotations in JSON, want 60", len(all))
	}
}

func TestProgressIsABarOnATerminal(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	now := apitest.Epoch()
	e := &env{stderr: &out, now: func() time.Time { return now }}
	p := &progress{env: e, screen: screen{terminal: true, width: 80}}
	r := keyturn.Rotation{Policy: "quarterly", State: keyturn.RotationRunning, Counts: keyturn.Counts{Total: 5000, Pending: 5000}}
	p.show(r)
	now = now.Add(5 * time.Second)
	r.Counts.Pending, r.Counts.Failed = 4000, 3
	out.Reset()
	p.show(r)
	got := strings.TrimPrefix(out.String(), "\r\x1b[K")
	if want := "running 1,000/5,000 (20%), 200/s, 21s left, 3 failed"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want it to end with %q", got, want)
	}
	if n := len([]rune(got)); n > 80 || !strings.Contains(got, "█") || !strings.Contains(got, "░") {
		t.Errorf("%q is no bar of at most 80 columns (%d)", got, n)
	}
}

func TestProgressMeasuresTheLastSeconds(t *testing.T) {
	t.Parallel()
	now := apitest.Epoch()
	p := &progress{env: &env{stderr: &strings.Builder{}, now: func() time.Time { return now }}}
	r := keyturn.Rotation{State: keyturn.RotationRunning, Counts: keyturn.Counts{Total: 100_000, Pending: 100_000}}
	for range 60 { // fast at first
		p.show(r)
		now, r.Counts.Pending = now.Add(time.Second), r.Counts.Pending-1000
	}
	for range 15 { // then slow
		p.show(r)
		now, r.Counts.Pending = now.Add(time.Second), r.Counts.Pending-10
	}
	p.show(r)
	if got := p.rate(); got < 9 || got > 11 {
		t.Errorf("the rate is %v, want that of the last 10 s: 10", got)
	}
}
