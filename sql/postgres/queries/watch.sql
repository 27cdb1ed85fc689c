-- What did not happen: slots that nobody fired, and rotations that stand still.

-- name: MissedPolicies :many
-- A policy whose slot could not be computed is looked at again within the minute: it counts as well.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
SELECT p.name, (s.spec ->> 'target')::text AS target, p.next_local::text AS next_local, p.next_timezone::text AS next_timezone, p.next_at::timestamptz AS next_at,
    (SELECT at FROM clock)::timestamptz AS now
FROM policies p JOIN resources s ON s.kind = 'Policy' AND s.name = p.name
WHERE p.wake_at <= (SELECT at FROM clock) + interval '1 minute'
    AND p.next_at < (SELECT at FROM clock) - sqlc.arg('grace')::bigint * interval '1 microsecond'
    AND (NOT p.paused OR p.paused_until < (SELECT at FROM clock) - sqlc.arg('grace')::bigint * interval '1 microsecond')
    AND NOT EXISTS (SELECT 1 FROM rotations r WHERE r.policy = p.name AND r.slot = p.next_local || ' ' || p.next_timezone)
ORDER BY p.next_at, p.name LIMIT sqlc.arg('max');

-- name: StuckRotations :many
-- Rotations that may go on and in which nothing happened since a time. What holds one, or held it until
-- then, is no standstill: its windows, a pause, a held target, the rotation before it, a delay of all its tasks.
-- One whose plan is saved in part waits for the rest, too.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), since AS MATERIALIZED (
    SELECT clock.at, clock.at - sqlc.arg('after')::bigint * interval '1 microsecond' AS cutoff FROM clock
)
SELECT r.id, r.policy, r.target, r.state, since.at::timestamptz AS now,
    greatest(r.requested_at, r.started_at, r.opened_at, CASE WHEN r.state = 'running' THEN
        (SELECT max(greatest(t.started_at, t.intended_at, t.finished_at)) FROM tasks t WHERE t.rotation_id = r.id) END)::timestamptz AS idle_since
FROM since CROSS JOIN rotations r LEFT JOIN policies p ON p.name = r.policy LEFT JOIN targets g ON g.name = r.target
WHERE r.finished_at IS NULL AND r.requested_at < since.cutoff
    AND coalesce(r.started_at < since.cutoff, true)
    AND (r.open_until IS NULL OR r.open_until > since.at) AND coalesce(r.opened_at < since.cutoff, true)
    AND NOT coalesce(p.paused, false) AND coalesce(p.resumed_at < since.cutoff, true)
    AND coalesce(g.hold_until < since.cutoff, true)
    AND CASE WHEN r.state = 'running'
        THEN (EXISTS (SELECT 1 FROM tasks t WHERE t.rotation_id = r.id AND t.finished_at IS NULL AND t.not_before < since.cutoff)
                OR r.plan_turn IS NOT NULL AND coalesce(r.not_before < since.cutoff, true))
            AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.rotation_id = r.id
                AND (t.finished_at >= since.cutoff OR t.intended_at >= since.cutoff OR t.started_at >= since.cutoff))
        ELSE coalesce(r.not_before < since.cutoff, true)
            AND (r.trigger <> 'schedule' OR NOT EXISTS (SELECT 1 FROM rotations o WHERE o.policy = r.policy
                AND (o.requested_at, o.id) < (r.requested_at, r.id) AND (o.finished_at IS NULL OR o.finished_at >= since.cutoff)))
        END
ORDER BY r.requested_at, r.id LIMIT sqlc.arg('max');

-- name: PastDeadlines :many
-- Policies of which a key gets too old before the next window opens.
SELECT p.name, (s.spec ->> 'target')::text AS target, p.deadline_at::timestamptz AS deadline_at, coalesce(p.next_at, 'epoch')::timestamptz AS next_at
FROM policies p JOIN resources s ON s.kind = 'Policy' AND s.name = p.name
WHERE p.deadline_at IS NOT NULL AND NOT p.paused
ORDER BY p.deadline_at, p.name LIMIT sqlc.arg('max');
