package sqlite

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// rotationsOfUnit is among how many of its target's newest rotations a unit's tasks are looked for.
const rotationsOfUnit = 200

// FleetUnits implements api.Reader.
func (s *Store) FleetUnits(ctx context.Context, target string) ([]keyturn.FleetUnit, error) {
	rows, err := s.q.FleetUnits(ctx, s.read, target)
	if err != nil {
		return nil, fmt.Errorf("reading the fleet: %w", err)
	}
	tasks, err := s.q.FleetTasks(ctx, s.read)
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
			Component: keyturn.Component(r.Component), Name: r.Name, Rotatable: r.Rotatable != 0, Reason: r.Reason,
			KeySince: toTimePtr(r.KeySince), KeySinceExact: r.KeyExact != 0,
		}, Task: open[r.ID]}
		_, _, units[i].ClusterID, _ = keyturn.SplitUnitID(r.ID)
	}
	return units, nil
}

// TasksOfUnit implements api.Reader.
func (s *Store) TasksOfUnit(ctx context.Context, unit string, limit int) ([]keyturn.Task, error) {
	target, _, _, err := keyturn.SplitUnitID(unit)
	if err != nil {
		return nil, err
	}
	rows, err := s.q.TasksOfUnit(ctx, s.read, db.TasksOfUnitParams{
		Target: target, Rotations: rotationsOfUnit, Unit: unit, MaxRows: int64(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tasks of unit %s: %w", unit, err)
	}
	out := make([]keyturn.Task, len(rows))
	for i, row := range rows {
		if out[i], err = toTask(row); err != nil {
			return nil, fmt.Errorf("reading the tasks of unit %s: %w", unit, err)
		}
	}
	return out, s.nameTasks(ctx, out)
}

// idSlack is by how much the time in an id may differ from the row's: ids never go back, a clock may.
const idSlack = 24 * time.Hour

// timeBounds narrows a listing of rotations by time: by ids, which sort by time, to where to look, and exactly.
func timeBounds(p *db.RotationsParams, after string, from, to time.Time) {
	p.BeforeID, p.ToTime = after, math.MaxInt64
	if !from.IsZero() {
		p.FromTime, p.FromID = from.UnixMilli(), firstID(from.Add(-idSlack))
	}
	if !to.IsZero() {
		p.ToTime = to.UnixMilli()
		if end := firstID(to.Add(idSlack)); after == "" || end < after {
			p.BeforeID = end
		}
	}
}

// firstID is the smallest id of a time.
func firstID(at time.Time) string {
	id := keyturn.NewID(at)
	clear(id[6:])
	return id.String()
}
