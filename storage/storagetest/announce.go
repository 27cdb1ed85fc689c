package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func announceTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"HoldsForTheLeaseThenComesAgain": announceHolds,
		"LimitIsKeptOldestFirst":         announceLimit,
		"AnnouncedIsGone":                announceGone,
		"TasksComeWithTheirKeyRecords":   announceTasks,
		"WaitsForTheEarlierOfItsTopic":   announceOrder,
	}
}

func announceHolds(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.request("quarterly")
	first, err := f.Unannounced(f.ctx(), 10, lease)
	f.ok(err)
	if len(first) != 1 {
		t.Fatalf("%d announcements, want 1", len(first))
	}
	held, err := f.Unannounced(f.ctx(), 10, lease)
	f.ok(err)
	if len(held) != 0 {
		t.Errorf("a held announcement was given out: %+v", held)
	}
	f.clock.Advance(lease + time.Second)
	again, err := f.Unannounced(f.ctx(), 10, lease)
	f.ok(err)
	if len(again) != 1 || again[0].ID != first[0].ID {
		t.Errorf("after the lease got %+v, want %+v again", again, first)
	}
}

func announceLimit(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	var want []keyturn.ID
	for range 5 {
		want = append(want, f.request("quarterly").ID)
	}
	var got []keyturn.ID
	for range 3 {
		notes, err := f.Unannounced(f.ctx(), 2, lease)
		f.ok(err)
		for _, n := range notes {
			got = append(got, n.Rotation)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got %d announcements, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("announcement %d is of %s, want %s", i, got[i], want[i])
		}
	}
}

func announceGone(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.request("quarterly")
	notes, err := f.Unannounced(f.ctx(), 10, lease)
	f.ok(err)
	f.ok(f.Announced(f.ctx(), []keyturn.ID{notes[0].ID}))
	f.ok(f.Announced(f.ctx(), []keyturn.ID{notes[0].ID}))
	f.ok(f.Announced(f.ctx(), nil))
	f.clock.Advance(time.Hour)
	if left := f.drain(); len(left) != 0 {
		t.Errorf("left %+v", left)
	}
}

func announceTasks(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	f.turn(tasks[0].ID, "a", "b")
	f.mustFinish(keyturn.TaskResult{Task: tasks[1].ID, From: keyturn.TaskPending, State: keyturn.TaskSkipped, Reason: "no"})
	got, records, err := f.AnnouncedTasks(f.ctx(), []keyturn.ID{tasks[0].ID, tasks[1].ID, keyturn.NewID(f.clock.Now())})
	f.ok(err)
	if len(got) != 2 {
		t.Fatalf("%d tasks, want 2", len(got))
	}
	states := map[keyturn.ID]keyturn.TaskState{got[0].ID: got[0].State, got[1].ID: got[1].State}
	if states[tasks[0].ID] != keyturn.TaskSucceeded || states[tasks[1].ID] != keyturn.TaskSkipped {
		t.Errorf("tasks are %+v", got)
	}
	if len(records) != 2 || records[0].KeyID != "a" || records[0].Origin != keyturn.OriginObserved ||
		records[1].KeyID != "b" || records[1].Origin != keyturn.OriginRotated || records[1].Task != tasks[0].ID {
		t.Errorf("key records are %+v, want a observed, then b rotated", records)
	}
}

// announceOrder is about an announcer that dies, or is slow, while it holds something: what comes later of
// the same rotation or group of alerts waits for it, and nothing else does.
func announceOrder(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	f.external("lab/1")
	f.evaluate()
	f.clock.Advance(keyturn.GroupWait)
	f.evaluate()
	first, err := f.Unannounced(f.ctx(), 10, lease)
	f.ok(err)
	if got := types(first); !slices.Equal(got, []string{"rotation.requested", "notice"}) {
		t.Fatalf("announced are %v", got)
	}

	_, _, err = f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, makeUnits("om", "p1", 1)))
	f.turn(f.task(r.ID).ID, "a", "b")
	_, err = f.FinishRotations(f.ctx())
	f.ok(err)
	f.ok(f.ResolveAlert(f.ctx(), keyturn.AlertExternal, "lab/1"))
	f.clock.Advance(keyturn.GroupWait)
	f.evaluate()
	second, err := f.Unannounced(f.ctx(), 1, lease)
	f.ok(err)
	if got := types(second); !slices.Equal(got, []string{"tasks"}) {
		t.Fatalf("while others are held %v is given out, want what is told in any order", got)
	}
	f.request("quarterly") // another rotation does not wait
	third, err := f.Unannounced(f.ctx(), 10, lease)
	f.ok(err)
	if got := types(third); !slices.Equal(got, []string{"rotation.requested"}) {
		t.Fatalf("while others are held %v is given out, want the other rotation", got)
	}

	f.ok(f.Announced(f.ctx(), []keyturn.ID{first[1].ID}))
	fourth, err := f.Unannounced(f.ctx(), 10, lease)
	f.ok(err)
	if got := types(fourth); !slices.Equal(got, []string{"notice"}) {
		t.Fatalf("after the first notice was told %v is given out, want the second", got)
	}
	f.clock.Advance(lease + time.Second)
	last, err := f.Unannounced(f.ctx(), 10, lease)
	f.ok(err)
	if got, want := types(last), []string{"rotation.requested", "rotation.started", "tasks", "rotation.completed", "notice", "rotation.requested"}; !slices.Equal(got, want) {
		t.Errorf("after the lease %v is given out, want %v", got, want)
	}
}

// external raises an alert of somebody else.
func (f *fixture) external(subject string) {
	f.t.Helper()
	f.ok(f.RaiseAlert(f.ctx(), keyturn.AlertFact{Kind: keyturn.AlertExternal, Subject: subject, Severity: keyturn.SeverityWarning, Message: "fire"}))
}
