package worker

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// rotationsOnly is a store that knows every rotation, and nothing else.
type rotationsOnly struct{ AnnounceStore }

func (rotationsOnly) Rotation(_ context.Context, id keyturn.ID) (keyturn.Rotation, error) {
	return keyturn.Rotation{ID: id, Policy: "quarterly", State: keyturn.RotationRequested}, nil
}

func TestRotationsRequestedTogetherAreToldOneByOne(t *testing.T) {
	t.Parallel()
	first, second, third := keyturn.NewID(time.Now()), keyturn.NewID(time.Now()), keyturn.NewID(time.Now())
	a := announcer{source: "/keyturn", store: rotationsOnly{}}
	events, err := a.events(t.Context(), []keyturn.Announcement{
		{Type: "rotation.requested", Rotation: first},
		{Type: "rotations", Requested: []keyturn.ID{second, third}},
		{Type: "rotation.completed", Rotation: second},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, e.ID)
	}
	want := []string{
		"rotation.requested/" + first.String(), "rotation.requested/" + second.String(), "rotation.requested/" + third.String(),
		"rotation.completed/" + second.String(),
	}
	if !slices.Equal(got, want) {
		t.Errorf("events are %v, want %v", got, want)
	}
}

// namedThings is a store that has what its announcements tell of, and says how often it was asked.
type namedThings struct {
	rotationsOnly

	tasks   []keyturn.Task
	records []keyturn.KeyRecord
	retired []keyturn.RetiredKey
	asked   int
}

func (s *namedThings) AnnouncedTasks(context.Context, []keyturn.ID) ([]keyturn.Task, []keyturn.KeyRecord, error) {
	s.asked++
	return s.tasks, s.records[:2], nil
}

func (s *namedThings) AnnouncedKeys(context.Context, []keyturn.ID) ([]keyturn.KeyRecord, error) {
	s.asked++
	return s.records[2:], nil
}

func (s *namedThings) AnnouncedRetired(context.Context, []keyturn.ID) ([]keyturn.RetiredKey, error) {
	s.asked++
	return s.retired, nil
}

// The bus stores what one announcement tells once, so its events must stand together, wherever they are read from.
func TestEventsOfAnAnnouncementStandTogether(t *testing.T) {
	t.Parallel()
	now := time.Now()
	id := func() keyturn.ID { return keyturn.NewID(now) }
	task := func() keyturn.Task { return keyturn.Task{ID: id(), State: keyturn.TaskSucceeded, FinishedAt: &now} }
	known, first, second, third := task(), task(), task(), task()
	record := func(of keyturn.ID) keyturn.KeyRecord {
		return keyturn.KeyRecord{ID: id(), Origin: keyturn.OriginObserved, Task: of}
	}
	store := &namedThings{
		tasks:   []keyturn.Task{third, second, first},
		records: []keyturn.KeyRecord{record(second.ID), record(first.ID), record(keyturn.ID{}), record(keyturn.ID{})},
		retired: []keyturn.RetiredKey{{ID: id()}},
	}
	a := announcer{source: "/keyturn", store: store}
	notes := []keyturn.Announcement{
		{ID: id(), Type: "tasks", Tasks: []keyturn.ID{first.ID, third.ID}},
		{ID: id(), Type: "keys", Keys: []keyturn.ID{store.records[3].ID}},
		{ID: id(), Type: "tasks", Tasks: []keyturn.ID{known.ID}},
		{ID: id(), Type: "rotation.completed", Rotation: id()},
		{ID: id(), Type: "tasks", Tasks: []keyturn.ID{second.ID}},
		{ID: id(), Type: "retired", Retired: []keyturn.ID{store.retired[0].ID}},
		{ID: id(), Type: "keys", Keys: []keyturn.ID{store.records[2].ID}},
	}
	a.recorded.add(keyturn.Told{ID: notes[2].ID, Tasks: []keyturn.Task{known}})
	events, err := a.events(t.Context(), notes)
	if err != nil {
		t.Fatal(err)
	}
	got := map[keyturn.ID][]string{}
	order := []keyturn.ID{}
	for _, e := range events {
		if len(order) == 0 || order[len(order)-1] != e.Announcement {
			order = append(order, e.Announcement)
		}
		got[e.Announcement] = append(got[e.Announcement], e.ID)
	}
	want := [][]string{
		{"task.succeeded/" + third.ID.String(), "task.succeeded/" + first.ID.String(), "key.observed/" + store.records[1].ID.String()},
		{"key.observed/" + store.records[3].ID.String()},
		{"task.succeeded/" + known.ID.String()},
		{"rotation.completed/" + notes[3].Rotation.String()},
		{"task.succeeded/" + second.ID.String(), "key.observed/" + store.records[0].ID.String()},
		{"key.retired/" + store.retired[0].ID.String()},
		{"key.observed/" + store.records[2].ID.String()},
	}
	for i, note := range notes {
		if i >= len(order) || order[i] != note.ID || !slices.Equal(got[note.ID], want[i]) {
			t.Errorf("announcement %d tells %v, want %v", i, got[note.ID], want[i])
		}
	}
	if len(order) != len(notes) || store.asked != 3 {
		t.Errorf("%d stretches of events for %d announcements; the store was asked %d times, want 3", len(order), len(notes), store.asked)
	}
}

// BenchmarkAnnouncer_add measures the two CloudEvents that a key that turned makes.
func BenchmarkAnnouncer_add(b *testing.B) {
	now := time.Now()
	t := keyturn.Task{
		ID: keyturn.NewID(now), Rotation: keyturn.NewID(now), Unit: "om.5196d3628d022db4cbc26d9e.5196e5b0e4b0fca9cc88334a",
		State: keyturn.TaskSucceeded, Resolution: keyturn.ResolutionConfirmed, Attempts: 1,
		KeyBefore: "a1a7cd0e-d1d5-4c8c-9d1e-5d5a4a6f8f5e", KeyAfter: "b1a7cd0e-d1d5-4c8c-9d1e-5d5a4a6f8f5e", StartedAt: &now, FinishedAt: &now,
	}
	k := keyturn.KeyRecord{
		ID: t.ID, Unit: t.Unit, KeyID: t.KeyAfter, PreviousKeyID: t.KeyBefore, From: now, Origin: keyturn.OriginRotated, Rotation: t.Rotation, Task: t.ID,
	}
	a := announcer{source: "keyturn/bench"}
	b.ReportAllocs()
	for b.Loop() {
		events, err := a.add(nil, "task.succeeded", t.ID.String(), now, t)
		if err != nil {
			b.Fatal(err)
		}
		if _, err = a.add(events, "key.rotated", k.ID.String(), now, k); err != nil {
			b.Fatal(err)
		}
	}
}
