package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func makeTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"AmendKeepsWhatWasMade":              amendKeeps,
		"AmendRenewsLeaseAndSettling":        amendRenews,
		"AmendOfOthersIsNotFound":            amendRefused,
		"AmendOfAStoppedIsConflict":          amendStopped,
		"UnsentForCountsBack":                unsentFor,
		"ExclusiveIsForOne":                  exclusiveForOne,
		"ExclusiveOfOneBatchIsForOne":        exclusiveInBatch,
		"ExclusiveLastsUntilTheIntentCloses": exclusiveLasts,
		"ExclusiveIsNotAskedOfTheTurned":     exclusiveTurned,
		"IntentForgetsWhatWasWaitedFor":      intendForgetsReason,
		"ExclusiveRace":                      exclusiveRace,
		"ExclusiveRaceOfManyNames":           exclusiveRaceOfMany,
		"ProvidedKeysAreThose":               providedKeys,
		"ProvidedKeysGoWithTheRetry":         providedRetry,
		"ProvidedKeysGoWithWhatIsResolved":   providedResolved,
		"ProvidedKeysNarrowNothing":          providedNarrowNothing,
	}
}

func (f *fixture) amend(task keyturn.ID, by string, epoch int64, intent keyturn.Intent) error {
	return f.Amend(f.ctx(), epoch, keyturn.IntentWrite{Task: task, Owner: by, Intent: intent, ApplyFor: applyFor, Lease: lease})
}

func (f *fixture) take(task keyturn.ID) keyturn.Taken {
	f.t.Helper()
	taken, err := f.Take(f.ctx(), task, owner, lease, settle)
	f.ok(err)
	return taken
}

func amendKeeps(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.clock.Advance(lease + time.Second)
	taken := f.take(tasks[0].ID)
	if taken.Intent.Made() {
		t.Errorf("an intent that nothing was made for came back as %+v", taken.Intent)
	}
	epoch = max(epoch, taken.Epoch)
	made := keyturn.Intent{Before: "other", Want: "b", Data: []byte(`{"version":  "v7"}`)}
	f.ok(f.amend(tasks[0].ID, owner, epoch, made))
	f.ok(f.amend(tasks[0].ID, owner, epoch, made)) // its answer was lost
	f.clock.Advance(lease + time.Second)
	taken = f.take(tasks[0].ID)
	if taken.Intent.Before != "a" || taken.Intent.Want != "b" || string(taken.Intent.Data) != string(made.Data) || taken.Attempts != 1 {
		t.Errorf("took %+v (%s)", taken, taken.Intent.Data)
	}
	f.mustFinish(succeeded(tasks[0].ID, taken.Epoch, "b"))
	if task := f.task(r.ID); task.Attempts != 1 || task.KeyBefore != "a" || task.KeyAfter != "b" {
		t.Errorf("task is %+v", task)
	}
}

func amendRenews(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	began := f.clock.Now()
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.clock.Advance(lease - time.Second)
	f.ok(f.amend(tasks[0].ID, owner, epoch, keyturn.Intent{Want: "b"}))
	f.clock.Advance(lease - time.Second)
	_, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.is(err, keyturn.ErrNotFound)
	f.clock.Advance(2 * time.Second)
	taken := f.take(tasks[0].ID)
	if want := applyFor + settle - lease - time.Second; taken.SettledIn != want || taken.OpenFor != f.clock.Now().Sub(began) {
		t.Errorf("took %+v, want it to settle in %v, open since it was written", taken, want)
	}
}

func amendRefused(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	epoch := f.mustIntend(tasks[0].ID, "a")
	made := keyturn.Intent{Want: "b", Data: []byte("{}")}
	f.is(f.amend(tasks[0].ID, "worker-2", epoch, made), keyturn.ErrNotFound)
	f.is(f.amend(tasks[0].ID, owner, epoch-1, made), keyturn.ErrNotFound)
	f.is(f.amend(tasks[1].ID, owner, 0, made), keyturn.ErrNotFound)
	f.is(f.amend(keyturn.NewID(f.clock.Now()), owner, epoch, made), keyturn.ErrNotFound)
	f.clock.Advance(lease + time.Second)
	taken, err := f.Take(f.ctx(), tasks[0].ID, "worker-2", lease, settle)
	f.ok(err)
	f.is(f.amend(tasks[0].ID, owner, epoch, made), keyturn.ErrNotFound)
	if taken.Intent.Made() {
		t.Errorf("refused amendments left %+v", taken.Intent)
	}
	f.mustFinish(succeeded(tasks[0].ID, taken.Epoch, "b"))
	f.is(f.amend(tasks[0].ID, "worker-2", taken.Epoch, made), keyturn.ErrNotFound)
}

func amendStopped(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.cancel(r.ID, "")
	f.is(f.amend(tasks[0].ID, owner, epoch, keyturn.Intent{Want: "b"}), keyturn.ErrConflict)
	f.clock.Advance(lease + time.Second)
	if taken := f.take(tasks[0].ID); taken.Intent.Made() {
		t.Errorf("refused amendments left %+v", taken.Intent)
	}
}

func unsentFor(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "a")
	f.mustFinish(keyturn.TaskResult{
		Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended, Unsent: true, UnsentFor: settle,
	})
	f.clock.Advance(time.Second)
	if taken := f.take(tasks[0].ID); taken.SettledIn != -time.Second {
		t.Errorf("settled in %v, want a second ago", taken.SettledIn)
	}
}

func (f *fixture) exclusively(task keyturn.ID, before, name string) keyturn.IntentWrite {
	w := f.write(task, before)
	w.Intent.Exclusive = name
	return w
}

// intendAll writes intents in one batch and returns the verdicts.
func (f *fixture) intendAll(writes ...keyturn.IntentWrite) []keyturn.IntentOutcome {
	f.t.Helper()
	out, err := f.Intend(f.ctx(), writes)
	f.ok(err)
	return out
}

func exclusiveForOne(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.policy("monthly", "om", nil)
	_, a := f.running("quarterly", makeUnits("om", "p1", 3)...)
	_, b := f.running("monthly", makeUnit("om", "p2", 7))
	if out := f.intendAll(f.exclusively(a[0].ID, "k", "project p1")); out[0].Verdict != keyturn.VerdictGo {
		t.Fatalf("verdict is %q, want go", out[0].Verdict)
	}
	out := f.intendAll(
		f.exclusively(a[1].ID, "k", "project p1"), f.exclusively(b[0].ID, "k", "project p1"), f.exclusively(a[0].ID, "k", "project p1"), f.write(a[2].ID, "k"),
	)
	want := []keyturn.Verdict{keyturn.VerdictBusy, keyturn.VerdictBusy, keyturn.VerdictTaken, keyturn.VerdictGo}
	for i := range want {
		if out[i].Verdict != want[i] {
			t.Errorf("verdict %d is %q, want %q", i, out[i].Verdict, want[i])
		}
	}
	if out := f.intendAll(f.exclusively(b[0].ID, "k", "project p2")); out[0].Verdict != keyturn.VerdictGo {
		t.Errorf("verdict is %q of another name, want go", out[0].Verdict)
	}
}

func exclusiveInBatch(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 4)...)
	out := f.intendAll(f.exclusively(tasks[0].ID, "k", "x"), f.exclusively(tasks[1].ID, "k", "y"), f.exclusively(tasks[2].ID, "k", "x"), f.write(tasks[3].ID, "k"))
	got := []keyturn.Verdict{out[0].Verdict, out[2].Verdict}
	slices.Sort(got)
	if !slices.Equal(got, []keyturn.Verdict{keyturn.VerdictBusy, keyturn.VerdictGo}) || out[1].Verdict != keyturn.VerdictGo || out[3].Verdict != keyturn.VerdictGo {
		t.Errorf("verdicts are %+v, want go for one of x, for y, and for who wants nothing for itself", out)
	}
}

func exclusiveLasts(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 6)...)
	held := func(when string) {
		t.Helper()
		if out := f.intendAll(f.exclusively(tasks[5].ID, "k", "x")); out[0].Verdict != keyturn.VerdictBusy {
			t.Fatalf("verdict is %q %s, want busy", out[0].Verdict, when)
		}
	}
	ends := []keyturn.TaskResult{
		{State: keyturn.TaskSucceeded, KeyAfter: "b", Resolution: keyturn.ResolutionConfirmed},
		{State: keyturn.TaskFailed, Reason: "refused"},
		{State: keyturn.TaskParked, Reason: "unknown"},
		{State: keyturn.TaskPending},
	}
	for i, end := range ends {
		out := f.intendAll(f.exclusively(tasks[i].ID, "k", "x"))
		if out[0].Verdict != keyturn.VerdictGo {
			t.Fatalf("verdict %d is %q after the one before ended, want go", i, out[0].Verdict)
		}
		held("while it is open")
		f.mustFinish(keyturn.TaskResult{Task: tasks[i].ID, From: keyturn.TaskIntended, Epoch: out[0].Epoch, State: keyturn.TaskIntended, Answered: true})
		held("when it was put back")
		f.clock.Advance(lease + time.Second)
		taken := f.take(tasks[i].ID)
		held("when it was taken over")
		renewed, err := f.Reintend(f.ctx(), tasks[i].ID, owner, taken.Epoch, applyFor, lease)
		f.ok(err)
		held("when it was renewed")
		f.ok(f.amend(tasks[i].ID, owner, renewed, keyturn.Intent{Want: "b"}))
		held("when it was amended")
		end.Task, end.From, end.Epoch = tasks[i].ID, keyturn.TaskIntended, renewed
		f.mustFinish(end)
	}
	f.mustDecide(tasks[2].ID, keyturn.TaskPending, "")
	if out := f.intendAll(f.exclusively(tasks[2].ID, "k", "x")); out[0].Verdict != keyturn.VerdictGo {
		t.Errorf("verdict is %q of one that was put back by a person, want go", out[0].Verdict)
	}
	if out := f.intendAll(f.write(tasks[3].ID, "k")); out[0].Verdict != keyturn.VerdictGo {
		t.Errorf("verdict is %q of one that wants nothing for itself any more, want go", out[0].Verdict)
	}
}

func exclusiveTurned(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	u := makeUnit("om", "p1", 1)
	_, first := f.running("quarterly", u)
	_, second := f.running("quarterly", u, makeUnit("om", "p1", 2))
	f.clock.Advance(time.Minute)
	f.turn(first[0].ID, "a", "b")
	verdicts := map[string]keyturn.Verdict{}
	for _, task := range second {
		verdicts[task.Unit] = f.intendAll(f.exclusively(task.ID, "b", "x"))[0].Verdict
	}
	if verdicts[u.ID] != keyturn.VerdictTurned || verdicts["om.p1.c002"] != keyturn.VerdictGo {
		t.Errorf("verdicts are %v, want turned, which takes nothing for itself, and go", verdicts)
	}
}

func intendForgetsReason(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskPending, State: keyturn.TaskPending, Reason: "waits for its turn"})
	if task := f.task(r.ID); task.Reason != "waits for its turn" {
		t.Errorf("waiting task is %+v", task)
	}
	f.mustIntend(tasks[0].ID, "a")
	if task := f.task(r.ID); task.Reason != "" {
		t.Errorf("task whose turn has come is %+v", task)
	}
}

func exclusiveRace(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 12)...)
	verdicts := make([]keyturn.Verdict, len(tasks))
	together(len(tasks), func(i int) {
		out, err := f.Intend(f.ctx(), []keyturn.IntentWrite{f.exclusively(tasks[i].ID, "k", "x")})
		if err != nil {
			t.Error(err)
			return
		}
		verdicts[i] = out[0].Verdict
	})
	counts := map[keyturn.Verdict]int{}
	for _, v := range verdicts {
		counts[v]++
	}
	if counts[keyturn.VerdictGo] != 1 || counts[keyturn.VerdictBusy] != len(tasks)-1 {
		t.Errorf("verdicts are %v, want go for one and busy for the others", counts)
	}
}

func exclusiveRaceOfMany(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	const racers, names = 4, 10
	_, tasks := f.running("quarterly", makeUnits("om", "p1", racers*names)...)
	out := make([][]keyturn.IntentOutcome, racers)
	together(racers, func(i int) {
		var writes []keyturn.IntentWrite
		for n := range names {
			writes = append(writes, f.exclusively(tasks[i*names+n].ID, "k", fmt.Sprint("name ", (n*7+i*3)%names)))
		}
		var err error
		if out[i], err = f.Intend(f.ctx(), writes); err != nil {
			t.Error(err)
		}
	})
	got := 0
	for _, o := range slices.Concat(out...) {
		if o.Verdict == keyturn.VerdictGo {
			got++
		}
	}
	if got != names {
		t.Errorf("%d got leave, want one for each of %d names", got, names)
	}
}

func (f *fixture) provided(rotation keyturn.ID, unit string) string {
	f.t.Helper()
	key, err := f.ProvidedKey(f.ctx(), rotation, unit)
	f.ok(err)
	return key
}

// providing requests a rotation with keys and plans it with the units.
func (f *fixture) providing(keys map[string]string, units ...keyturn.Unit) (keyturn.Rotation, []keyturn.Task) {
	f.t.Helper()
	r, _, err := f.Request(f.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, Only: keyturn.Selection{Keys: keys}})
	f.ok(err)
	f.claim(r.ID)
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, units))
	return r, f.tasks(r.ID)
}

func providedKeys(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	key := `arn:aws:kms:eu-central-1:1:key/"a' b"`
	r, _ := f.providing(map[string]string{"om.p1.c001": key}, makeUnits("om", "p1", 2)...)
	if got := f.provided(r.ID, "om.p1.c001"); got != key {
		t.Errorf("key is %q, want %q", got, key)
	}
	if got := f.provided(r.ID, "om.p1.c000") + f.provided(f.request("quarterly").ID, "om.p1.c001"); got != "" {
		t.Errorf("key is %q where none was named", got)
	}
	_, err := f.ProvidedKey(f.ctx(), keyturn.NewID(f.clock.Now()), "om.p1.c001")
	f.is(err, keyturn.ErrNotFound)
	if got := f.rotation(r.ID).Only.Keys["om.p1.c001"]; got != key {
		t.Errorf("the rotation has %q", got)
	}
	listed, _, err := f.Rotations(f.ctx(), keyturn.RotationFilter{})
	f.ok(err)
	for _, r := range listed {
		if len(r.Only.Keys) != 0 {
			t.Errorf("listed %+v: want no keys, which may be thousands", r)
		}
	}
}

func providedRetry(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.providing(map[string]string{"om.p1.c000": "k0", "om.p1.c001": "k1"}, makeUnits("om", "p1", 3)...)
	for _, task := range tasks {
		if task.Unit == "om.p1.c001" {
			f.turn(task.ID, "a", "k1")
			continue
		}
		f.fail(task.ID)
	}
	f.ended()
	retry := f.resume(r.ID).Rotation
	if f.provided(retry.ID, "om.p1.c000") != "k0" || f.provided(retry.ID, "om.p1.c001") != "" || f.provided(retry.ID, "om.p1.c002") != "" {
		t.Errorf("retry is %+v", retry)
	}
}

func providedResolved(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.providing(map[string]string{"om.p1.c001": "k1"}, makeUnit("om", "p1", 1))
	f.park(tasks[0].ID)
	f.ended()
	out, err := f.ResolveTask(f.ctx(), keyturn.Decision{Task: tasks[0].ID, As: keyturn.TaskPending, By: "ann", Reason: "looked"})
	f.ok(err)
	if out.Retry == nil || f.provided(out.Retry.ID, "om.p1.c001") != "k1" {
		t.Errorf("retry is %+v", out.Retry)
	}
}

// providedNarrowNothing: a rotation that was given keys is over all units, for those who tell what went wrong.
func providedNarrowNothing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.fail(tasks[0].ID)
	f.fail(tasks[1].ID)
	f.ended()
	bad := func() int {
		f.t.Helper()
		f.clock.Advance(time.Minute)
		found, err := f.Evidence(f.ctx(), keyturn.AlertRotationFailed, f.clock.Now(), 10)
		f.ok(err)
		return len(found)
	}
	if n := bad(); n != 1 {
		t.Fatalf("%d rotations have failed, want 1", n)
	}
	f.clock.Advance(time.Minute)
	failing, _, err := f.Request(f.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, Only: keyturn.Selection{Keys: map[string]string{"om.p1.c000": "k"}}})
	f.ok(err)
	f.claim(failing.ID)
	f.ok(f.FailRotation(f.ctx(), failing.ID, owner, "nothing was selected"))
	if n := bad(); n != 1 {
		t.Errorf("%d rotations have failed, want the newer one: it was over all units", n)
	}
	_, tasks = f.providing(map[string]string{"om.p1.c000": "k"}, makeUnits("om", "p1", 2)...)
	f.turn(tasks[0].ID, "a", "b")
	f.turn(tasks[1].ID, "a", "b")
	f.ended()
	if n := bad(); n != 0 {
		t.Errorf("%d rotations have failed, want none: the last one, over all units, turned them", n)
	}
}
