package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// shelf is a system that tells snapshots, and a store of names.
type shelf struct {
	System
	LookStore

	snapshots map[string][]keyturn.Snapshot
	broken    string // the unit whose snapshots can't be listed
	unnamed   []keyturn.UnnamedKey
	asked     []string
	named     map[string]string
}

func (s *shelf) Snapshots(_ context.Context, unit string, yield func(keyturn.Snapshot) bool) error {
	if unit == s.broken {
		return errors.New("no role")
	}
	for _, snapshot := range s.snapshots[unit] {
		if !yield(snapshot) {
			return nil
		}
	}
	return nil
}

func (s *shelf) UnnamedKeys(_ context.Context, units []string) ([]keyturn.UnnamedKey, error) {
	s.asked = append(s.asked, units...)
	return s.unnamed, nil
}

func (s *shelf) NameKeys(_ context.Context, names []keyturn.KeyName) error {
	for _, n := range names {
		s.named[n.Unit+" "+n.Marker] = n.KeyID
	}
	return nil
}

func TestNamer_TakesTheFirstSnapshotThatWasMadeWhileTheKeyWasInUse(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return begin.Add(time.Duration(minutes) * time.Minute) }
	until := at(100)
	snap := func(minutes int, key string, complete bool) keyturn.Snapshot {
		return keyturn.Snapshot{KeyID: key, CreatedAt: at(minutes), Complete: complete}
	}
	const old, now = keyturn.KeyMarkerPrefix + "never", keyturn.KeyMarkerPrefix + "2026-11-22T07:59:00Z"
	tests := map[string]struct {
		key       keyturn.UnnamedKey
		snapshots []keyturn.Snapshot
		want      string
	}{
		"the first, in any order":     {keyturn.UnnamedKey{Marker: now, From: at(0)}, []keyturn.Snapshot{snap(50, "late", true), snap(10, "first", true), snap(30, "mid", true)}, "first"},
		"not from before":             {keyturn.UnnamedKey{Marker: now, From: at(20)}, []keyturn.Snapshot{snap(10, "before", true), snap(20, "same", true)}, ""},
		"not from after":              {keyturn.UnnamedKey{Marker: old, From: at(0), Until: &until}, []keyturn.Snapshot{snap(100, "next", true), snap(120, "next", true)}, ""},
		"not one that is half":        {keyturn.UnnamedKey{Marker: now, From: at(0)}, []keyturn.Snapshot{snap(10, "half", false), snap(20, "whole", true)}, "whole"},
		"not one without a key":       {keyturn.UnnamedKey{Marker: now, From: at(0)}, []keyturn.Snapshot{snap(10, "", true), snap(20, "key", true)}, "key"},
		"none while agents may be at": {keyturn.UnnamedKey{Marker: now, From: at(0), Observed: true}, []keyturn.Snapshot{snap(30, "old still", true), snap(61, "new", true)}, "new"},
		"none of the key before, by a clock that is late": {keyturn.UnnamedKey{Marker: keyturn.KeyMarkerPrefix + "2026-11-22T08:10:00Z", From: at(5)}, []keyturn.Snapshot{
			snap(-300, "before", true), snap(12, "before", true), snap(40, "new", true),
		}, "new"},
		"none at all": {keyturn.UnnamedKey{Marker: now, From: at(0)}, nil, ""},
	}
	for name, tt := range tests {
		tt.key.Unit = "om.p.u"
		s := &shelf{snapshots: map[string][]keyturn.Snapshot{"om.p.u": tt.snapshots}, unnamed: []keyturn.UnnamedKey{tt.key}, named: map[string]string{}}
		v := viewOf(s, keyturn.Observation{Unit: "om.p.u", Known: now, KeyID: now})
		if err := v.name(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := s.named["om.p.u "+tt.key.Marker]; got != tt.want {
			t.Errorf("%s: named %q, want %q", name, got, tt.want)
		}
	}
}

func viewOf(s *shelf, seen ...keyturn.Observation) *view {
	return &view{
		l: &looker{store: s, now: time.Now, log: zap.NewNop()}, sys: s, gate: &gate{}, seen: seen, target: keyturn.Target{Name: "om"}.WithDefaults(),
	}
}

func TestNamer_AsksOnlyForWhatHasAMarkerAndGoesOnWithoutTheRest(t *testing.T) {
	t.Parallel()
	const mark = keyturn.KeyMarkerPrefix + "2026-11-22T09:40:00Z"
	from := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	s := &shelf{
		broken:    "om.p.a",
		snapshots: map[string][]keyturn.Snapshot{"om.p.b": {{KeyID: "key-b", CreatedAt: from.Add(time.Hour), Complete: true}}},
		unnamed:   []keyturn.UnnamedKey{{Unit: "om.p.a", Marker: mark, From: from}, {Unit: "om.p.b", Marker: mark, From: from}},
		named:     map[string]string{},
	}
	v := viewOf(s, keyturn.Observation{Unit: "om.p.a", KeyID: mark}, keyturn.Observation{Unit: "om.p.b", KeyID: mark}, keyturn.Observation{Unit: "om.p.c", KeyID: "an-id"})
	if err := v.name(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.asked) != 2 || len(s.named) != 1 || s.named["om.p.b "+mark] != "key-b" {
		t.Errorf("asked for %v, named %v", s.asked, s.named)
	}
}

// Our clock is ahead of the system's: by its own words the old key ended sooner.
func TestNamer_AKeyEndsWhenTheNextOneWasAskedFor(t *testing.T) {
	t.Parallel()
	const old, now = keyturn.KeyMarkerPrefix + "never", keyturn.KeyMarkerPrefix + "2026-11-22T09:40:00Z"
	from, until := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC), time.Date(2026, 11, 22, 9, 50, 0, 0, time.UTC)
	s := &shelf{
		snapshots: map[string][]keyturn.Snapshot{"om.p.u": {{KeyID: "new", CreatedAt: until.Add(-5 * time.Minute), Complete: true}, {KeyID: "new", CreatedAt: until.Add(time.Hour), Complete: true}}},
		unnamed:   []keyturn.UnnamedKey{{Unit: "om.p.u", Marker: old, From: from, Until: &until}, {Unit: "om.p.u", Marker: now, From: until}},
		named:     map[string]string{},
	}
	if err := viewOf(s, keyturn.Observation{Unit: "om.p.u", KeyID: now}).name(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.named) != 1 || s.named["om.p.u "+now] != "new" {
		t.Errorf("named %v", s.named)
	}
}
