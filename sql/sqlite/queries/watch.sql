-- What did not happen: slots that nobody fired, and rotations that stand still.

-- name: MissedPolicies :many
-- A policy whose slot could not be computed is looked at again within the minute: it counts as well.
SELECT policies.name, CAST(resources.spec ->> '$.target' AS TEXT) AS target, policies.next_local, policies.next_timezone, policies.next_at
FROM policies JOIN resources ON resources.kind = 'Policy' AND resources.name = policies.name
WHERE policies.wake_at IS NOT NULL AND policies.wake_at <= sqlc.arg(soon) AND policies.next_at < sqlc.arg(late)
    AND (policies.paused = 0 OR policies.paused_until < sqlc.arg(late))
    AND NOT EXISTS (SELECT 1 FROM rotations WHERE rotations.policy = policies.name
        AND rotations.slot = policies.next_local || ' ' || policies.next_timezone)
ORDER BY policies.next_at, policies.name
LIMIT sqlc.arg(max_rows);

-- name: StuckRotations :many
-- Rotations that may go on and in which nothing happened since a time. What holds one, or held it until
-- then, is no standstill: its windows, a pause, a held target, the rotation before it, a delay of all its tasks.
-- One whose plan is saved in part waits for the rest, too.
SELECT r.id, r.policy, r.target, r.state,
    CAST(max(r.requested_at, coalesce(r.started_at, 0), coalesce(r.opened_at, 0), coalesce((
        SELECT max(max(coalesce(t.started_at, 0), coalesce(t.intended_at, 0), coalesce(t.finished_at, 0))) FROM tasks AS t
        WHERE t.rotation_id = r.id), 0)) AS INTEGER) AS idle_since
FROM rotations AS r LEFT JOIN policies AS p ON p.name = r.policy LEFT JOIN targets AS g ON g.name = r.target
WHERE r.finished_at IS NULL AND r.requested_at < sqlc.arg(cutoff)
    AND (r.started_at IS NULL OR r.started_at < sqlc.arg(cutoff))
    AND (r.open_until IS NULL OR r.open_until > sqlc.arg(now)) AND (r.opened_at IS NULL OR r.opened_at < sqlc.arg(cutoff))
    AND coalesce(p.paused, 0) = 0 AND (p.resumed_at IS NULL OR p.resumed_at < sqlc.arg(cutoff))
    AND (g.hold_until IS NULL OR g.hold_until < sqlc.arg(cutoff))
    AND CASE WHEN r.state = 'running'
        THEN (EXISTS (SELECT 1 FROM tasks AS t WHERE t.rotation_id = r.id AND t.finished_at IS NULL AND t.not_before < sqlc.arg(cutoff))
                OR r.plan_turn IS NOT NULL AND (r.not_before IS NULL OR r.not_before < sqlc.arg(cutoff)))
            AND NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.rotation_id = r.id
                AND (t.finished_at >= sqlc.arg(cutoff) OR t.intended_at >= sqlc.arg(cutoff) OR t.started_at >= sqlc.arg(cutoff)))
        ELSE (r.not_before IS NULL OR r.not_before < sqlc.arg(cutoff))
            AND (r."trigger" <> 'schedule' OR NOT EXISTS (SELECT 1 FROM rotations AS o WHERE o.policy = r.policy
                AND o.id < r.id AND (o.finished_at IS NULL OR o.finished_at >= sqlc.arg(cutoff))))
        END
ORDER BY +r.id -- the plus keeps SQLite from reading all rotations in the order of their ids
LIMIT sqlc.arg(max_rows);

-- name: PastDeadlines :many
-- Policies of which a key gets too old before the next window opens.
SELECT policies.name, CAST(resources.spec ->> '$.target' AS TEXT) AS target, policies.deadline_at, policies.next_at
FROM policies JOIN resources ON resources.kind = 'Policy' AND resources.name = policies.name
WHERE policies.deadline_at IS NOT NULL AND policies.paused = 0
ORDER BY policies.deadline_at, policies.name
LIMIT sqlc.arg(max_rows);
