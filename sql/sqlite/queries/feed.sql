-- name: HandedTasks :one
SELECT count(*) FROM tasks
WHERE target = sqlc.arg(target) AND handed_at IS NOT NULL;

-- name: TargetHeldUntil :one
SELECT hold_until FROM targets WHERE name = sqlc.arg(name);

-- name: HoldTarget :exec
INSERT INTO targets (name, hold_until, hold_reason)
VALUES (sqlc.arg(name), sqlc.arg(hold_until), sqlc.arg(hold_reason))
ON CONFLICT (name) DO UPDATE SET hold_until = excluded.hold_until, hold_reason = excluded.hold_reason
WHERE targets.hold_until IS NULL OR targets.hold_until < excluded.hold_until;

-- name: Feeds :many
-- A rotation's newest comes first.
SELECT rotation_id, turn, seq FROM feeds WHERE target = sqlc.arg(target) ORDER BY rotation_id, turn DESC, seq DESC;

-- name: FeedsBefore :many
-- A rotation's newest comes first.
SELECT rotation_id, turn, seq, target FROM feeds WHERE handed_at < sqlc.arg(handed_before) ORDER BY rotation_id, turn DESC, seq DESC;

-- name: InsertFeed :exec
INSERT INTO feeds (rotation_id, turn, seq, target, handed_at)
VALUES (sqlc.arg(rotation_id), sqlc.arg(turn), sqlc.arg(seq), sqlc.arg(target), sqlc.arg(handed_at));

-- name: RemoveFeeds :exec
DELETE FROM feeds WHERE rotation_id = sqlc.arg(rotation_id) AND turn < sqlc.arg(turn);

-- name: FedTasks :one
-- How many tasks that the feeds handed out are open, and the least of their turns (0: there is none).
SELECT count(*) AS n, CAST(coalesce(min(turn), 0) AS INTEGER) AS low FROM tasks
WHERE rotation_id = sqlc.arg(rotation_id) AND finished_at IS NULL AND back IS NULL AND handed_at IS NULL
    AND turn <= sqlc.arg(turn) AND (turn < sqlc.arg(turn) OR seq <= sqlc.arg(seq));

-- name: RequeueHanded :exec
UPDATE tasks SET back = state, handed_at = NULL
WHERE handed_at IS NOT NULL AND handed_at < sqlc.arg(handed_before)
    AND (lease_until IS NULL OR lease_until <= sqlc.arg(now))
    AND (state = 'intended' OR target NOT IN (sqlc.slice(busy)));

-- name: RequeueFed :exec
UPDATE tasks SET back = state
WHERE rotation_id = sqlc.arg(rotation_id) AND finished_at IS NULL AND back IS NULL AND handed_at IS NULL
    AND turn <= sqlc.arg(turn) AND (turn < sqlc.arg(turn) OR seq <= sqlc.arg(seq))
    AND (lease_until IS NULL OR lease_until <= sqlc.arg(now))
    AND (state = 'intended' OR target <> CAST(sqlc.arg(spared) AS TEXT));

-- name: FeedableRotations :many
-- Rotations of the target whose pending tasks may be handed out, oldest first.
SELECT rotations.id, rotations.policy, CAST(coalesce(rotations.turn_limit, 9223372036854775807) AS INTEGER) AS turn_limit,
    CAST(rotations.plan_turn IS NOT NULL AS INTEGER) AS unsaved
FROM rotations LEFT JOIN policies ON policies.name = rotations.policy
WHERE rotations.target = sqlc.arg(target) AND rotations.state = 'running' AND NOT rotations.halted AND coalesce(policies.paused, 0) = 0
    AND (rotations.open_until IS NULL OR rotations.open_until > sqlc.arg(now))
ORDER BY rotations.id;

-- name: PlannedTasks :many
-- Planned tasks after a place. They have been due since they were planned.
SELECT seq, id, unit_id, turn, failures FROM tasks
WHERE rotation_id = sqlc.arg(rotation_id) AND finished_at IS NULL AND back IS NULL AND handed_at IS NULL
    AND turn >= sqlc.arg(turn) AND turn <= sqlc.arg(turn_limit) AND (turn > sqlc.arg(turn) OR seq > sqlc.arg(seq)) AND state = 'pending'
ORDER BY turn, seq
LIMIT sqlc.arg(max_rows);

-- name: PlannedTaskBehind :one
-- A planned task behind a place, with others in between.
SELECT seq FROM tasks
WHERE rotation_id = sqlc.arg(rotation_id) AND finished_at IS NULL AND back IS NULL AND handed_at IS NULL
    AND turn >= sqlc.arg(turn) AND turn <= sqlc.arg(turn_limit) AND (turn > sqlc.arg(turn) OR seq > sqlc.arg(seq))
ORDER BY turn, seq
LIMIT 1 OFFSET sqlc.arg(between);

-- name: ReturnedTasks :many
SELECT seq, id, unit_id, turn, failures FROM tasks
WHERE rotation_id = sqlc.arg(rotation_id) AND back = 'pending' AND not_before <= sqlc.arg(now) AND turn <= sqlc.arg(turn_limit)
ORDER BY turn, seq
LIMIT sqlc.arg(max_rows);

-- name: OrphanedTasks :many
-- Open intents that nobody works on. They are worked on whatever became of their rotation or policy.
SELECT tasks.seq, tasks.id, tasks.unit_id, tasks.turn, tasks.failures, tasks.rotation_id, rotations.policy
FROM tasks CROSS JOIN rotations ON rotations.id = tasks.rotation_id
WHERE tasks.target = sqlc.arg(target) AND tasks.back = 'intended' AND tasks.not_before <= sqlc.arg(now)
    AND (tasks.lease_until IS NULL OR tasks.lease_until <= sqlc.arg(leased))
ORDER BY tasks.turn, tasks.seq
LIMIT sqlc.arg(max_rows);

-- name: HandTask :exec
UPDATE tasks SET handed_at = sqlc.arg(now), back = NULL WHERE seq = sqlc.arg(seq);

-- name: FreeTargets :many
SELECT name FROM targets WHERE hold_until IS NULL OR hold_until <= sqlc.arg(now) ORDER BY name;
