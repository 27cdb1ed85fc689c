package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// Feeding is two statements in one round trip, which sqlc can't express: the second must begin after the
// lock is ours, or it would count what is handed out as it was before the feeder before us committed.
// The lock is on the target's name, lives as long as the transaction and needs no row.
// To plan the second takes longer than to carry it out, and it is the same plan for every target.
const (
	lockFeed = `SELECT set_config('keyturn.feeding', pg_try_advisory_xact_lock(hashtextextended('keyturn.feed/' || $1, 0))::text, true),
	set_config('plan_cache_mode', 'force_generic_plan', true)`

	feed = `
WITH clock AS MATERIALIZED (
    SELECT coalesce($3::timestamptz, clock_timestamp()) AS at
), fed AS MATERIALIZED (
    SELECT DISTINCT ON (f.rotation_id) f.rotation_id, f.turn, f.task_id FROM feeds f
    WHERE f.target = $1 ORDER BY f.rotation_id, f.turn DESC, f.task_id DESC
), out AS MATERIALIZED (
    -- Ordered and limited, the count walks the index and cleans it of dead entries as it goes.
    SELECT f.rotation_id, coalesce(o.low, f.turn) AS low, o.n FROM fed f CROSS JOIN LATERAL (
        SELECT min(w.turn) AS low, count(*) AS n FROM (
            SELECT t.turn FROM tasks t
            WHERE t.rotation_id = f.rotation_id AND t.finished_at IS NULL AND (t.turn, t.id) <= (f.turn, f.task_id)
                AND t.back IS NULL AND t.handed_at IS NULL
            ORDER BY t.turn, t.id LIMIT $2) w
    ) o
), room AS MATERIALIZED (
    SELECT greatest(0, $2::bigint - coalesce((SELECT sum(n) FROM out), 0) - (SELECT count(*) FROM (
        SELECT FROM tasks t WHERE t.target = $1 AND t.handed_at IS NOT NULL ORDER BY t.handed_at LIMIT $2) h)) AS n
    FROM clock LEFT JOIN targets g ON g.name = $1
    WHERE current_setting('keyturn.feeding') = 'true' AND (g.hold_until IS NULL OR g.hold_until <= clock.at)
), running AS MATERIALIZED (
    SELECT r.id, coalesce(f.turn, 0) AS turn, coalesce(f.task_id, r.id) AS task_id, coalesce(r.turn_limit, 2147483647) AS turn_limit,
        r.plan_turn IS NOT NULL AS unsaved
    FROM clock CROSS JOIN rotations r LEFT JOIN policies p ON p.name = r.policy LEFT JOIN fed f ON f.rotation_id = r.id
    WHERE r.target = $1 AND r.state = 'running' AND NOT r.halted AND NOT coalesce(p.paused, false)
        AND (r.open_until IS NULL OR r.open_until > clock.at)
), chosen AS MATERIALIZED (
    SELECT d.* FROM (
        SELECT w.*, false AS alone
        FROM room CROSS JOIN running r CROSS JOIN LATERAL (
            SELECT t.id, t.turn, t.rotation_id, t.unit_id, t.state, t.failures FROM tasks t
            WHERE t.rotation_id = r.id AND t.finished_at IS NULL AND (t.turn, t.id) > (r.turn, r.task_id)
                AND t.turn <= r.turn_limit AND t.state = 'pending' AND t.back IS NULL AND t.handed_at IS NULL
            ORDER BY t.turn, t.id LIMIT room.n
        ) w
        UNION ALL
        SELECT w.*, true
        FROM clock CROSS JOIN room CROSS JOIN running r CROSS JOIN LATERAL (
            SELECT t.id, t.turn, t.rotation_id, t.unit_id, t.state, t.failures FROM tasks t
            WHERE t.rotation_id = r.id AND t.back = 'pending' AND t.not_before <= clock.at AND t.turn <= r.turn_limit
            ORDER BY t.turn, t.id LIMIT room.n
        ) w
        UNION ALL
        SELECT w.*, true
        FROM clock CROSS JOIN room CROSS JOIN LATERAL (
            -- Whatever became of its rotation: the outcome of an open intent must be found out.
            SELECT t.id, t.turn, t.rotation_id, t.unit_id, t.state, t.failures FROM tasks t
            WHERE t.target = $1 AND t.back = 'intended' AND t.not_before <= clock.at
                AND (t.lease_until IS NULL OR t.lease_until < clock.at)
            ORDER BY t.turn, t.id LIMIT room.n
        ) w
    ) d ORDER BY d.turn, d.id LIMIT (SELECT n FROM room)
), more AS MATERIALIZED (
    SELECT (SELECT r.unsaved FROM running r WHERE r.id = c.rotation_id) OR (SELECT true FROM tasks t
        WHERE t.rotation_id = c.rotation_id AND t.finished_at IS NULL AND (t.turn, t.id) > (c.turn, c.id)
            AND t.turn <= (SELECT r.turn_limit FROM running r WHERE r.id = c.rotation_id) AND t.back IS NULL AND t.handed_at IS NULL
        ORDER BY t.turn, t.id LIMIT 1 OFFSET greatest($2 / 16, 1) - 1) AS more
    FROM (SELECT DISTINCT ON (c.rotation_id) c.rotation_id, c.turn, c.id FROM chosen c
        WHERE NOT c.alone ORDER BY c.rotation_id, c.turn DESC, c.id DESC) c
), marked AS (
    UPDATE tasks t SET handed_at = clock.at, back = NULL FROM chosen c, clock
    WHERE c.alone AND t.id = c.id AND t.back IS NOT NULL
    RETURNING t.id, t.turn, t.rotation_id, t.unit_id, t.state, t.failures
), moved AS (
    INSERT INTO feeds (target, rotation_id, turn, task_id, handed_at)
    SELECT DISTINCT ON (c.rotation_id) $1, c.rotation_id, c.turn, c.id, clock.at FROM chosen c, clock
    WHERE NOT c.alone ORDER BY c.rotation_id, c.turn DESC, c.id DESC
), past AS (
    DELETE FROM feeds f USING out o, room WHERE f.target = $1 AND f.rotation_id = o.rotation_id AND f.turn < o.low
)
SELECT h.id, h.rotation_id, h.unit_id, h.state, h.failures, clock.at,
    -- A policy that is gone can't say any more that a second change is welcome.
    CASE WHEN s.name IS NULL THEN 'park' ELSE coalesce(nullif(s.spec ->> 'uncertain', ''), 'reapply') END AS uncertain,
    coalesce((SELECT g.generation FROM resources g WHERE g.kind = 'Target' AND g.name = $1), 0) AS generation,
    h.alone, (SELECT coalesce(bool_or(m.more), false) FROM more m) AS more
FROM (
    SELECT id, turn, rotation_id, unit_id, state, failures, alone FROM chosen WHERE NOT alone
    UNION ALL
    SELECT id, turn, rotation_id, unit_id, state, failures, true FROM marked
) h CROSS JOIN clock JOIN rotations r ON r.id = h.rotation_id LEFT JOIN resources s ON s.kind = 'Policy' AND s.name = r.policy
ORDER BY h.turn, h.id`
)

// Feed hands out due tasks of the target, at most window at a time, and returns them. What was planned
// is handed out by a row that says how far; only what was put back is marked by itself.
func (s *Store) Feed(ctx context.Context, target string, window int) (keyturn.Fed, error) {
	fed, err := retry(ctx, func() (keyturn.Fed, error) {
		var batch pgx.Batch
		batch.Queue(lockFeed, target)
		batch.Queue(feed, target, window, s.clock())
		results := s.pool.SendBatch(ctx, &batch)
		fed, err := readFed(results)
		if closed := results.Close(); err == nil {
			err = closed
		}
		return fed, away(err)
	})
	if err != nil {
		return keyturn.Fed{}, fmt.Errorf("feeding target %s: %w", target, err)
	}
	return fed, nil
}

func readFed(results pgx.BatchResults) (keyturn.Fed, error) {
	if _, err := results.Exec(); err != nil {
		return keyturn.Fed{}, err
	}
	rows, err := results.Query()
	if err != nil {
		return keyturn.Fed{}, err
	}
	var fed keyturn.Fed
	fed.Tasks, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (keyturn.QueuedTask, error) {
		var t keyturn.QueuedTask
		var handed time.Time
		err := row.Scan(&t.Task, &t.Rotation, &t.Unit, &t.State, &t.Failures, &handed, &t.Uncertain, &t.Generation, &t.Returned, &fed.More)
		t.Handed = handed.UnixMilli()
		return t, err
	})
	return fed, err
}

// Requeue makes tasks available again that were handed out longer than age ago and that nobody holds,
// except pending ones of busy targets.
// It returns the targets that have tasks to feed and are not held, in the order of their names.
func (s *Store) Requeue(ctx context.Context, age time.Duration, busy []string) ([]string, error) {
	_, err := retry(ctx, func() (struct{}, error) {
		return struct{}{}, s.q.Requeue(ctx, s.pool, db.RequeueParams{Now: s.clock(), Age: micros(age), Busy: append([]string{}, busy...)})
	})
	if err != nil {
		return nil, fmt.Errorf("requeueing lost tasks: %w", err)
	}
	targets, err := s.q.TargetsToFeed(ctx, s.pool, s.clock())
	if err != nil {
		return nil, fmt.Errorf("finding targets to feed: %w", err)
	}
	return targets, nil
}

// Hold keeps a target's tasks from being handed out. A shorter hold does not shorten a longer one.
func (s *Store) Hold(ctx context.Context, target, reason string, hold time.Duration) error {
	err := s.q.Hold(ctx, s.pool, db.HoldParams{Target: target, Now: s.clock(), Hold: micros(hold), Reason: clean(reason)})
	if err != nil {
		return fmt.Errorf("holding target %s: %w", target, err)
	}
	return nil
}

// Unplanned returns rotations that wait for a planner, oldest first.
func (s *Store) Unplanned(ctx context.Context, limit int) ([]keyturn.ID, error) {
	ids, err := s.q.Unplanned(ctx, s.pool, db.UnplannedParams{Max: int32Of(limit), Now: s.clock()})
	if err != nil {
		return nil, fmt.Errorf("finding rotations to plan: %w", err)
	}
	return ids, nil
}
