package storagetest

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func raceTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"TwoFeedersNeverShareATask":         raceFeed,
		"EightSchedulersFireASlotOnce":      raceFire,
		"OneIntentForAUnit":                 raceIntend,
		"OneResultForAnIntent":              raceFinish,
		"OneTakerForAnIntent":               raceTake,
		"OnePlannerForARotation":            raceClaim,
		"OneRotationForATriggerID":          raceRequest,
		"AnnouncementsGoToOneAnnouncer":     raceAnnounce,
		"AnnouncementsStayInOrder":          raceAnnounceOrder,
		"OneFinisherEndsARotation":          raceFinishRotations,
		"OverlappingBatchesDoNotDeadlock":   raceBatches,
		"OfTwoAppliesOfOneGenerationOneWon": raceApply,
	}
}

// together calls do n times at once, each with its number, and waits for all.
func together(n int, do func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			do(i)
		})
	}
	close(start)
	wg.Wait()
}

func raceFeed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.running("quarterly", makeUnits("om", "p1", 200)...)
	fed := make([][]keyturn.QueuedTask, 4)
	together(4, func(i int) {
		for range 10 {
			got, err := f.Feed(f.ctx(), "om", 60)
			if err != nil {
				t.Error(err)
				return
			}
			fed[i] = append(fed[i], got.Tasks...)
		}
	})
	seen := map[keyturn.ID]int{}
	for _, task := range slices.Concat(fed...) {
		seen[task.Task]++
	}
	if len(seen) != 60 {
		t.Errorf("%d tasks were handed out through a window of 60", len(seen))
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("task %s was handed out %d times", id, n)
		}
	}
}

func raceFire(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		f.policy(name, "om", f.slot(0))
	}
	fired := make([][]keyturn.Rotation, 8)
	together(8, func(i int) {
		for range 5 {
			got, err := f.FireDue(f.ctx(), 2, fires(after(time.Hour)))
			if err != nil {
				t.Error(err)
				return
			}
			fired[i] = append(fired[i], got...)
		}
	})
	perPolicy := map[string]int{}
	for _, r := range slices.Concat(fired...) {
		perPolicy[r.Policy]++
	}
	stored, _, err := f.Rotations(f.ctx(), keyturn.RotationFilter{})
	f.ok(err)
	if len(perPolicy) != 5 || len(stored) != 5 {
		t.Errorf("fired %v, stored %d; want each of 5 policies once", perPolicy, len(stored))
	}
	for name, n := range perPolicy {
		if n != 1 {
			t.Errorf("%s fired %d times", name, n)
		}
	}
	if told := requested(f.drain()); len(told) != 5 {
		t.Errorf("%d rotations are announced, want 5", len(told))
	}
}

func raceIntend(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	tasks := make([]keyturn.ID, 8)
	for i := range tasks {
		_, planned := f.running("quarterly", u)
		tasks[i] = planned[0].ID
	}
	verdicts := make([]keyturn.Verdict, 16)
	together(16, func(i int) {
		out, err := f.Intend(f.ctx(), []keyturn.IntentWrite{f.write(tasks[i%8], "a")})
		if err != nil {
			t.Error(err)
			return
		}
		verdicts[i] = out[0].Verdict
	})
	count := map[keyturn.Verdict]int{}
	for _, v := range verdicts {
		count[v]++
	}
	if count[keyturn.VerdictGo] != 1 || count[keyturn.VerdictBusy]+count[keyturn.VerdictTaken] != 15 {
		t.Errorf("verdicts are %v, want exactly one go", count)
	}
}

func raceFinish(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	won := make([]bool, 8)
	together(8, func(i int) {
		ok, err := f.Finish(f.ctx(), []keyturn.TaskResult{succeeded(tasks[0].ID, epoch, "b")})
		if err != nil {
			t.Error(err)
			return
		}
		won[i] = ok.Taken[0]
	})
	n := 0
	for _, ok := range won {
		if ok {
			n++
		}
	}
	if records := f.history(keyturn.HistoryFilter{}); n != 1 || len(records) != 2 {
		t.Errorf("%d results were taken and left %d records, want 1 and 2", n, len(records))
	}
}

func raceTake(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.mustIntend(tasks[0].ID, "a")
	f.clock.Advance(lease + time.Second)
	errs := make([]error, 8)
	together(8, func(i int) { _, errs[i] = f.Take(f.ctx(), tasks[0].ID, "w", lease, settle) })
	n := 0
	for _, err := range errs {
		if err == nil {
			n++
			continue
		}
		f.is(err, keyturn.ErrNotFound)
	}
	if n != 1 {
		t.Errorf("%d took the intent over", n)
	}
}

func raceClaim(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r := f.request("quarterly")
	errs := make([]error, 8)
	together(8, func(i int) { _, _, errs[i] = f.ClaimRotation(f.ctx(), r.ID, fmt.Sprint("w", i), lease) })
	n := 0
	for _, err := range errs {
		if err == nil {
			n++
			continue
		}
		f.is(err, keyturn.ErrNotFound)
	}
	if n != 1 {
		t.Errorf("%d claimed the rotation", n)
	}
}

func raceRequest(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	ids := make([]keyturn.ID, 8)
	created := make([]bool, 8)
	together(8, func(i int) {
		r, c, err := f.Request(f.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: "x"})
		if err != nil {
			t.Error(err)
			return
		}
		ids[i], created[i] = r.ID, c
	})
	n := 0
	for i := range ids {
		if ids[i] != ids[0] {
			t.Errorf("request %d is rotation %s, another %s", i, ids[i], ids[0])
		}
		if created[i] {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d requests say that they created it", n)
	}
}

// raceAnnounceOrder: of a rotation of which two things are to be told, nobody gets the second unless he has the first.
func raceAnnounceOrder(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	stop := func(id keyturn.ID) {
		_, err := f.StopRotation(f.ctx(), id, "ada", "test", true)
		f.ok(err)
	}
	for range 40 {
		stop(f.request("quarterly").ID)
	}
	for range 2 { // by slots: they are announced together
		for i := range 40 {
			f.policy(fmt.Sprint("slot-", f.clock.Now().Unix(), "-", i), "om", f.slot(0))
		}
		for _, r := range f.fire(noMore) {
			stop(r.ID)
		}
		f.clock.Advance(time.Second)
	}
	var mu sync.Mutex
	asked := map[keyturn.ID]bool{}
	together(4, func(int) {
		for range 12 {
			notes, err := f.Unannounced(f.ctx(), 7, lease)
			if err != nil {
				t.Error(err)
				return
			}
			mine := map[keyturn.ID]bool{}
			for _, id := range requested(notes) {
				mine[id] = true
			}
			for _, n := range notes {
				if n.Type == "rotation.completed" && !mine[n.Rotation] {
					t.Errorf("%s of a rotation was given out without what came before", n.Type)
				}
			}
			mu.Lock()
			maps.Copy(asked, mine)
			mu.Unlock()
		}
	})
	f.clock.Advance(lease + time.Second)
	rest := f.drain()
	ended := 0
	for _, n := range rest {
		if n.Type == "rotation.completed" {
			ended++
		}
	}
	if told := requested(rest); len(told) != 120 || ended != 120 || len(asked) == 0 {
		t.Errorf("%d requests and %d ends are left, want all 120; %d rotations were given out", len(told), ended, len(asked))
	}
}

func raceAnnounce(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	for range 50 {
		f.request("quarterly")
	}
	got := make([][]keyturn.Announcement, 4)
	together(4, func(i int) {
		for range 5 {
			notes, err := f.Unannounced(f.ctx(), 10, lease)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = append(got[i], notes...)
		}
	})
	seen := map[keyturn.ID]bool{}
	all := slices.Concat(got...)
	for _, n := range all {
		seen[n.ID] = true
	}
	if len(all) != len(seen) {
		t.Errorf("%d announcements were given out, of which %d are different", len(all), len(seen))
	}
	// One that ran while others held what it wanted may have come away with less; nothing is lost.
	if rest := f.drain(); len(seen)+len(rest) != 50 {
		t.Errorf("%d announcements given out and %d left, want 50", len(seen), len(rest))
	}
}

func raceFinishRotations(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	for range 3 {
		_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
		f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskPending, State: keyturn.TaskSkipped, Reason: "no"})
	}
	f.drain()
	ended := make([][]keyturn.Rotation, 8)
	together(8, func(i int) {
		var err error
		if ended[i], err = f.FinishRotations(f.ctx()); err != nil {
			t.Error(err)
		}
	})
	if n := len(slices.Concat(ended...)); n != 3 {
		t.Errorf("%d rotations ended, want each of 3 once", n)
	}
	if notes := f.drain(); len(notes) != 3 {
		t.Errorf("%d announcements, want 3", len(notes))
	}
}

// Workers that write overlapping batches in different orders must all come through.
func raceBatches(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 100)...)
	won := make([][]keyturn.TaskResult, 8)
	together(8, func(i int) {
		writes := make([]keyturn.IntentWrite, len(tasks))
		for j := range tasks {
			writes[j] = f.write(tasks[(j*(2*i+1)+i*13)%len(tasks)].ID, "a")
		}
		out, err := f.Intend(f.ctx(), writes)
		if err != nil {
			t.Error(err)
			return
		}
		for j, o := range out {
			if o.Verdict == keyturn.VerdictGo {
				won[i] = append(won[i], succeeded(writes[j].Task, o.Epoch, "b"))
			}
		}
	})
	results := slices.Concat(won...)
	if len(results) != len(tasks) {
		t.Fatalf("%d intents were allowed for %d tasks", len(results), len(tasks))
	}
	taken := make([]int, 4)
	together(4, func(i int) {
		mine := slices.Clone(results)
		if i%2 == 1 {
			slices.Reverse(mine)
		}
		ok, err := f.Finish(f.ctx(), mine)
		if err != nil {
			t.Error(err)
			return
		}
		for _, o := range ok.Taken {
			if o {
				taken[i]++
			}
		}
	})
	if n := taken[0] + taken[1] + taken[2] + taken[3]; n != len(tasks) {
		t.Errorf("%d results were taken for %d tasks", n, len(tasks))
	}
	if records := f.history(keyturn.HistoryFilter{}); len(records) != 2*len(tasks) {
		t.Errorf("%d key records, want %d", len(records), 2*len(tasks))
	}
}

func raceApply(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	errs := make([]error, 8)
	together(8, func(i int) {
		errs[i] = f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
			{Kind: keyturn.KindTarget, Name: "om", Spec: encode(t, keyturn.Target{URL: "https://x"}), Expect: 1},
		})
	})
	n := 0
	for _, err := range errs {
		if err == nil {
			n++
			continue
		}
		f.is(err, keyturn.ErrConflict)
	}
	if got := f.resource(keyturn.KindTarget, "om"); n != 1 || got.Generation != 2 {
		t.Errorf("%d of 8 updates of one generation were made; generation is %d", n, got.Generation)
	}
}
