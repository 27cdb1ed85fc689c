package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func feedMore(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 170)...)
	more := func(step string, n int, want bool) {
		t.Helper()
		fed, err := f.Feed(f.ctx(), "om", 80) // a sixteenth of the window is 5
		f.ok(err)
		if len(fed.Tasks) != n || fed.More != want {
			t.Errorf("%s: fed %d, more %t, want %d and %t", step, len(fed.Tasks), fed.More, n, want)
		}
	}
	more("at first", 80, true)
	for _, task := range tasks[:80] {
		f.turn(task.ID, "a", "b")
	}
	more("ten are left", 80, true)
	rest := tasks[80:]
	for _, i := range []int{0, 10, 2, 3, 4} { // in any order
		f.turn(rest[i].ID, "a", "b")
	}
	more("five are left", 5, true)
	f.turn(rest[5].ID, "a", "b")
	more("four are left", 1, false)
	for _, task := range slices.Concat(rest[1:2], rest[6:10], rest[11:25]) {
		f.turn(task.ID, "a", "b")
	}
	more("the last ones", 4, false)
	more("nothing", 0, false)
}

func feedAnew(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	if got := f.feed("om", 10); len(got) != 3 || got[0].Returned {
		t.Fatalf("fed %+v, want 3 for the first time", got)
	}
	anew := func(task keyturn.ID) bool {
		t.Helper()
		done, err := f.Finish(f.ctx(), []keyturn.TaskResult{
			{Task: task, From: keyturn.TaskPending, State: keyturn.TaskPending, Anew: true},
		})
		f.ok(err)
		return done.Taken[0]
	}
	f.finish(keyturn.TaskResult{Task: tasks[1].ID, From: keyturn.TaskPending, State: keyturn.TaskPending, Reason: "busy", After: time.Minute})
	f.turn(tasks[2].ID, "a", "b")
	if !anew(tasks[0].ID) || anew(tasks[1].ID) || anew(tasks[2].ID) {
		t.Error("want only the task that was neither put back nor turned")
	}
	if got := f.feed("om", 10); len(got) != 1 || got[0].Task != tasks[0].ID || !got[0].Returned {
		t.Errorf("fed %+v, want the first task again", got)
	}
	if anew(tasks[0].ID) {
		t.Error("a task that was handed out by itself was put back by an older message")
	}
	if got := f.tasks(r.ID)[1]; got.ID != tasks[1].ID || got.Reason != "busy" {
		t.Errorf("the task that waits is %+v", got)
	}
}
