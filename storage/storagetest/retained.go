package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func retainedTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"SnapshotThatNamesAKeyNeedsIt":           retainedNamed,
		"SnapshotWithoutAKeyNeedsThatOfItsTime":  retainedByTime,
		"SnapshotWithAnUnknownKeyCountsByTime":   retainedUnknownName,
		"NearARotationBothKeysAreNeeded":         retainedNear,
		"SnapshotBeforeTheHistoryNeedsTheFirst":  retainedFirst,
		"ObservedKeyMayBeOlderThanItsSight":      retainedObserved,
		"NamedTwiceInTimeCountsOnce":             retainedTurnedBack,
		"ClustersAndEndlessSnapshotsAreCounted":  retainedCounts,
		"NeedingSnapshotsAreNamed":               retainedNeeding,
		"UsesSayWhatHoldsOfTheirUnits":           retainedUses,
		"OpenRotationThatReplacedIsSeen":         retainedReplacing,
		"PagesListEachKeyOnce":                   retainedPages,
		"FiltersNarrow":                          retainedFilters,
		"KeyThatOnlySnapshotsNameIsListed":       retainedOnlyNamed,
		"MarkersGiveWayToTheIdsOfTheirKeys":      retainedNames,
		"TargetsOfTheSameBeginningStayDistinct":  retainedTargets,
		"GoneSnapshotsAreForgotten":              snapshotsGone,
		"OvertakenLookEndsNothing":               snapshotsOvertaken,
		"LookWithTroubleForgetsNothingThatLives": snapshotsTrouble,
		"SnapshotsChangeInPlace":                 snapshotsChange,
	}
}

const om = "om"

func key(id string) keyturn.KeyRef { return keyturn.KeyRef{Target: om, KeyID: id} }

// lookAt lists the unit's snapshots once, as these.
func (f *fixture) lookAt(unit string, snapshots ...keyturn.Snapshot) {
	f.t.Helper()
	looks, err := f.BeginSnapshotLooks(f.ctx(), []string{unit})
	f.ok(err)
	var seen []keyturn.SeenSnapshot
	for _, s := range snapshots {
		s.Unit = unit
		seen = append(seen, keyturn.SeenSnapshot{Snapshot: s, Look: looks[0].Number})
	}
	f.ok(f.SaveSnapshots(f.ctx(), seen))
	f.ok(f.EndSnapshotLooks(f.ctx(), looks))
}

func (f *fixture) snapshot(id, key string, created, expires time.Duration) keyturn.Snapshot {
	at := f.clock.Now().Add(expires)
	return keyturn.Snapshot{ID: id, ClusterName: "orders", KeyID: key, CreatedAt: f.clock.Now().Add(created), ExpiresAt: &at, Complete: true}
}

// judge judges keys of the target om as they are now.
func (f *fixture) judge(ids ...string) []keyturn.RetainedKey {
	f.t.Helper()
	var names []keyturn.KeyRef
	for _, id := range ids {
		names = append(names, key(id))
	}
	uses, err := f.KeyUses(f.ctx(), names)
	f.ok(err)
	by := map[string][]keyturn.KeyUse{}
	for _, u := range uses {
		by[u.KeyID] = append(by[u.KeyID], u)
	}
	var windows []keyturn.NeedWindow
	for i, n := range names {
		for _, u := range by[n.KeyID] {
			from, to := u.Window()
			windows = append(windows, keyturn.NeedWindow{Key: i, Unit: u.Unit.ID, From: from, To: to})
		}
	}
	needs, err := f.KeyNeeds(f.ctx(), names, windows)
	f.ok(err)
	keys := make([]keyturn.RetainedKey, len(names))
	for i, n := range names {
		keys[i] = keyturn.Judge(n, by[n.KeyID], needs[i], f.clock.Now())
	}
	return keys
}

// turnedTwice makes a unit that went from k0 to k1 ten days ago and to k2 just now, after it was first seen with k0 twenty days ago.
func (f *fixture) turnedTwice() string {
	f.t.Helper()
	unit := f.watched()
	f.wantObserved(seen(unit, "", "k0"), keyturn.ObservedFirst)
	for i, keys := range [][2]string{{"k0", "k1"}, {"k1", "k2"}} {
		f.clock.Advance(10 * keyturn.Day)
		_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
		f.turn(tasks[0].ID, keys[0], keys[1])
		if _, err := f.FinishRotations(f.ctx()); err != nil {
			f.t.Fatal(i, err)
		}
	}
	return unit
}

func wantNeeds(t *testing.T, keys []keyturn.RetainedKey, want ...string) {
	t.Helper()
	for i, k := range keys {
		if got := fmt.Sprintf("%s: %d+%d", k.KeyID, k.Need.Named, k.Need.ByTime); got != want[i] {
			t.Errorf("needs are %s, want %s", got, want[i])
		}
	}
}

func retainedNamed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	f.lookAt(unit, f.snapshot("s1", "k1", -5*keyturn.Day, 30*keyturn.Day), f.snapshot("s2", "k1", -15*keyturn.Day, 10*keyturn.Day))
	keys := f.judge("k0", "k1", "k2")
	wantNeeds(t, keys, "k0: 0+0", "k1: 2+0", "k2: 0+0")
	if got := keys[1]; !got.NeededUntil.Equal(f.clock.Now().Add(30*keyturn.Day)) || got.InUse || got.Clusters != 1 {
		t.Errorf("k1 is %+v", got)
	}
	if !keys[2].InUse || keys[2].SafeToRetireAt != nil {
		t.Errorf("k2 is %+v", keys[2])
	}
}

func retainedByTime(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	f.lookAt(unit, f.snapshot("s1", "", -5*keyturn.Day, 30*keyturn.Day), f.snapshot("s2", "", -15*keyturn.Day, 7*keyturn.Day))
	keys := f.judge("k0", "k1", "k2")
	wantNeeds(t, keys, "k0: 0+1", "k1: 0+1", "k2: 0+0")
	if !keys[0].NeededUntil.Equal(f.clock.Now().Add(7*keyturn.Day)) || keys[0].Sure != keyturn.SureByTime {
		t.Errorf("k0 is %+v", keys[0])
	}
}

func retainedUnknownName(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	f.lookAt(unit, f.snapshot("s1", "another-form-of-k1", -5*keyturn.Day, 30*keyturn.Day))
	wantNeeds(t, f.judge("k0", "k1", "k2"), "k0: 0+0", "k1: 0+1", "k2: 0+0")
}

func retainedNear(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice() // k1 came ten days ago
	f.lookAt(unit, f.snapshot("s1", "", -10*keyturn.Day+time.Hour, keyturn.Day), f.snapshot("s2", "", -10*keyturn.Day-time.Hour, keyturn.Day),
		f.snapshot("s3", "", -10*keyturn.Day+25*time.Hour, keyturn.Day))
	wantNeeds(t, f.judge("k0", "k1"), "k0: 0+2", "k1: 0+3")
}

func retainedFirst(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	f.lookAt(unit, f.snapshot("s1", "", -400*keyturn.Day, keyturn.Day))
	wantNeeds(t, f.judge("k0", "k1"), "k0: 0+1", "k1: 0+0")
}

// retainedObserved: somebody else turned the key at any time since the one before was seen.
func retainedObserved(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	f.wantObserved(seen(unit, "", "k0"), keyturn.ObservedFirst)
	f.clock.Advance(10 * keyturn.Day)
	f.wantObserved(seen(unit, "k0", "k1"), keyturn.ObservedChanged)
	f.lookAt(unit, f.snapshot("s1", "", -5*keyturn.Day, keyturn.Day))
	wantNeeds(t, f.judge("k0", "k1"), "k0: 0+1", "k1: 0+1")
}

func retainedTurnedBack(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	f.wantObserved(seen(unit, "", "k0"), keyturn.ObservedFirst)
	f.clock.Advance(time.Hour)
	f.wantObserved(seen(unit, "k0", "k1"), keyturn.ObservedChanged)
	f.clock.Advance(time.Hour)
	f.wantObserved(seen(unit, "k1", "k0"), keyturn.ObservedChanged)
	f.lookAt(unit, f.snapshot("s1", "", -time.Minute, keyturn.Day), f.snapshot("s2", "k0", -time.Minute, keyturn.Day))
	keys := f.judge("k0", "k1")
	wantNeeds(t, keys, "k0: 1+1", "k1: 0+1")
	if len(keys[0].Uses) != 2 || !keys[0].InUse || keys[1].InUse {
		t.Errorf("keys are %+v", keys)
	}
}

func retainedCounts(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	endless := f.snapshot("s2", "k1", -keyturn.Day, 0)
	endless.ExpiresAt = nil
	kept := f.snapshot("s3", "k1", -keyturn.Day, keyturn.Day)
	kept.Keep, kept.ClusterName, kept.Complete = true, "billing", false
	f.lookAt(unit, f.snapshot("s1", "k1", -keyturn.Day, 2*keyturn.Day), endless, kept)
	got := f.judge("k1")[0]
	if got.Snapshots != 3 || got.Need.Endless != 2 || got.Clusters != 2 || got.NeededUntil != nil || got.Sure != keyturn.SureUnknown {
		t.Errorf("k1 is %+v", got)
	}
}

func retainedNeeding(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	endless := f.snapshot("s3", "k1", -keyturn.Day, 0)
	endless.ExpiresAt = nil
	f.lookAt(unit, f.snapshot("s1", "k1", -keyturn.Day, keyturn.Day), f.snapshot("s2", "", -5*keyturn.Day, 2*keyturn.Day), endless,
		f.snapshot("s4", "k2", 0, keyturn.Day))
	k := f.judge("k1")[0]
	from, to := k.Uses[0].Window()
	window := []keyturn.NeedWindow{{Unit: unit, From: from, To: to}}
	some, err := f.NeedingSnapshots(f.ctx(), key("k1"), window, 10)
	f.ok(err)
	var ids []string
	for _, s := range some {
		ids = append(ids, s.ID)
	}
	if !slices.Equal(ids, []string{"s3", "s2", "s1"}) || some[1].Unit != unit || some[1].ClusterName != "orders" || !some[1].Complete {
		t.Errorf("needed by %+v", some)
	}
	some, err = f.NeedingSnapshots(f.ctx(), key("k1"), nil, 1)
	f.ok(err)
	if len(some) != 1 || some[0].ID != "s3" {
		t.Errorf("needed by %+v", some)
	}
}

func retainedUses(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	uses, err := f.KeyUses(f.ctx(), []keyturn.KeyRef{key("k1"), key("k2"), key("nobody's"), {Target: "other", KeyID: "k1"}})
	f.ok(err)
	if len(uses) != 2 {
		t.Fatalf("uses are %+v", uses)
	}
	now := f.clock.Now()
	first, second := uses[0], uses[1]
	if first.KeyID != "k1" || first.Unit.ID != unit || first.Unit.Target != om || !first.From.Equal(now.Add(-10*keyturn.Day)) || !first.Until.Equal(now) ||
		!first.Before.Equal(now.Add(-20*keyturn.Day)) || first.InUse || first.Busy || first.Parked || first.Replacing || first.LookedAt != nil ||
		first.Origin != keyturn.OriginRotated {
		t.Errorf("use is %+v", first)
	}
	if second.KeyID != "k2" || second.Until != nil || !second.InUse {
		t.Errorf("use is %+v", second)
	}
	f.lookAt(unit)
	f.clock.Advance(time.Minute)
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	epoch := f.mustIntend(tasks[0].ID, "k2")
	uses, err = f.KeyUses(f.ctx(), []keyturn.KeyRef{key("k1")})
	f.ok(err)
	if !uses[0].Busy || !uses[0].LookedAt.Equal(now) || uses[0].Trouble != "" {
		t.Errorf("use is %+v", uses[0])
	}
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskParked, Reason: "lost"})
	uses, err = f.KeyUses(f.ctx(), []keyturn.KeyRef{key("k1")})
	f.ok(err)
	if uses[0].Busy || !uses[0].Parked {
		t.Errorf("use is %+v", uses[0])
	}
}

func retainedReplacing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.turn(tasks[0].ID, "a", "b")
	if k := f.judge("a")[0]; len(k.Uses) != 1 || !k.Uses[0].Replacing {
		t.Errorf("a is %+v while its rotation goes on", k)
	}
	f.turn(tasks[1].ID, "c", "d")
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if k := f.judge("a")[0]; k.Uses[0].Replacing {
		t.Errorf("a is %+v after its rotation", k)
	}
}

func (f *fixture) keysListed(filter keyturn.KeyFilter) []string {
	f.t.Helper()
	var out []string
	for {
		names, next, err := f.RetainedPage(f.ctx(), filter)
		f.ok(err)
		for _, n := range names {
			out = append(out, n.String())
		}
		if next == "" {
			return out
		}
		filter.Page.After = next
	}
}

func retainedPages(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	units := makeUnits("om", "p1", 7)
	f.ok(f.SaveUnits(f.ctx(), units))
	var want []string
	for i, u := range units {
		id := fmt.Sprintf("key %d", i/2) // some share one
		f.wantObserved(seen(u.ID, "", id), keyturn.ObservedFirst)
		want = append(want, "om/"+id)
	}
	want = slices.Compact(want)
	for _, limit := range []int{0, 1, 2, 3, 4} {
		if got := f.keysListed(keyturn.KeyFilter{Page: keyturn.Page{Limit: limit}}); !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %v, want %v", limit, got, want)
		}
	}
}

func retainedFilters(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	f.lookAt(unit, f.snapshot("s1", "ancient", -400*keyturn.Day, keyturn.Day))
	for name, test := range map[string]struct {
		filter keyturn.KeyFilter
		want   []string
	}{
		"all":     {keyturn.KeyFilter{}, []string{"om/ancient", "om/k0", "om/k1", "om/k2"}},
		"old":     {keyturn.KeyFilter{Old: true}, []string{"om/ancient", "om/k0", "om/k1"}},
		"key":     {keyturn.KeyFilter{Key: "k1"}, []string{"om/k1"}},
		"unit":    {keyturn.KeyFilter{Unit: "rs1"}, []string{"om/ancient", "om/k0", "om/k1", "om/k2"}},
		"project": {keyturn.KeyFilter{Unit: "p1-name/rs1"}, []string{"om/ancient", "om/k0", "om/k1", "om/k2"}},
		"no unit": {keyturn.KeyFilter{Unit: "nobody"}, nil},
		"target":  {keyturn.KeyFilter{Target: "om", Old: true, Key: "k0"}, []string{"om/k0"}},
		"other":   {keyturn.KeyFilter{Target: "o"}, nil},
	} {
		if got := f.keysListed(test.filter); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func retainedOnlyNamed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	f.lookAt(unit, f.snapshot("s1", "ancient", -400*keyturn.Day, keyturn.Day))
	k := f.judge("ancient")[0]
	if k.Snapshots != 1 || len(k.Uses) != 0 || k.Sure != keyturn.SureUnknown || k.SafeToRetireAt != nil || k.InUse {
		t.Errorf("ancient is %+v", k)
	}
}

func retainedNames(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.watched()
	old, now := keyturn.KeyMarkerPrefix+"2026-02-01T00:00:00Z", keyturn.KeyMarkerPrefix+"2026-03-01T00:00:00Z"
	f.wantObserved(seen(unit, "", old), keyturn.ObservedFirst)
	f.clock.Advance(10 * keyturn.Day)
	f.wantObserved(seen(unit, old, now), keyturn.ObservedChanged)
	f.clock.Advance(10 * keyturn.Day)
	f.lookAt(unit, f.snapshot("s1", "k0", -15*keyturn.Day, keyturn.Day))
	wantNeeds(t, f.judge(old, now), old+": 0+1", now+": 0+1") // nobody knows which of the two it is, nor since when
	f.ok(f.NameKeys(f.ctx(), []keyturn.KeyName{{Unit: unit, Marker: old, KeyID: "k0"}}))
	if got := f.keysListed(keyturn.KeyFilter{}); !slices.Equal(got, []string{"om/k0", "om/" + now}) {
		t.Errorf("keys are %v", got)
	}
	if got := f.keysListed(keyturn.KeyFilter{Old: true}); !slices.Equal(got, []string{"om/k0"}) {
		t.Errorf("old keys are %v", got)
	}
	keys := f.judge("k0", now)
	wantNeeds(t, keys, "k0: 1+0", now+": 0+0")
	if k := keys[0]; k.InUse || len(k.Uses) != 1 || k.Uses[0].Unit.ID != unit || k.Until == nil {
		t.Errorf("k0 is %+v", k)
	}
	f.ok(f.NameKeys(f.ctx(), []keyturn.KeyName{{Unit: unit, Marker: now, KeyID: "k1"}}))
	if k := f.judge("k1")[0]; !k.InUse {
		t.Errorf("k1 is %+v", k)
	}
	if got := f.keysListed(keyturn.KeyFilter{Old: true, Unit: unit}); !slices.Equal(got, []string{"om/k0"}) {
		t.Errorf("old keys are %v", got)
	}
	ids, err := f.KeysToAudit(f.ctx(), om, "", 10)
	f.ok(err)
	known, err := f.KnownKeysAmong(f.ctx(), om, []string{"k1", "k2"})
	f.ok(err)
	if !slices.Equal(ids, []string{"k0", "k1"}) || !slices.Equal(known, []string{"k1"}) {
		t.Errorf("to audit are %v, known %v", ids, known)
	}
}

func retainedTargets(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.target("om-2")
	f.ok(f.SaveUnits(f.ctx(), []keyturn.Unit{makeUnit("om", "p1", 1), makeUnit("om-2", "p1", 1)}))
	f.wantObserved(seen("om.p1.c001", "", "1"), keyturn.ObservedFirst)
	f.wantObserved(seen("om-2.p1.c001", "", "1"), keyturn.ObservedFirst)
	f.clock.Advance(time.Hour)
	f.wantObserved(seen("om.p1.c001", "1", "2"), keyturn.ObservedChanged)
	f.lookAt("om-2.p1.c001", f.snapshot("s1", "1", -time.Hour, keyturn.Day))
	if got := f.keysListed(keyturn.KeyFilter{}); !slices.Equal(got, []string{"om/1", "om-2/1", "om/2"}) {
		t.Errorf("keys are %v", got)
	}
	if got := f.keysListed(keyturn.KeyFilter{Old: true}); !slices.Equal(got, []string{"om/1"}) {
		t.Errorf("old keys are %v", got)
	}
	if got := f.keysListed(keyturn.KeyFilter{Target: "om"}); !slices.Equal(got, []string{"om/1", "om/2"}) {
		t.Errorf("keys of om are %v", got)
	}
	if k := f.judge("1")[0]; k.Snapshots != 0 || len(k.Uses) != 1 {
		t.Errorf("1 is %+v", k)
	}
	users, err := f.UsersOfKey(f.ctx(), "1", 10)
	if err != nil || !slices.Equal(users, []string{"om-2.p1.c001"}) {
		t.Errorf("1 is used by %v, %v", users, err)
	}
	f.usersByOtherNames()
}

// usersByOtherNames: projects name a key of AWS by its ARN or by its id alone.
func (f *fixture) usersByOtherNames() {
	f.t.Helper()
	const arn = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1"
	f.ok(f.SaveUnits(f.ctx(), []keyturn.Unit{makeUnit("om", "p1", 2), makeUnit("om", "p1", 3), makeUnit("om", "p1", 4)}))
	f.wantObserved(seen("om.p1.c002", "", arn), keyturn.ObservedFirst)
	f.wantObserved(seen("om.p1.c003", "", "mrk-1"), keyturn.ObservedFirst)
	f.wantObserved(seen("om.p1.c004", "", "arn:aws:kms:eu-west-1:111122223333:key/xmrk-1"), keyturn.ObservedFirst)
	for _, key := range []string{arn, "mrk-1"} {
		if users, err := f.UsersOfKey(f.ctx(), key, 10); err != nil || !slices.Equal(users, []string{"om.p1.c002", "om.p1.c003"}) {
			f.t.Errorf("%s is used by %v, %v", key, users, err)
		}
	}
}
