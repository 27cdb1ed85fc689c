package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// Rotation implements api.Reader and worker.AnnounceStore.
func (s *Store) Rotation(ctx context.Context, id keyturn.ID) (keyturn.Rotation, error) {
	row, err := s.q.Rotation(ctx, s.read, id.String())
	if err != nil {
		return keyturn.Rotation{}, fmt.Errorf("reading rotation %s: %w", id, found(err))
	}
	return s.withCounts(ctx, s.read, row)
}

// withCounts reads a row; the counts of a rotation that ended are in it, others are counted.
func (s *Store) withCounts(ctx context.Context, on db.DBTX, row db.Rotation) (keyturn.Rotation, error) {
	r, err := toRotation(row)
	if err != nil {
		return r, err
	}
	if r.State == keyturn.RotationRunning {
		var unsaved int
		r.Counts, unsaved, err = s.counts(ctx, on, row.ID)
		if row.PlanTurn.Valid {
			r.Counts = r.Counts.WithUnsaved(unsaved, r.Halted)
		}
	}
	return r, err
}

// Rotations implements api.Reader.
func (s *Store) Rotations(ctx context.Context, f keyturn.RotationFilter) ([]keyturn.Rotation, string, error) {
	if err := checkCursor(f.Page.After); err != nil {
		return nil, "", err
	}
	arg := db.RotationsParams{Policy: f.Policy, State: string(f.State), MaxRows: limit(f.Page) + 1}
	timeBounds(&arg, f.Page.After, f.From, f.To)
	rows, err := s.q.Rotations(ctx, s.read, arg)
	if err != nil {
		return nil, "", fmt.Errorf("listing rotations: %w", err)
	}
	rows, next := cut(rows, f.Page, func(row db.Rotation) string { return row.ID })
	out := make([]keyturn.Rotation, len(rows))
	for i, row := range rows {
		if out[i], err = s.withCounts(ctx, s.read, row); err != nil {
			return nil, "", fmt.Errorf("listing rotations: %w", err)
		}
		if out[i].RetryOf != nil {
			out[i].Only.Units = nil
		}
		out[i].Only.Keys = nil
	}
	return out, next, nil
}

// Tasks implements api.Reader.
func (s *Store) Tasks(ctx context.Context, rotation keyturn.ID, page keyturn.Page) ([]keyturn.Task, string, error) {
	turn, seq, err := parseTurn(page.After)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.q.RotationTasks(ctx, s.read, db.RotationTasksParams{
		RotationID: rotation.String(), AfterTurn: turn, AfterSeq: seq, MaxRows: limit(page) + 1,
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing the tasks of rotation %s: %w", rotation, err)
	}
	rows, next := cut(rows, page, func(row db.Task) string { return fmt.Sprintf("%d.%d", row.Turn, row.Seq) })
	out := make([]keyturn.Task, len(rows))
	for i, row := range rows {
		if out[i], err = toTask(row); err != nil {
			return nil, "", fmt.Errorf("listing the tasks of rotation %s: %w", rotation, err)
		}
	}
	return out, next, s.nameTasks(ctx, out)
}

// checkCursor checks the cursor of a listing where it is an id.
func checkCursor(cursor string) error {
	if cursor == "" {
		return nil
	}
	if _, err := keyturn.ParseID(cursor); err != nil {
		return badCursor(cursor)
	}
	return nil
}

func badCursor(cursor string) error {
	return fmt.Errorf("%q is not where a page ended: use the cursor that came with the page before", cursor)
}

// parseTurn reads the cursor of a listing of tasks: TURN.SEQ.
func parseTurn(cursor string) (turn, seq int64, err error) {
	if cursor == "" {
		return 0, 0, nil
	}
	first, second, _ := strings.Cut(cursor, ".")
	turn, err1 := strconv.ParseInt(first, 10, 64)
	seq, err2 := strconv.ParseInt(second, 10, 64)
	if err1 != nil || err2 != nil {
		return 0, 0, badCursor(cursor)
	}
	return turn, seq, nil
}

// Units implements api.Reader.
func (s *Store) Units(ctx context.Context, f keyturn.UnitFilter) ([]keyturn.Unit, string, error) {
	rows, err := s.q.Units(ctx, s.read, db.UnitsParams{
		AfterID: f.Page.After, Target: f.Target, Project: f.Project, Cluster: f.Cluster, Name: f.Name, MaxRows: limit(f.Page) + 1,
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing units: %w", err)
	}
	rows, next := cut(rows, f.Page, func(row db.UnitsRow) string { return row.Unit.ID })
	out := make([]keyturn.Unit, len(rows))
	for i, row := range rows {
		out[i] = toUnit(row.Unit, row.UnitKey)
	}
	return out, next, s.nameUnits(ctx, out)
}

// History implements api.Reader. Records are in the order in which they were added.
func (s *Store) History(ctx context.Context, f keyturn.HistoryFilter) ([]keyturn.KeyRecord, string, error) {
	if err := checkCursor(f.Page.After); err != nil {
		return nil, "", err
	}
	rows, err := s.history(ctx, f)
	if err != nil {
		return nil, "", fmt.Errorf("listing the key history: %w", err)
	}
	rows, next := cut(rows, f.Page, func(row db.KeyHistory) string { return row.ID })
	out := make([]keyturn.KeyRecord, len(rows))
	for i, row := range rows {
		if out[i], err = toKeyRecord(row); err != nil {
			return nil, "", fmt.Errorf("listing the key history: %w", err)
		}
	}
	return out, next, s.nameRecords(ctx, out)
}

// history asks in the way for which there is an index.
func (s *Store) history(ctx context.Context, f keyturn.HistoryFilter) ([]db.KeyHistory, error) {
	rotation := ""
	if !f.Rotation.IsZero() {
		rotation = f.Rotation.String()
	}
	switch {
	case f.Unit != "":
		return s.q.HistoryOfUnits(ctx, s.read, db.HistoryOfUnitsParams{
			AfterID: f.Page.After, Unit: f.Unit, RotationID: rotation, MaxRows: limit(f.Page) + 1,
		})
	case rotation != "":
		return s.q.HistoryOfRotation(ctx, s.read, db.HistoryOfRotationParams{
			AfterID: f.Page.After, RotationID: text(rotation), MaxRows: limit(f.Page) + 1,
		})
	default:
		return s.q.History(ctx, s.read, db.HistoryParams{AfterID: f.Page.After, MaxRows: limit(f.Page) + 1})
	}
}

// limit is how many rows a page has at most.
func limit(p keyturn.Page) int64 {
	switch {
	case p.Limit <= 0:
		return 500
	case p.Limit > 1000:
		return 1000
	default:
		return int64(p.Limit)
	}
}

// cut takes the row off that was read only to know whether there is another page, and returns
// that page's cursor.
func cut[T any](rows []T, p keyturn.Page, cursor func(T) string) ([]T, string) {
	n := int(limit(p))
	if len(rows) <= n {
		return rows, ""
	}
	return rows[:n], cursor(rows[n-1])
}

// toRotation reads a row. A rotation in trouble says in which, not why it was asked for.
func toRotation(row db.Rotation) (keyturn.Rotation, error) {
	r := keyturn.Rotation{
		Policy: row.Policy, Target: row.Target, Trigger: keyturn.Trigger(row.Trigger), TriggerID: row.TriggerID.String,
		Slot: row.Slot.String, Reason: cmp.Or(row.Trouble, row.Reason), Trouble: row.Trouble, RequestedBy: row.RequestedBy, State: keyturn.RotationState(row.State),
		RequestedAt: toTime(row.RequestedAt), StartedAt: toTimePtr(row.StartedAt), FinishedAt: toTimePtr(row.FinishedAt),
		OpenedAt: toTimePtr(row.OpenedAt),
		Counts: keyturn.Counts{
			Total: int(row.Total), Succeeded: int(row.Succeeded), Failed: int(row.Failed), Skipped: int(row.Skipped), Parked: int(row.Parked),
		},
	}
	r.Halted, r.CancelledBy, r.CancelledAt = row.Halted != 0, row.CancelledBy, toTimePtr(row.CancelledAt)
	if row.RetryOf.Valid {
		r.RetryOf = new(keyturn.ID)
		if err := r.RetryOf.Scan(row.RetryOf.String); err != nil {
			return r, fmt.Errorf("reading what rotation %s retries: %w", row.ID, err)
		}
	}
	if row.Wave.Valid {
		r.Wave = &keyturn.Wave{Current: int(row.Wave.Int64), Total: int(row.Waves.Int64), NextAt: toTimePtr(row.NextWaveAt)}
	}
	if err := json.Unmarshal([]byte(row.OnlyUnits), &r.Only); err != nil {
		return r, fmt.Errorf("reading what narrows rotation %s: %w", row.ID, err)
	}
	return r, r.ID.Scan(row.ID)
}

func toTask(row db.Task) (keyturn.Task, error) {
	t := keyturn.Task{
		Unit: row.UnitID, State: keyturn.TaskState(row.State), Resolution: keyturn.Resolution(row.Resolution), Reason: row.Reason,
		Attempts: int(row.Attempts), KeyBefore: row.KeyBefore, KeyAfter: row.KeyAfter,
		StartedAt: toTimePtr(row.StartedAt), FinishedAt: toTimePtr(row.FinishedAt),
	}
	return t, errors.Join(t.ID.Scan(row.ID), t.Rotation.Scan(row.RotationID))
}

func toUnit(row db.Unit, key db.UnitKey) keyturn.Unit {
	return keyturn.Unit{
		ID: row.ID, Target: row.Target, System: keyturn.System(row.System), ProjectID: row.ProjectID, ProjectName: row.ProjectName,
		ClusterID: row.ClusterID, ClusterName: row.ClusterName, Component: keyturn.Component(row.Component), Name: row.Name,
		KeyID: key.KeyID, KeySince: toTimePtr(key.KeySince), KeySinceExact: key.KeyExact != 0,
		FCV: row.Fcv, Rotatable: row.Rotatable != 0, Reason: row.Reason,
	}
}

func toKeyRecord(row db.KeyHistory) (keyturn.KeyRecord, error) {
	k := keyturn.KeyRecord{
		Unit: row.UnitID, KeyID: row.KeyID, PreviousKeyID: row.PreviousKeyID, From: toTime(row.UsedFrom), Origin: keyturn.Origin(row.Origin),
	}
	if row.UsedUntil != 0 {
		until := toTime(row.UsedUntil)
		k.Until = &until
	}
	return k, errors.Join(k.ID.Scan(row.ID), k.Rotation.UnmarshalText([]byte(row.RotationID.String)), k.Task.UnmarshalText([]byte(row.TaskID.String)))
}

// KeyAges implements worker.FeedStore.
func (s *Store) KeyAges(ctx context.Context) ([]keyturn.KeyAge, error) {
	rows, err := s.q.KeyAges(ctx, s.read)
	if err != nil {
		return nil, fmt.Errorf("summing up the ages of keys: %w", err)
	}
	ages := make([]keyturn.KeyAge, len(rows))
	for i, r := range rows {
		ages[i] = keyturn.KeyAge{Target: r.Target, Units: int(r.Units), Unknown: int(r.Unknown)}
		if r.OldestSince > 0 {
			ages[i].Oldest = span(r.OldestSince, s.nowMS())
		}
	}
	return ages, nil
}
