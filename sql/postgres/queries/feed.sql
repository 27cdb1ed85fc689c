-- Feed itself is written in Go (storage/postgres/feed.go): it is two statements in one round trip.

-- name: Requeue :exec
-- Rows that are locked are being worked on: they are left alone. What was handed out by a feed is behind
-- its rotation's newest feed that is old enough.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), old AS MATERIALIZED (
    SELECT DISTINCT ON (f.target, f.rotation_id) f.rotation_id, f.turn, f.task_id FROM feeds f, clock
    WHERE f.handed_at < clock.at - sqlc.arg('age')::bigint * interval '1 microsecond'
    ORDER BY f.target, f.rotation_id, f.turn DESC, f.task_id DESC
), fed AS MATERIALIZED (
    SELECT t.id FROM old CROSS JOIN LATERAL (
        SELECT o.id FROM tasks o
        WHERE o.rotation_id = old.rotation_id AND o.finished_at IS NULL AND (o.turn, o.id) <= (old.turn, old.task_id)
            AND o.back IS NULL AND o.handed_at IS NULL
        ORDER BY o.turn, o.id
    ) t
    UNION ALL
    SELECT t.id FROM tasks t, clock WHERE t.handed_at < clock.at - sqlc.arg('age')::bigint * interval '1 microsecond'
), lost AS MATERIALIZED (
    SELECT t.id FROM fed JOIN tasks t ON t.id = fed.id, clock
    WHERE t.finished_at IS NULL AND t.back IS NULL AND (t.lease_until IS NULL OR t.lease_until < clock.at)
        AND (t.state = 'intended' OR t.target <> ALL (sqlc.arg('busy')::text[]))
    ORDER BY t.id FOR UPDATE OF t SKIP LOCKED
)
UPDATE tasks SET back = tasks.state, handed_at = NULL FROM lost WHERE tasks.id = lost.id;

-- name: TargetsToFeed :many
-- The probes are scalar subqueries, so that each stops at the first task it finds.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
SELECT g.name FROM targets g, clock
WHERE (g.hold_until IS NULL OR g.hold_until <= clock.at) AND (
    (SELECT t.id FROM tasks t
        WHERE t.target = g.name AND t.back = 'intended' AND t.not_before <= clock.at
            AND (t.lease_until IS NULL OR t.lease_until < clock.at)
        LIMIT 1) IS NOT NULL
    OR (SELECT r.id FROM rotations r LEFT JOIN policies p ON p.name = r.policy
        LEFT JOIN LATERAL (
            SELECT c.turn, c.task_id FROM feeds c
            WHERE c.target = r.target AND c.rotation_id = r.id ORDER BY c.turn DESC, c.task_id DESC LIMIT 1
        ) f ON true
        WHERE r.target = g.name AND r.state = 'running' AND NOT r.halted AND NOT coalesce(p.paused, false)
            AND (r.open_until IS NULL OR r.open_until > clock.at)
            AND ((SELECT t.id FROM tasks t
                WHERE t.rotation_id = r.id AND t.back = 'pending' AND t.not_before <= clock.at
                    AND t.turn <= coalesce(r.turn_limit, 2147483647) LIMIT 1) IS NOT NULL
            OR (SELECT t.id FROM tasks t
                WHERE t.rotation_id = r.id AND t.finished_at IS NULL
                    AND (t.turn, t.id) > (coalesce(f.turn, 0), coalesce(f.task_id, r.id))
                    AND t.turn <= coalesce(r.turn_limit, 2147483647)
                    AND t.state = 'pending' AND t.back IS NULL AND t.handed_at IS NULL
                ORDER BY t.turn, t.id LIMIT 1) IS NOT NULL)
        LIMIT 1) IS NOT NULL)
ORDER BY g.name;

-- name: Hold :exec
INSERT INTO targets AS g (name, hold_until, hold_reason)
VALUES (sqlc.arg('target'), coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) + sqlc.arg('hold')::bigint * interval '1 microsecond', sqlc.arg('reason'))
ON CONFLICT (name) DO UPDATE SET hold_until = excluded.hold_until, hold_reason = excluded.hold_reason
WHERE g.hold_until IS NULL OR g.hold_until < excluded.hold_until;
