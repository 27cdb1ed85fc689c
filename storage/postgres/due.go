package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// These two statements are written by hand because sqlc knows no ctid, the place of a row: to find a row that
// was just read by its place spares an index of all policies: docs/performance.md has what that is worth. A row that is locked stays in its
// place until the transaction that has locked it updates it:
// https://www.postgresql.org/docs/current/ddl-system-columns.html

// duePolicies finds and locks what is due before anything is joined to it: the work must not grow with what exists.
const duePolicies = `-- name: DuePolicies
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::timestamptz, clock_timestamp()) AS at
), due AS MATERIALIZED (
    SELECT p.name, p.paused, p.next_local, p.next_timezone, p.next_at, p.ctid AS place
    FROM policies p
    WHERE p.wake_at <= (SELECT at FROM clock) AND (p.paused_until IS NULL OR p.paused_until > (SELECT at FROM clock))
    ORDER BY p.wake_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
SELECT d.name, d.paused, d.next_local, d.next_timezone, d.next_at, d.place::text,
    (SELECT r.id FROM rotations r WHERE r.policy = d.name AND r.finished_at IS NULL LIMIT 1) IS NOT NULL,
    s.spec, s.generation, (SELECT at FROM clock)
FROM due d CROSS JOIN LATERAL (
    SELECT r.spec, r.generation FROM resources r WHERE r.kind = 'Policy' AND r.name = d.name LIMIT 1
) s`

// duePolicy is a policy whose slot has come.
type duePolicy struct {
	name                    string
	paused                  bool
	nextLocal, nextTimezone string
	nextAt                  time.Time
	place                   string
	underWay                bool
	spec                    []byte
	generation              int64
	now                     time.Time
}

func (s *Store) duePolicies(ctx context.Context, tx pgx.Tx, limit int) ([]duePolicy, error) {
	rows, err := tx.Query(ctx, duePolicies, s.clock(), int32Of(limit))
	if err != nil {
		return nil, fmt.Errorf("claiming policies: %w", err)
	}
	due, err := pgx.AppendRows(make([]duePolicy, 0, limit), rows, func(row pgx.CollectableRow) (d duePolicy, err error) {
		err = row.Scan(&d.name, &d.paused, &d.nextLocal, &d.nextTimezone, &d.nextAt, &d.place, &d.underWay, &d.spec, &d.generation, &d.now)
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("claiming policies: %w", err)
	}
	return due, nil
}

// advancePolicies moves policies on to their next slot. A slot without a time ends the policy's schedule.
const advancePolicies = `-- name: AdvancePolicies
WITH slot AS MATERIALIZED (
    SELECT unnest($1::text[])::tid AS place, unnest($2::text[]) AS name, unnest($3::timestamptz[]) AS was,
        unnest($4::text[]) AS local, unnest($5::text[]) AS timezone,
        unnest($6::timestamptz[]) AS at, unnest($7::timestamptz[]) AS wake, unnest($8::boolean[]) AS ends,
        nullif(unnest($9::timestamptz[]), 'epoch') AS deadline -- epoch: none
)
UPDATE policies p SET
    next_local = CASE WHEN NOT s.ends THEN s.local END, next_timezone = CASE WHEN NOT s.ends THEN s.timezone END,
    next_at = CASE WHEN NOT s.ends THEN s.at END, wake_at = CASE WHEN NOT s.ends THEN s.wake END,
    deadline_at = s.deadline
FROM slot s WHERE p.ctid = s.place AND p.name = s.name AND p.next_at = s.was`

// advance holds the columns of advancePolicies.
type advance struct {
	places, names     []string
	was               []time.Time
	locals, timezones []string
	ats, wakes        []time.Time
	ends              []bool
	deadlines         []time.Time
}

func (s *Store) advancePolicies(ctx context.Context, tx pgx.Tx, a *advance) error {
	tag, err := tx.Exec(ctx, advancePolicies, a.places, a.names, a.was, a.locals, a.timezones, a.ats, a.wakes, a.ends, a.deadlines)
	if err != nil {
		return fmt.Errorf("advancing policies: %w", err)
	}
	if got := tag.RowsAffected(); got != int64(len(a.names)) { // or their slots would come again
		return fmt.Errorf("advancing policies: %d of %d rows were in their places", got, len(a.names))
	}
	return nil
}
