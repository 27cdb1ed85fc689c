package storagetest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func scheduleBatches(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	for i := range 7 {
		f.policy(fmt.Sprint("policy-", i), "om", f.slot(0))
	}
	for _, name := range []string{"policy-5", "policy-6"} { // they start nothing
		f.ok(f.SetPaused(f.ctx(), name, true, "ann", "", nil))
	}
	asked := map[string]int{}
	decide := fires(func(due keyturn.Due, now time.Time) (*keyturn.Slot, error) {
		asked[due.Policy.Name]++
		return after(time.Hour)(due, now)
	})
	for round := range 3 { // of different sizes
		clear(asked)
		started, batches := 0, 0
		for before := -1; len(asked) > before; batches++ {
			before = len(asked)
			fired, err := f.FireDue(f.ctx(), 4+round, decide)
			f.ok(err)
			started += len(fired)
			if got := len(asked) - before; got > 4+round {
				t.Fatalf("%d policies in a batch of %d", got, 4+round)
			}
		}
		for name, n := range asked {
			if n != 1 {
				t.Errorf("%s was asked about %d times", name, n)
			}
		}
		if len(asked) != 7 || started != 5 || batches != 3 {
			t.Errorf("%d policies started %d rotations in %d batches, want 7, 5 and 3 with the empty one", len(asked), started, batches)
		}
		f.clock.Advance(time.Hour)
	}
}

// scheduleDifferent is about a batch of which some have in common what others have not.
func scheduleDifferent(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.target("other")
	early, late := f.slot(-2*time.Minute), f.slot(-time.Minute)
	berlin := &keyturn.Slot{Local: "2026-03-01T13:00:00", Timezone: "Europe/Berlin", At: late.At}
	next, deadline, until := f.slot(time.Hour), f.clock.Now().Add(10*time.Minute), f.clock.Now().Add(5*time.Minute)
	type one struct {
		target string
		slot   *keyturn.Slot
		firing keyturn.Firing
	}
	begin := func(s *keyturn.Slot) []keyturn.Start { return []keyturn.Start{{Slot: *s}} }
	policies := map[string]one{
		"a": {"om", early, keyturn.Firing{Start: begin(early), Next: next}},
		"b": {"om", late, keyturn.Firing{Start: begin(late), Next: next}},
		"c": {"other", late, keyturn.Firing{Start: begin(late), Next: f.slot(2 * time.Hour)}},
		"d": {"om", berlin, keyturn.Firing{Start: begin(berlin), Next: berlinNext(f)}},
		"e": {"om", late, keyturn.Firing{Start: begin(late)}},
		"f": {"om", late, keyturn.Firing{Next: next}},
		"g": {"om", late, keyturn.Firing{
			Start: []keyturn.Start{{
				Slot: *late, Reason: "two units", Only: keyturn.Selection{Units: []string{"u1", "u2"}}, Opening: keyturn.Opening{Until: &until, LookAt: &until},
			}},
			Next: next, Wake: f.clock.Now().Add(time.Minute), Deadline: &deadline,
		}},
		"h": {"om", late, keyturn.Firing{Start: begin(late), Next: next}},
	}
	for name, p := range policies {
		f.policy(name, p.target, p.slot)
	}
	fired := f.fireWith(func(due keyturn.Due, _ time.Time) (keyturn.Firing, error) {
		return policies[due.Policy.Name].firing, nil
	})
	started := map[string]keyturn.Rotation{}
	for _, r := range fired {
		started[r.Policy] = f.rotation(r.ID)
	}
	for name, p := range policies {
		r, ok := started[name]
		if want := len(p.firing.Start) == 1; ok != want {
			t.Errorf("%s started a rotation: %v", name, ok)
		} else if ok && (r.Policy != name || r.Target != p.target || r.Slot != p.slot.Name() || r.Reason != p.firing.Start[0].Reason ||
			!reflect.DeepEqual(r.Only, p.firing.Start[0].Only)) {
			t.Errorf("%s started %+v, want %+v", name, r, p)
		}
		status := f.resource(keyturn.KindPolicy, name).Status
		switch n := p.firing.Next; {
		case n == nil && status.NextAt != nil, n != nil && (status.NextAt == nil || !status.NextAt.Equal(n.At) || status.NextSlot != n.Name()):
			t.Errorf("%s waits for %+v, want %+v", name, status, n)
		}
	}
	if in, _, err := f.NextDue(f.ctx()); err != nil || in != time.Minute {
		t.Errorf("next due in %s, %v; want a minute, when g is looked at", in, err)
	}
	past, err := f.PastDeadlines(f.ctx())
	f.ok(err)
	if len(past) != 1 || past[0].Policy != "g" || !past[0].At.Equal(deadline) {
		t.Errorf("deadlines are %+v, want that of g", past)
	}
}

func berlinNext(f *fixture) *keyturn.Slot {
	return &keyturn.Slot{Local: "2026-06-01T13:00:00", Timezone: "Europe/Berlin", At: f.clock.Now().Add(3 * time.Hour)}
}

// scheduleChanged is about policies that were due together with others that fired first, and changed since.
func scheduleChanged(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("first", "om", f.slot(0))
	f.clock.Advance(time.Second)
	for _, name := range []string{"deleted", "moved", "paused", "replaced", "same"} {
		f.policy(name, "om", f.slot(0))
	}
	fired, err := f.FireDue(f.ctx(), 1, fires(noMore))
	f.ok(err)
	if len(fired) != 1 || fired[0].Policy != "first" {
		t.Fatalf("fired %+v, want first", fired)
	}
	earlier := f.slot(-time.Minute)
	daily, err := json.Marshal(keyturn.Policy{Target: "om", Schedule: keyturn.Schedule{Cron: "@daily"}})
	f.ok(err)
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindPolicy, Name: "deleted", Expect: 1},
		{Kind: keyturn.KindPolicy, Name: "moved", Spec: daily, Next: f.slot(time.Hour), Expect: 1},
		{Kind: keyturn.KindPolicy, Name: "replaced", Spec: daily, Next: earlier, Expect: 1},
		{Kind: keyturn.KindPolicy, Name: "new", Spec: daily, Next: f.slot(0)},
	}))
	f.ok(f.SetPaused(f.ctx(), "paused", true, "ann", "", nil))
	asked := map[string]keyturn.Due{}
	fired = f.fire(func(due keyturn.Due, now time.Time) (*keyturn.Slot, error) {
		asked[due.Policy.Name] = due
		return after(time.Hour)(due, now)
	})
	var names []string
	for _, r := range fired {
		names = append(names, r.Policy)
	}
	fired, err = f.FireDue(f.ctx(), 100, fires(after(time.Hour))) // whatever was not found the first time
	f.ok(err)
	for _, r := range fired {
		names = append(names, r.Policy)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"new", "replaced", "same"}) {
		t.Errorf("fired %v, want new, replaced and same", names)
	}
	if due := asked["replaced"]; due.Policy.Schedule.Cron != "@daily" || !due.Slot.At.Equal(earlier.At) {
		t.Errorf("replaced is told as %+v", due)
	}
	if !asked["paused"].Policy.Paused {
		t.Error("paused is not told as paused")
	}
}

func scheduleAnnounces(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("a", "om", f.slot(0))
	f.policy("b", "om", f.slot(0))
	f.policy("c", "om", f.slot(time.Hour))
	fired := f.fire(noMore)
	notes := f.drain()
	told := requested(notes)
	if len(fired) != 2 || len(told) != 2 {
		t.Fatalf("fired %d, announced %+v", len(fired), notes)
	}
	for _, r := range fired {
		if !slices.Contains(told, r.ID) {
			t.Errorf("rotation %s of %s is not announced: %+v", r.ID, r.Policy, notes)
		}
	}
}

// scheduleAnnouncesMany is about more than are announced together, and the order in which the rest of each is told.
func scheduleAnnouncesMany(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	for i := range 75 {
		f.policy(fmt.Sprint("policy-", i), "om", f.slot(0))
	}
	fired := f.fire(noMore)
	for _, r := range fired {
		_, err := f.StopRotation(f.ctx(), r.ID, "ada", "test", true)
		f.ok(err)
	}
	first, err := f.Unannounced(f.ctx(), 2, lease)
	f.ok(err)
	held := requested(first)
	second, err := f.Unannounced(f.ctx(), 1000, lease)
	f.ok(err)
	told := requested(second)
	for _, n := range second {
		switch {
		case n.Type == "rotation.completed" && slices.Contains(held, n.Rotation):
			t.Fatal("the end of a rotation is given out while somebody else has its beginning")
		case n.Type == "rotation.completed" && !slices.Contains(told, n.Rotation):
			t.Fatal("the end of a rotation is given out without its beginning")
		}
	}
	f.clock.Advance(lease + time.Second)
	all := f.drain()
	told = requested(all)
	ended := 0
	for _, n := range all {
		if n.Type == "rotation.completed" {
			ended++
		}
	}
	different := map[keyturn.ID]bool{}
	for _, id := range told {
		different[id] = true
	}
	if len(fired) != 75 || len(told) != 75 || len(different) != 75 || ended != 75 {
		t.Errorf("of 75 rotations %d fired, %d requests and %d ends are told", len(fired), len(told), ended)
	}
}

// scheduleTakenAmongMany is about a batch with a slot that was asked for by hand: what it leaves to do is done first.
func scheduleTakenAmongMany(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	for i, name := range []string{"taken", "second", "third", "fourth"} {
		f.policy(name, "om", f.slot(time.Duration(i)*time.Second))
	}
	_, _, err := f.Request(f.ctx(), keyturn.Request{Policy: "taken", Trigger: keyturn.TriggerSchedule, Slot: f.slot(0)})
	f.ok(err)
	f.clock.Advance(time.Minute)
	for _, want := range [][]string{{"second"}, {"third", "fourth"}, nil} {
		fired, err := f.FireDue(f.ctx(), 2, fires(after(time.Hour)))
		f.ok(err)
		var names []string
		for _, r := range fired {
			names = append(names, r.Policy)
		}
		slices.Sort(names)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("fired %v, want %v", names, want)
		}
	}
}
