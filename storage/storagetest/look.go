package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func lookTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"FirstLookWaitsAfterTheTargetWasMade":    lookFirst,
		"LookComesAgainAfterItsInterval":         lookAgain,
		"AskedLookIsDueAtOnce":                   lookAsked,
		"AskedDuringALookIsDueAgain":             lookAskedDuring,
		"OneLookerAtATime":                       lookExclusive,
		"LookerThatDiedIsFollowed":               lookCrash,
		"BrokenLookComesAgainAfterItsDelay":      lookBroken,
		"TargetInTroubleIsLookedAtSoon":          lookTrouble,
		"LookWaitsForRotationsButNotForEver":     lookBusy,
		"LookWaitsForASlotThatIsDueSoon":         lookSoon,
		"HeldTargetIsLeftAlone":                  lookHeld,
		"RemovedTargetIsNotLookedAt":             lookRemoved,
		"PoliciesOfATarget":                      lookPolicies,
		"NeverMeansOnlyWhenAsked":                lookNever,
		"OfManyTheOneThatIsDueForLongestIsTaken": lookOrder,
	}
}

const (
	every = 6 * time.Hour
	first = 10 * time.Minute
)

func (f *fixture) claimLook(who string, looks ...keyturn.Look) (string, time.Time) {
	f.t.Helper()
	if len(looks) == 0 {
		looks = []keyturn.Look{{Target: "om", Every: keyturn.Duration(every)}}
	}
	wait := keyturn.LookWait{First: first, Soon: 2 * time.Minute, Patience: time.Hour, Trouble: 5 * time.Minute}
	target, began, err := f.ClaimLook(f.ctx(), who, looks, wait, lease)
	if errors.Is(err, keyturn.ErrNotFound) {
		return "", time.Time{}
	}
	f.ok(err)
	return target, began
}

func (f *fixture) wantLook(who, want string) time.Time {
	f.t.Helper()
	got, began := f.claimLook(who)
	if got != want {
		f.t.Fatalf("%s looks at %q, want %q", who, got, want)
	}
	return began
}

func lookFirst(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.wantLook("w1", "")
	f.clock.Advance(first - time.Second)
	f.wantLook("w1", "")
	if got, _ := f.claimLook("w1", keyturn.Look{Target: "om", Every: keyturn.Duration(time.Minute)}); got != "om" {
		t.Error("a target with a short interval waits longer than it")
	}
	f = newFixture(t, newStore)
	f.estate()
	f.clock.Advance(first)
	f.wantLook("w1", "om")
}

func lookAgain(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.clock.Advance(first)
	began := f.wantLook("w1", "om")
	if !began.Equal(f.clock.Now()) {
		t.Errorf("began at %s, want %s", began, f.clock.Now())
	}
	f.clock.Advance(10 * time.Second)
	f.ok(f.EndLook(f.ctx(), "om", "w1", began, true, time.Minute))
	f.clock.Advance(every - time.Second)
	f.wantLook("w1", "")
	f.clock.Advance(time.Second)
	f.wantLook("w2", "om")
}

func lookAsked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.ok(f.AskLook(f.ctx(), "om"))
	f.is(f.AskLook(f.ctx(), "nobody"), keyturn.ErrNotFound)
	began := f.wantLook("w1", "om")
	f.ok(f.EndLook(f.ctx(), "om", "w1", began, true, 0))
	f.clock.Advance(time.Minute)
	f.wantLook("w1", "")
}

func lookAskedDuring(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.clock.Advance(first)
	began := f.wantLook("w1", "om")
	f.clock.Advance(time.Second)
	f.ok(f.AskLook(f.ctx(), "om"))
	f.clock.Advance(time.Second)
	f.ok(f.EndLook(f.ctx(), "om", "w1", began, true, 0))
	f.wantLook("w1", "om")
}

func lookExclusive(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.ok(f.AskLook(f.ctx(), "om"))
	got := make([]string, 8)
	together(8, func(i int) { got[i], _ = f.claimLook(fmt.Sprint("w", i)) })
	slices.Sort(got)
	if got[6] != "" || got[7] != "om" {
		t.Errorf("claimed %v, want one", got)
	}
}

func lookCrash(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.clock.Advance(first)
	f.ok(f.AskLook(f.ctx(), "om"))
	began := f.wantLook("w1", "om")
	f.clock.Advance(lease / 2)
	busy, err := f.RenewLook(f.ctx(), "om", "w1", lease)
	f.ok(err)
	if busy {
		t.Error("nothing works on the target")
	}
	f.clock.Advance(lease - time.Second)
	f.wantLook("w2", "")
	f.clock.Advance(2 * time.Second)
	again := f.wantLook("w2", "om") // what was asked for is still due
	_, err = f.RenewLook(f.ctx(), "om", "w1", lease)
	f.is(err, keyturn.ErrNotFound)
	f.is(f.EndLook(f.ctx(), "om", "w1", began, true, 0), keyturn.ErrNotFound)
	f.wantLook("w3", "")
	f.ok(f.EndLook(f.ctx(), "om", "w2", again, true, 0))
	f.wantLook("w3", "")
}

func lookBroken(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.ok(f.AskLook(f.ctx(), "om"))
	began := f.wantLook("w1", "om")
	f.ok(f.EndLook(f.ctx(), "om", "w1", began, false, 10*time.Minute))
	f.clock.Advance(10*time.Minute - time.Second)
	f.wantLook("w1", "")
	f.clock.Advance(time.Second)
	began = f.wantLook("w1", "om")
	f.ok(f.EndLook(f.ctx(), "om", "w1", began, false, 10*time.Minute))
	f.ok(f.AskLook(f.ctx(), "om")) // asking again does not wait
	f.wantLook("w1", "om")
}

func lookTrouble(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.clock.Advance(first)
	f.ok(f.EndLook(f.ctx(), "om", "w1", f.wantLook("w1", "om"), true, 0))
	f.trouble("no answer", false)
	f.clock.Advance(5*time.Minute - time.Second)
	f.wantLook("w1", "")
	f.clock.Advance(time.Second)
	if got, _ := f.claimLook("w1", keyturn.Look{Target: "om"}); got != "" {
		t.Error("a target without an interval is looked at, though nobody asked for it")
	}
	f.ok(f.EndLook(f.ctx(), "om", "w1", f.wantLook("w1", "om"), false, 10*time.Minute))
	f.clock.Advance(10*time.Minute - time.Second)
	f.wantLook("w1", "")
	f.clock.Advance(time.Second)
	began := f.wantLook("w1", "om")
	f.ok(f.TargetAnswered(f.ctx(), "om"))
	f.ok(f.EndLook(f.ctx(), "om", "w1", began, true, 0))
	f.clock.Advance(time.Hour)
	f.wantLook("w1", "")
}

func lookBusy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.clock.Advance(first)
	r := f.request("quarterly")
	f.wantLook("w1", "")
	_, _, err := f.ClaimRotation(f.ctx(), r.ID, owner, lease)
	f.ok(err)
	f.wantLook("w1", "")
	f.ok(f.SavePlan(f.ctx(), r.ID, owner, makeUnits("om", "p1", 1)))
	f.wantLook("w1", "")
	f.clock.Advance(every - time.Second)
	f.wantLook("w1", "")
	f.clock.Advance(time.Second) // it has waited for a whole interval
	began := f.wantLook("w1", "om")
	busy, err := f.RenewLook(f.ctx(), "om", "w1", lease)
	f.ok(err)
	if !busy {
		t.Error("a rotation works on the target")
	}
	f.ok(f.EndLook(f.ctx(), "om", "w1", began, true, 0))
	f.turn(f.task(r.ID).ID, "a", "b")
	_, err = f.FinishRotations(f.ctx())
	f.ok(err)
	f.ok(f.AskLook(f.ctx(), "om"))
	f.wantLook("w1", "om")
}

func lookSoon(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.target("other")
	f.policy("nightly", "om", f.slot(first+time.Minute))
	f.clock.Advance(first)
	f.wantLook("w1", "")
	if got, _ := f.claimLook("w1", keyturn.Look{Target: "other", Every: keyturn.Duration(every)}); got != "other" {
		t.Errorf("looks at %q: the slot is not other's", got)
	}
	f.ok(f.SetPaused(f.ctx(), "nightly", true, "ann", "", nil))
	f.wantLook("w1", "om")
}

func lookHeld(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.ok(f.AskLook(f.ctx(), "om"))
	f.ok(f.Hold(f.ctx(), "om", "it is away", time.Minute))
	f.wantLook("w1", "")
	f.clock.Advance(time.Minute)
	f.wantLook("w1", "om")
}

func lookRemoved(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.ok(f.AskLook(f.ctx(), "om"))
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindTarget, Name: "om", Expect: 1}}))
	f.wantLook("w1", "")
	f.is(f.AskLook(f.ctx(), "om"), keyturn.ErrNotFound)
}

func lookPolicies(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.target("other")
	f.policy("weekly", "om", nil)
	f.policy("foreign", "other", nil)
	f.ok(f.SetPaused(f.ctx(), "weekly", true, "ann", "", nil))
	policies, err := f.PoliciesOf(f.ctx(), "om")
	f.ok(err)
	if len(policies) != 2 || policies[0].Name != "quarterly" || policies[1].Name != "weekly" || !policies[1].Paused || policies[0].Target != "om" {
		t.Errorf("policies are %+v", policies)
	}
}

func lookNever(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.clock.Advance(1000 * time.Hour)
	never := keyturn.Look{Target: "om"}
	if got, _ := f.claimLook("w1", never); got != "" {
		t.Error("it is looked at")
	}
	f.ok(f.AskLook(f.ctx(), "om"))
	if got, _ := f.claimLook("w1", never); got != "om" {
		t.Error("it is not looked at, though somebody asked")
	}
}

func lookOrder(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	for _, name := range []string{"c", "a", "b"} {
		f.target(name)
		f.clock.Advance(time.Second)
	}
	f.clock.Advance(first)
	var got string
	for range 4 {
		name, _ := f.claimLook("w1",
			keyturn.Look{Target: "a", Every: keyturn.Duration(every)}, keyturn.Look{Target: "b", Every: keyturn.Duration(every)},
			keyturn.Look{Target: "c", Every: keyturn.Duration(every)}, keyturn.Look{Target: "nobody", Every: keyturn.Duration(every)})
		got += name
	}
	if got != "cab" {
		t.Errorf("looked at %q, want c, a, b", got)
	}
}
