package storagetest

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func sessionTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"FoundByItsHash":       sessionFound,
		"EndsByItself":         sessionEndsByItself,
		"EndsWithItsToken":     sessionEndsWithToken,
		"HasItsTokensRole":     sessionRole,
		"EndsWhenAsked":        sessionEnds,
		"OldOnesAreDropped":    sessionDropped,
		"BeginAndEndAudited":   sessionAudited,
		"DuplicateIsAConflict": sessionDuplicate,
	}
}

const (
	sessionIdle = time.Hour
	sessionMax  = 5 * time.Hour
)

// session makes the session of a person.
func (f *fixture) session(name string) [32]byte {
	f.t.Helper()
	var hash [32]byte
	copy(hash[:], name)
	f.ok(f.CreateSession(f.ctx(), hash, keyturn.Session{Name: "person:" + name, Role: keyturn.RoleViewer, Remote: "192.0.2.1"}, sessionMax))
	return hash
}

// signedIn checks whether a session lives.
func (f *fixture) signedIn(hash [32]byte, want bool) {
	f.t.Helper()
	_, err := f.SessionByHash(f.ctx(), hash, sessionIdle)
	if want {
		f.ok(err)
		return
	}
	f.is(err, keyturn.ErrNotFound)
}

func sessionFound(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	begun := f.clock.Now()
	hash := f.session("ann")
	f.clock.Advance(time.Minute)
	got, err := f.SessionByHash(f.ctx(), hash, sessionIdle)
	f.ok(err)
	want := keyturn.Session{
		Name: "person:ann", Role: keyturn.RoleViewer, Remote: "192.0.2.1", CreatedAt: begun, SeenAt: begun, ExpiresAt: begun.Add(sessionMax),
	}
	if got != want {
		t.Errorf("session is %+v, want %+v", got, want)
	}
	hash[31]++
	f.signedIn(hash, false)
}

func sessionEndsByItself(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	idle, used := f.session("idle"), f.session("used")
	for range 4 {
		f.clock.Advance(sessionIdle - time.Millisecond)
		f.signedIn(used, true)
		f.ok(f.TouchSession(f.ctx(), used))
	}
	f.signedIn(idle, false)
	f.signedIn(used, true)
	f.clock.Advance(sessionMax - 4*(sessionIdle-time.Millisecond))
	f.ok(f.TouchSession(f.ctx(), used))
	f.signedIn(used, false)
}

// bearer makes a token and a session of its bearer.
func (f *fixture) bearer(name string, expires time.Duration) (keyturn.Token, [32]byte) {
	f.t.Helper()
	token, hash := f.token(name, expires)
	hash[31] = 1
	f.ok(f.CreateSession(f.ctx(), hash, keyturn.Session{Token: token.ID, Name: "token:" + name, Role: keyturn.RoleAdmin}, sessionMax))
	return token, hash
}

func sessionEndsWithToken(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	revoked, ofRevoked := f.bearer("revoked", 0)
	_, ofExpiring := f.bearer("expiring", time.Minute)
	_, ofLasting := f.bearer("lasting", 0)
	f.signedIn(ofRevoked, true)
	f.ok(f.RevokeToken(f.ctx(), revoked.ID))
	f.signedIn(ofRevoked, false)
	f.signedIn(ofExpiring, true)
	f.clock.Advance(time.Minute)
	f.signedIn(ofExpiring, false)
	f.signedIn(ofLasting, true)
}

func sessionRole(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	token, hash := f.bearer("ci", 0)
	got, err := f.SessionByHash(f.ctx(), hash, sessionIdle)
	f.ok(err)
	if got.Role != keyturn.RoleOperator || got.Token != token.ID {
		t.Errorf("session is %+v, want the role and id of %+v", got, token)
	}
}

func sessionEnds(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	a, b := f.session("a"), f.session("b")
	f.ok(f.EndSession(f.ctx(), a))
	f.ok(f.EndSession(f.ctx(), a))
	f.ok(f.TouchSession(f.ctx(), a))
	f.signedIn(a, false)
	f.signedIn(b, true)
}

func sessionDropped(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.session("old")
	f.clock.Advance(sessionMax)
	f.session("new")
	// The rows that are left can be made again only if they are gone.
	f.session("old")
	f.signedIn([32]byte{'o', 'l', 'd'}, true)
	f.signedIn([32]byte{'n', 'e', 'w'}, true)
}

func sessionAudited(t *testing.T, newStore New) {
	f := newAudited(t, newStore)
	hash := [32]byte{1}
	f.wrote("begin", 1, f.CreateSession(f.as, hash, keyturn.Session{Name: "person:ann", Role: keyturn.RoleViewer}, sessionMax))
	f.wrote("end", 1, f.EndSession(f.as, hash))
	f.wrote("end again", 0, f.EndSession(f.as, hash))
}

func sessionDuplicate(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	hash := f.session("ann")
	f.is(f.CreateSession(f.ctx(), hash, keyturn.Session{Name: "person:bob", Role: keyturn.RoleAdmin}, sessionMax), keyturn.ErrConflict)
}

func overviewTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"OfNothing":            overviewOfNothing,
		"CountsKeysByAge":      overviewKeys,
		"CountsWorkAndAlerts":  overviewWork,
		"NamesTheNextSlot":     overviewNext,
		"KeepsDeletedTargets":  overviewDeleted,
		"CellsHaveTheirPlaces": cellPlaces,
		"ChangesOfCells":       cellChanges,
		"ShowsHeldTargets":     overviewHeld,
	}
}

func (f *fixture) overview() keyturn.Overview {
	f.t.Helper()
	o, err := f.Overview(f.ctx())
	f.ok(err)
	return o
}

func overviewOfNothing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	o := f.overview()
	if len(o.Targets) != 0 || o.Oldest != nil || o.Next != nil || o.Running+o.Parked+o.Critical+o.Warning+o.Info+o.Acknowledged != 0 {
		t.Errorf("overview is %+v, want nothing", o)
	}
	if !o.At.Equal(f.clock.Now()) {
		t.Errorf("it is of %v, want now", o.At)
	}
}

func overviewKeys(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.target("quiet")
	units := makeUnits("om", "p1", 5)
	units[4].Rotatable, units[4].Reason = false, "backup is off"
	f.running("quarterly", units...)
	begun := f.clock.Now()
	see := func(u keyturn.Unit, key string) {
		_, err := f.Observe(f.ctx(), []keyturn.Observation{{Unit: u.ID, KeyID: key}})
		f.ok(err)
	}
	see(units[0], "a")
	f.clock.Advance(keyturn.KeyCriticalAge - keyturn.KeyWarnAge)
	see(units[1], "b")
	f.clock.Advance(keyturn.KeyWarnAge - time.Hour)
	see(units[2], "c")
	o := f.overview()
	if got := o.Targets[0]; len(o.Targets) != 2 || got.Name != "om" || got.Warn != 1 || got.Critical != 0 {
		t.Errorf("an hour before: %+v", o.Targets)
	}
	f.clock.Advance(time.Hour)
	o = f.overview()
	got := o.Targets[0]
	if got.Units != 5 || got.Unknown != 2 || got.Fixed != 1 || got.Warn != 2 || got.Critical != 1 || got.Oldest == nil || !got.Oldest.Equal(begun) {
		t.Errorf("at the ages: %+v", got)
	}
	if o.Oldest == nil || o.Oldest.ID != units[0].ID || o.Oldest.KeyID != "a" || o.Oldest.KeySince == nil || !o.Oldest.KeySince.Equal(begun) {
		t.Errorf("the oldest is %+v, want %s", o.Oldest, units[0].ID)
	}
	if quiet := o.Targets[1]; quiet.Name != "quiet" || quiet.Units != 0 || quiet.Oldest != nil {
		t.Errorf("the target without units is %+v", quiet)
	}
}

func overviewWork(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	f.park(tasks[0].ID)
	f.external("lab/1")
	o := f.overview()
	if o.Running != 1 || o.Parked != 1 || o.Critical+o.Warning+o.Info != 1 || o.Acknowledged != 0 {
		t.Errorf("overview is %+v, want one rotation, one parked task, one alert", o)
	}
	_, err := f.AckAlert(f.ctx(), f.oneOpen(keyturn.AlertExternal).ID, keyturn.Ack{By: "ann"})
	f.ok(err)
	if o = f.overview(); o.Critical+o.Warning+o.Info != 0 || o.Acknowledged != 1 {
		t.Errorf("overview is %+v, want one alert that somebody cares for", o)
	}
}

func overviewNext(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("later", "om", f.slot(2*time.Hour))
	f.policy("sooner", "om", f.slot(time.Hour))
	if next := f.overview().Next; next == nil || next.Policy != "sooner" || !next.At.Equal(f.clock.Now().Add(time.Hour)) {
		t.Errorf("next is %+v, want the sooner one", next)
	}
	f.ok(f.SetPaused(f.ctx(), "sooner", true, "ann", "", nil))
	if next := f.overview().Next; next == nil || next.Policy != "later" {
		t.Errorf("next is %+v, want the one that is not paused", next)
	}
}

func overviewDeleted(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, _ := f.running("quarterly", makeUnit("om", "p1", 1))
	_, err := f.StopRotation(f.ctx(), r.ID, "ann", "", true)
	f.ok(err)
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindPolicy, Name: "quarterly", Expect: 1}, {Kind: keyturn.KindTarget, Name: "om", Expect: 1},
	}))
	if o := f.overview(); len(o.Targets) != 1 || o.Targets[0].Name != "om" || o.Targets[0].Units != 1 {
		t.Errorf("targets are %+v, want the one whose units there are", o.Targets)
	}
}

func overviewHeld(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.ok(f.Hold(f.ctx(), "om", "429", time.Minute))
	if held := f.overview().Targets[0]; held.HeldUntil == nil || held.HoldReason != "429" {
		t.Errorf("target is %+v, want it held", held)
	}
	f.clock.Advance(time.Minute)
	if held := f.overview().Targets[0]; held.HeldUntil != nil || held.HoldReason != "" {
		t.Errorf("target is %+v, want it free again", held)
	}
}

func cellPlaces(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	b, a := makeUnit("om", "p2", 1), makeUnit("om", "p1", 2)
	a.Component, a.Name = keyturn.ComponentShard, "shard-0"
	r, _ := f.running("quarterly", b, a)
	f.running("quarterly", makeUnit("om", "p3", 9))
	cells, err := f.RotationCells(f.ctx(), r.ID)
	f.ok(err)
	if len(cells) != 2 {
		t.Fatalf("%d cells, want those of one rotation: 2", len(cells))
	}
	got := cells[0]
	if got.Unit != a.ID || got.State != keyturn.TaskPending || got.ProjectID != "p1" || got.ProjectName != a.ProjectName ||
		got.ClusterName != a.ClusterName || got.Component != keyturn.ComponentShard || got.Name != "shard-0" || got.Task.IsZero() {
		t.Errorf("the first cell is %+v, want that of %+v", got, a)
	}
	if cells[1].Unit != b.ID {
		t.Errorf("the second cell is %+v, want that of the later project", cells[1])
	}
	none, err := f.RotationCells(f.ctx(), keyturn.NewID(f.clock.Now()))
	f.ok(err)
	if len(none) != 0 {
		t.Errorf("a rotation that is not there has %d cells", len(none))
	}
}

func cellChanges(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 3)...)
	changes := func(since time.Time, want ...keyturn.TaskState) []keyturn.Cell {
		t.Helper()
		got, err := f.RotationChanges(f.ctx(), r.ID, since)
		f.ok(err)
		if len(got) != len(want) {
			t.Fatalf("%d changes since %v, want %d: %+v", len(got), since, len(want), got)
		}
		for i := range want {
			if got[i].State != want[i] {
				t.Errorf("the change is %+v, want %s", got[i], want[i])
			}
		}
		return got
	}
	begun := f.clock.Now()
	changes(begun)
	f.clock.Advance(time.Second)
	epoch := f.mustIntend(tasks[0].ID, "a")
	intended := f.clock.Now()
	changes(intended, keyturn.TaskIntended)
	f.clock.Advance(time.Second)
	changes(f.clock.Now())
	f.mustFinish(keyturn.TaskResult{Task: tasks[0].ID, From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskSucceeded, Resolution: keyturn.ResolutionConfirmed, KeyAfter: "b"})
	got := changes(f.clock.Now(), keyturn.TaskSucceeded)[0]
	if got.Task != tasks[0].ID || got.Resolution != keyturn.ResolutionConfirmed || got.Attempts != 1 || got.FinishedAt == nil || !got.FinishedAt.Equal(f.clock.Now()) {
		t.Errorf("the change is %+v", got)
	}
	changes(intended, keyturn.TaskSucceeded)
}
