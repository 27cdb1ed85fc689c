package storagetest

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// needed is how many snapshots need the key k1.
func (f *fixture) needed() int {
	f.t.Helper()
	return f.judge("k1")[0].Snapshots
}

func snapshotsGone(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	one, two := f.snapshot("s1", "k1", -keyturn.Day, keyturn.Day), f.snapshot("s2", "k1", -keyturn.Day, keyturn.Day)
	f.lookAt(unit, one, two)
	f.lookAt(unit, one)
	if n := f.needed(); n != 2 {
		t.Errorf("%d snapshots, want 2: a listing in pages may have left one out", n)
	}
	f.lookAt(unit, one)
	if n := f.needed(); n != 1 {
		t.Errorf("%d snapshots, want 1: two looks did not see the other", n)
	}
	f.clock.Advance(2 * keyturn.Day)
	if n := f.needed(); n != 1 {
		t.Errorf("%d snapshots, want 1: nobody has seen that it went", n)
	}
	f.lookAt(unit)
	if n := f.needed(); n != 0 {
		t.Errorf("%d snapshots, want none: it expired and is not listed", n)
	}
}

func snapshotsOvertaken(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	one := f.snapshot("s1", "k1", -keyturn.Day, -time.Hour)
	slow, err := f.BeginSnapshotLooks(f.ctx(), []string{unit})
	f.ok(err)
	f.lookAt(unit, one)
	late := one
	late.Unit, late.KeyID = unit, "k0"
	f.ok(f.SaveSnapshots(f.ctx(), []keyturn.SeenSnapshot{{Snapshot: late, Look: slow[0].Number}}))
	f.ok(f.EndSnapshotLooks(f.ctx(), slow))
	wantNeeds(t, f.judge("k0", "k1"), "k0: 0+0", "k1: 1+0")
}

func snapshotsTrouble(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	f.lookAt(unit, f.snapshot("s1", "k1", -keyturn.Day, time.Hour))
	looked := f.clock.Now()
	f.clock.Advance(2 * time.Hour)
	for range 3 {
		looks, err := f.BeginSnapshotLooks(f.ctx(), []string{unit})
		f.ok(err)
		looks[0].Trouble = "refused"
		f.ok(f.EndSnapshotLooks(f.ctx(), looks))
	}
	k := f.judge("k1")[0]
	if k.Snapshots != 1 || k.Uses[0].Trouble != "refused" || !k.Uses[0].LookedAt.Equal(looked) || k.Sure != keyturn.SureUnknown {
		t.Errorf("k1 is %+v", k)
	}
	f.clock.Advance(8 * keyturn.Day)
	looks, err := f.BeginSnapshotLooks(f.ctx(), []string{unit})
	f.ok(err)
	looks[0].Trouble = "refused"
	f.ok(f.EndSnapshotLooks(f.ctx(), looks))
	if n := f.needed(); n != 0 {
		t.Errorf("%d snapshots, want none: it expired a week ago", n)
	}
}

func snapshotsChange(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	unit := f.turnedTwice()
	s := f.snapshot("s1", "", -keyturn.Day, keyturn.Day)
	f.lookAt(unit, s, s) // twice in one listing
	s.KeyID = "k0"
	f.lookAt(unit, s)
	wantNeeds(t, f.judge("k0", "k1"), "k0: 1+0", "k1: 0+0")
	f.ok(f.SaveSnapshots(f.ctx(), nil))
	f.ok(f.EndSnapshotLooks(f.ctx(), nil))
}
