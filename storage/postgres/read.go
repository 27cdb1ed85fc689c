package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

const (
	defaultPage = 500
	maxPage     = 1000
)

// limitOf is how many rows a page holds.
func limitOf(p keyturn.Page) int {
	if p.Limit <= 0 {
		return defaultPage
	}
	return min(p.Limit, maxPage)
}

// cut takes the row off that was asked for beyond the page, and returns the cursor of the next page if there is one.
func cut[T any](items []T, limit int, id func(T) string) ([]T, string) {
	if len(items) <= limit {
		return items, ""
	}
	items = items[:limit]
	return items, id(items[limit-1])
}

// cursor reads a cursor that is an id.
func cursor(p keyturn.Page) (keyturn.ID, error) {
	if p.After == "" {
		return keyturn.ID{}, nil
	}
	id, err := keyturn.ParseID(p.After)
	if err != nil {
		return keyturn.ID{}, fmt.Errorf("reading the page's cursor: %w: take it from the page before", err)
	}
	return id, nil
}

// Rotation returns a rotation with its counts, without its tasks.
func (s *Store) Rotation(ctx context.Context, id keyturn.ID) (keyturn.Rotation, error) {
	row, err := s.q.Rotation(ctx, s.pool, id)
	if err != nil {
		return keyturn.Rotation{}, fmt.Errorf("reading rotation %s: %w", id, notFound(err))
	}
	return countedOf(row)
}

// Rotations lists rotations with their counts, newest first.
func (s *Store) Rotations(ctx context.Context, f keyturn.RotationFilter) ([]keyturn.Rotation, string, error) {
	after, err := cursor(f.Page)
	if err != nil {
		return nil, "", err
	}
	limit := limitOf(f.Page)
	arg := db.RotationsParams{Policy: f.Policy, State: string(f.State), After: after, Max: int32Of(limit + 1)}
	arg.FromTime, arg.ToTime = span(f.From, f.To)
	rows, err := s.q.Rotations(ctx, s.pool, arg)
	if err != nil {
		return nil, "", fmt.Errorf("listing rotations: %w", err)
	}
	out := make([]keyturn.Rotation, len(rows))
	for i, row := range rows {
		if out[i], err = countedOf(db.RotationRow(row)); err != nil {
			return nil, "", err
		}
		if out[i].RetryOf != nil {
			out[i].Only.Units = nil
		}
		out[i].Only.Keys = nil
	}
	out, next := cut(out, limit, func(r keyturn.Rotation) string { return r.ID.String() })
	return out, next, nil
}

// Tasks returns a rotation's tasks in the order of their turn.
func (s *Store) Tasks(ctx context.Context, rotation keyturn.ID, page keyturn.Page) ([]keyturn.Task, string, error) {
	after, err := cursor(page)
	if err != nil {
		return nil, "", err
	}
	limit := limitOf(page)
	rows, err := s.q.TasksOfRotation(ctx, s.pool, db.TasksOfRotationParams{Rotation: rotation, After: after, Max: int32Of(limit + 1)})
	if err != nil {
		return nil, "", fmt.Errorf("listing the tasks of rotation %s: %w", rotation, err)
	}
	out := make([]keyturn.Task, len(rows))
	for i, row := range rows {
		out[i] = taskOf(row)
	}
	out, next := cut(out, limit, func(t keyturn.Task) string { return t.ID.String() })
	return out, next, s.nameTasks(ctx, out)
}

// Units lists units in the order of their ids.
func (s *Store) Units(ctx context.Context, f keyturn.UnitFilter) ([]keyturn.Unit, string, error) {
	limit := limitOf(f.Page)
	rows, err := s.q.Units(ctx, s.pool, db.UnitsParams{
		Target: f.Target, Project: f.Project, Cluster: f.Cluster, Name: f.Name, After: f.Page.After, Max: int32Of(limit + 1),
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing units: %w", err)
	}
	out := make([]keyturn.Unit, len(rows))
	for i, row := range rows {
		out[i] = unitOf(row)
	}
	out, next := cut(out, limit, func(u keyturn.Unit) string { return u.ID })
	return out, next, s.nameUnits(ctx, out)
}

// History lists key records, oldest first.
func (s *Store) History(ctx context.Context, f keyturn.HistoryFilter) ([]keyturn.KeyRecord, string, error) {
	after, err := cursor(f.Page)
	if err != nil {
		return nil, "", err
	}
	limit := limitOf(f.Page)
	arg := db.HistoryParams{Rotation: f.Rotation, ByUnit: f.Unit != "", After: after, Max: int32Of(limit + 1)}
	if arg.ByUnit {
		if arg.Units, err = s.q.UnitsCalled(ctx, s.pool, f.Unit); err != nil {
			return nil, "", fmt.Errorf("finding the units called %s: %w", f.Unit, err)
		}
	}
	rows, err := s.q.History(ctx, s.pool, arg)
	if err != nil {
		return nil, "", fmt.Errorf("listing the key history: %w", err)
	}
	out := make([]keyturn.KeyRecord, len(rows))
	for i, row := range rows {
		out[i] = recordOf(row.KeyRecord, row.UsedUntil)
	}
	out, next := cut(out, limit, func(r keyturn.KeyRecord) string { return r.ID.String() })
	return out, next, s.nameRecords(ctx, out)
}

// KeyAges sums up the keys of each target that has units.
func (s *Store) KeyAges(ctx context.Context) ([]keyturn.KeyAge, error) {
	rows, err := s.q.KeyAges(ctx, s.pool, s.clock())
	if err != nil {
		return nil, fmt.Errorf("summing up the ages of keys: %w", err)
	}
	ages := make([]keyturn.KeyAge, len(rows))
	for i, r := range rows {
		ages[i] = keyturn.KeyAge{
			Target: r.Target, Units: int(r.Units), Unknown: int(r.Unknown), Oldest: time.Duration(r.Oldest) * time.Microsecond,
		}
	}
	return ages, nil
}
