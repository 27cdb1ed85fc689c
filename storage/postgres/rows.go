package postgres

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// int32Of is a limit as the database takes it.
func int32Of(n int) int32 { return int32(min(max(n, 0), math.MaxInt32)) }

// optional is NULL for the empty text.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// rotationOf turns a row into a rotation with its stored counts.
func rotationOf(r db.Rotation) (keyturn.Rotation, error) {
	out := keyturn.Rotation{
		ID: r.ID, Policy: r.Policy, Target: r.Target, Trigger: keyturn.Trigger(r.Trigger), TriggerID: text(r.TriggerID), Slot: text(r.Slot),
		Reason: r.Reason, RequestedBy: r.RequestedBy, State: keyturn.RotationState(r.State),
		Counts: keyturn.Counts{
			Total: int(r.Total), Succeeded: int(r.Succeeded), Failed: int(r.Failed), Skipped: int(r.Skipped), Parked: int(r.Parked),
		},
		RequestedAt: r.RequestedAt.UTC(), StartedAt: utc(r.StartedAt), FinishedAt: utc(r.FinishedAt), OpenedAt: utc(r.OpenedAt),
	}
	out.Halted, out.CancelledBy, out.CancelledAt = r.Halted, r.CancelledBy, utc(r.CancelledAt)
	if !r.RetryOf.IsZero() {
		out.RetryOf = &r.RetryOf
	}
	if r.Trouble != "" {
		out.Reason, out.Trouble = r.Trouble, r.Trouble
	}
	if r.Wave != nil && r.Waves != nil {
		out.Wave = &keyturn.Wave{Current: int(*r.Wave), Total: int(*r.Waves), NextAt: utc(r.NextWaveAt)}
	}
	if err := json.Unmarshal(r.OnlyUnits, &out.Only); err != nil {
		return keyturn.Rotation{}, fmt.Errorf("reading the selection of rotation %s: %w", r.ID, err)
	}
	return out, nil
}

func rotationsOf(rows []db.Rotation) ([]keyturn.Rotation, error) {
	out := make([]keyturn.Rotation, len(rows))
	for i, row := range rows {
		var err error
		if out[i], err = rotationOf(row); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// countedOf turns a row into a rotation whose tasks were counted, if it still has any that can move.
func countedOf(row db.RotationRow) (keyturn.Rotation, error) {
	r, err := rotationOf(row.Rotation)
	if err != nil || row.TasksTotal == 0 {
		return r, err
	}
	c := keyturn.Counts{
		Total: int(row.TasksTotal), Succeeded: int(row.TasksSucceeded), Failed: int(row.TasksFailed),
		Skipped: int(row.TasksSkipped), Parked: int(row.TasksParked),
	}
	c.Pending = c.Total - c.Succeeded - c.Failed - c.Skipped - c.Parked
	if row.Rotation.PlanTurn != nil {
		c = c.WithUnsaved(int(row.Rotation.PlanLeft), r.Halted)
	}
	r.Counts = c
	return r, nil
}

func taskOf(r db.TasksOfRotationRow) keyturn.Task {
	return keyturn.Task{
		ID: r.ID, Rotation: r.RotationID, Unit: r.UnitID, State: keyturn.TaskState(r.State), Resolution: keyturn.Resolution(r.Resolution),
		Reason: r.Reason, Attempts: int(r.Attempts), KeyBefore: r.KeyBefore, KeyAfter: r.KeyAfter,
		StartedAt: utc(r.StartedAt), FinishedAt: utc(r.FinishedAt),
	}
}

func unitOf(r db.UnitsRow) keyturn.Unit {
	return keyturn.Unit{
		ID: r.ID, Target: r.Target, System: keyturn.System(r.System), ProjectID: r.ProjectID, ProjectName: r.ProjectName,
		ClusterID: r.ClusterID, ClusterName: r.ClusterName, Component: keyturn.Component(r.Component), Name: r.Name,
		KeyID: r.KeyID, KeySince: utc(r.KeySince), KeySinceExact: r.KeyExact,
		FCV: r.Fcv, Rotatable: r.Rotatable, Reason: r.Reason,
	}
}

func recordOf(r db.KeyRecord, until *time.Time) keyturn.KeyRecord {
	return keyturn.KeyRecord{
		ID: r.ID, Unit: r.UnitID, KeyID: r.KeyID, PreviousKeyID: r.PreviousKeyID, From: r.UsedFrom.UTC(), Until: utc(until),
		Origin: keyturn.Origin(r.Origin), Rotation: r.RotationID, Task: r.TaskID,
	}
}

// policyOf reads a policy's spec.
func policyOf(name string, spec []byte, generation int64, paused bool) (keyturn.Policy, error) {
	var p keyturn.Policy
	if err := json.Unmarshal(spec, &p); err != nil {
		return keyturn.Policy{}, fmt.Errorf("reading the spec of policy %s: %w", name, err)
	}
	p.Name, p.Generation, p.Paused = name, generation, paused
	return p, nil
}
