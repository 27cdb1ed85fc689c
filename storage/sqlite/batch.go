package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn"
)

// The statements in this file are written by hand because sqlc's SQLite parser
// does not know json_each, with which one statement reads any number of rows.

// forIntend reads what decides about intents. It is read under the write lock.
const forIntend = `
SELECT t.seq, t.id, t.unit_id, t.state, t.epoch, r.state, coalesce(p.paused, 0) OR r.halted OR coalesce(r.open_until <= ?2, 0),
    k.key_exact AND k.key_since > r.requested_at,
    r.min_interval > 0 AND k.turned_at > ?2 - r.min_interval,
    EXISTS (SELECT 1 FROM tasks o WHERE o.unit_id = t.unit_id AND o.state = 'intended'),
    t.back IS NOT NULL OR (t.handed_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM feeds f WHERE f.rotation_id = t.rotation_id AND (f.turn, f.seq) >= (t.turn, t.seq)))
FROM json_each(?1) ids
CROSS JOIN tasks t ON t.id = ids.value
CROSS JOIN rotations r ON r.id = t.rotation_id
CROSS JOIN unit_keys k ON k.unit_id = t.unit_id
LEFT JOIN policies p ON p.name = r.policy`

// intending is a task that wants to record an intent.
type intending struct {
	seq      int64
	unit     string
	state    keyturn.TaskState
	epoch    int64
	rotation keyturn.RotationState
	held     bool // the policy is paused, its windows are closed, or its rotation was stopped
	turned   bool // the unit's key is newer than the rotation's request
	soon     bool // the unit was turned less than the policy's least interval ago
	busy     bool // an intent is open on the unit
	loose    bool // nobody handed it out, or not since it was put back
}

func (t *tx) intending(ctx context.Context, ids []keyturn.ID) (map[string]*intending, error) {
	out := make(map[string]*intending, len(ids))
	err := t.each(ctx, forIntend, ids, func(rows *sql.Rows) error {
		var id string
		var task intending
		var turned, soon sql.NullBool
		if err := rows.Scan(&task.seq, &id, &task.unit, &task.state, &task.epoch, &task.rotation, &task.held, &turned, &soon, &task.busy, &task.loose); err != nil {
			return err
		}
		task.turned, task.soon = turned.Bool, soon.Bool
		out[id] = &task
		return nil
	}, t.now)
	return out, err
}

// forFinish reads what decides about results.
const forFinish = `
SELECT t.seq, t.id, t.rotation_id, t.unit_id, t.state, t.epoch, t.key_before, coalesce(t.intended_at, 0), t.started_at, t.attempts, k.key_id,
    t.back IS NULL AND t.handed_at IS NULL, t.owner <> ''
FROM json_each(?1) ids CROSS JOIN tasks t ON t.id = ids.value CROSS JOIN unit_keys k ON k.unit_id = t.unit_id`

// finishing is a task that has a result.
type finishing struct {
	seq                int64
	id, rotation, unit string
	taskID, rotationID keyturn.ID
	state              keyturn.TaskState
	epoch              int64
	keyBefore          string
	intendedAt         int64
	startedAt          sql.NullInt64
	attempts           int64
	unitKey            string // the unit's key as far as the history knows
	first              bool   // it was never put back, nor handed out by itself
	held               bool   // it has an owner, whom a result takes away
	taken              bool   // it has a result already, of the same batch
}

func (t *tx) finishing(ctx context.Context, ids []keyturn.ID) (map[string]*finishing, error) {
	out := make(map[string]*finishing, len(ids))
	err := t.each(ctx, forFinish, ids, func(rows *sql.Rows) error {
		var task finishing
		if err := rows.Scan(&task.seq, &task.id, &task.rotation, &task.unit, &task.state, &task.epoch, &task.keyBefore,
			&task.intendedAt, &task.startedAt, &task.attempts, &task.unitKey, &task.first, &task.held); err != nil {
			return err
		}
		out[task.id] = &task
		var err error
		if task.taskID, err = keyturn.ParseID(task.id); err != nil {
			return err
		}
		task.rotationID, err = keyturn.ParseID(task.rotation)
		return err
	})
	return out, err
}

// What announcements tell of tasks. Their key records are found by way of the units, which have an index.
const (
	announcedTasks = `
SELECT t.id, t.rotation_id, t.unit_id, t.state, t.resolution, t.reason, t.attempts, t.key_before, t.key_after, t.started_at, t.finished_at
FROM json_each(?1) ids CROSS JOIN tasks t ON t.id = ids.value
ORDER BY ids.key`
	announcedRecords = `
SELECT k.id, k.unit_id, k.key_id, k.previous_key_id, k.used_from,
    coalesce(lead(k.used_from) OVER (PARTITION BY k.task_id ORDER BY k.id), 0), k.origin, k.rotation_id, k.task_id
FROM json_each(?1) ids CROSS JOIN tasks t ON t.id = ids.value CROSS JOIN key_records k ON k.unit_id = t.unit_id AND k.task_id = t.id
ORDER BY k.id`
)

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (t *tx) each(ctx context.Context, query string, ids []keyturn.ID, scan func(*sql.Rows) error, more ...any) error {
	return each(ctx, t, query, ids, scan, more...)
}

// each runs a query over ids, its first argument, and more, and calls scan for each row.
func each(ctx context.Context, on querier, query string, ids []keyturn.ID, scan func(*sql.Rows) error, more ...any) error {
	return eachRow(ctx, on, query, scan, append([]any{jsonIDs(ids)}, more...)...)
}

// eachRow runs a query and calls scan for each row.
func eachRow(ctx context.Context, on querier, query string, scan func(*sql.Rows) error, args ...any) error {
	rows, err := on.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells what went wrong
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("reading a row: %w", err)
		}
	}
	return rows.Err()
}

// jsonIDs writes ids as a JSON array.
func jsonIDs(ids []keyturn.ID) string {
	var b strings.Builder
	b.Grow(2 + 39*len(ids))
	b.WriteByte('[')
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(id.String())
		b.WriteByte('"')
	}
	b.WriteByte(']')
	return b.String()
}
