-- Feed itself is written in Go (storage/postgres/feed.go): it is two statements in one round trip.

-- name: Requeue :exec
-- Rows that are locked are being worked on: they are left alone.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), lost AS MATERIALIZED (
    SELECT t.id FROM tasks t, clock
    WHERE t.handed_at < clock.at - sqlc.arg('age')::bigint * interval '1 microsecond' AND (t.lease_until IS NULL OR t.lease_until < clock.at)
    ORDER BY t.id FOR UPDATE OF t SKIP LOCKED
)
UPDATE tasks SET handed_at = NULL FROM lost WHERE tasks.id = lost.id;

-- name: TargetsToFeed :many
-- The probes are scalar subqueries, so that each stops at the first task it finds.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
SELECT g.name FROM targets g, clock
WHERE (g.hold_until IS NULL OR g.hold_until <= clock.at) AND (
    (SELECT t.id FROM tasks t
        WHERE t.target = g.name AND t.state = 'intended' AND t.handed_at IS NULL AND t.not_before <= clock.at
            AND (t.lease_until IS NULL OR t.lease_until < clock.at)
        LIMIT 1) IS NOT NULL
    OR (SELECT r.id FROM rotations r LEFT JOIN policies p ON p.name = r.policy
        WHERE r.target = g.name AND r.state = 'running' AND NOT coalesce(p.paused, false)
            AND (SELECT t.id FROM tasks t
                WHERE t.rotation_id = r.id AND t.state = 'pending' AND t.handed_at IS NULL AND t.not_before <= clock.at
                ORDER BY t.turn, t.id LIMIT 1) IS NOT NULL
        LIMIT 1) IS NOT NULL)
ORDER BY g.name;

-- name: Hold :exec
INSERT INTO targets AS g (name, hold_until, hold_reason)
VALUES (sqlc.arg('target'), coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) + sqlc.arg('hold')::bigint * interval '1 microsecond', sqlc.arg('reason'))
ON CONFLICT (name) DO UPDATE SET hold_until = excluded.hold_until, hold_reason = excluded.hold_reason
WHERE g.hold_until IS NULL OR g.hold_until < excluded.hold_until;
