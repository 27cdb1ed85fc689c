package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// rotationsOfUnit is among how many of its target's newest rotations a unit's tasks are looked for.
const rotationsOfUnit = 200

// FleetUnits returns all units, or those of one target, in no order.
func (s *Store) FleetUnits(ctx context.Context, target string) ([]keyturn.FleetUnit, error) {
	rows, err := s.q.FleetUnits(ctx, s.pool, target)
	if err != nil {
		return nil, fmt.Errorf("reading the fleet: %w", err)
	}
	tasks, err := s.q.FleetTasks(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("reading the open tasks of the fleet: %w", err)
	}
	open := make(map[string]keyturn.TaskState, len(tasks))
	for _, t := range tasks {
		open[t.UnitID] = keyturn.MoreOpen(open[t.UnitID], keyturn.TaskState(t.State))
	}
	units := make([]keyturn.FleetUnit, len(rows))
	for i := range rows {
		r := &rows[i]
		units[i] = keyturn.FleetUnit{Unit: keyturn.Unit{
			ID: r.ID, Target: r.Target, ProjectID: r.ProjectID, ProjectName: r.ProjectName, ClusterName: r.ClusterName,
			Component: keyturn.Component(r.Component), Name: r.Name, Rotatable: r.Rotatable, Reason: r.Reason,
			KeySince: utc(r.KeySince), KeySinceExact: r.KeyExact,
		}, Task: open[r.ID]}
		_, _, units[i].ClusterID, _ = keyturn.SplitUnitID(r.ID)
	}
	return units, nil
}

// TasksOfUnit returns the tasks that a unit had in its target's newest rotations, the newest first.
func (s *Store) TasksOfUnit(ctx context.Context, unit string, limit int) ([]keyturn.Task, error) {
	target, _, _, err := keyturn.SplitUnitID(unit)
	if err != nil {
		return nil, err
	}
	rows, err := s.q.TasksOfUnit(ctx, s.pool, db.TasksOfUnitParams{
		Unit: unit, Target: target, Rotations: rotationsOfUnit, Max: int32Of(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tasks of unit %s: %w", unit, err)
	}
	out := make([]keyturn.Task, len(rows))
	for i, row := range rows {
		out[i] = taskOf(db.TasksOfRotationRow(row))
	}
	return out, s.nameTasks(ctx, out)
}

// span returns the bounds of a listing by time as the statements want them.
func span(from, to time.Time) (first, end time.Time) {
	if from.IsZero() {
		from = time.Unix(0, 0)
	}
	if to.IsZero() {
		to = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return from, to
}
