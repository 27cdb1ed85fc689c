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
