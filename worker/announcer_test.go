package worker

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

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
