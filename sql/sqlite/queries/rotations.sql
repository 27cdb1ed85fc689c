-- name: Rotation :one
SELECT * FROM rotations WHERE id = sqlc.arg(id);

-- name: RotationOfSlot :one
SELECT * FROM rotations WHERE policy = sqlc.arg(policy) AND slot = sqlc.arg(slot);

-- name: RotationOfTrigger :one
SELECT * FROM rotations WHERE trigger_id = sqlc.arg(trigger_id);

-- name: Rotations :many
-- Newest first: ids sort by time.
SELECT * FROM rotations
WHERE (sqlc.arg(before_id) = '' OR id < sqlc.arg(before_id))
    AND (sqlc.arg(policy) = '' OR policy = sqlc.arg(policy))
    AND (sqlc.arg(state) = '' OR state = sqlc.arg(state))
    AND id >= sqlc.arg(from_id) AND requested_at >= sqlc.arg(from_time) AND requested_at < sqlc.arg(to_time)
ORDER BY id DESC
LIMIT sqlc.arg(max_rows);

-- name: CountTasks :one
SELECT count(*) AS total,
    count(CASE WHEN state = 'succeeded' THEN 1 END) AS succeeded,
    count(CASE WHEN state = 'failed' THEN 1 END) AS failed,
    count(CASE WHEN state = 'skipped' THEN 1 END) AS skipped,
    count(CASE WHEN state = 'parked' THEN 1 END) AS parked
FROM tasks WHERE rotation_id = sqlc.arg(rotation_id);

-- name: InsertRotation :exec
INSERT INTO rotations (id, policy, target, "trigger", trigger_id, slot, reason, requested_by, only_units, state, requested_at, open_until, look_at, supersedes)
VALUES (sqlc.arg(id), sqlc.arg(policy), sqlc.arg(target), sqlc.arg(triggered_by), sqlc.arg(trigger_id), sqlc.arg(slot),
    sqlc.arg(reason), sqlc.arg(requested_by), sqlc.arg(only_units), 'requested', sqlc.arg(requested_at),
    sqlc.arg(open_until), sqlc.arg(look_at), sqlc.arg(supersedes));

-- name: ClaimRotation :one
-- One that a schedule started waits for the rotations of its policy before it, and for its windows.
UPDATE rotations
SET state = 'planning', owner = sqlc.arg(owner), lease_until = sqlc.arg(lease_until), not_before = NULL, trouble = '',
    started_at = coalesce(started_at, sqlc.arg(now))
WHERE rotations.id = sqlc.arg(id) AND rotations.state IN ('requested', 'planning')
    AND (rotations.lease_until IS NULL OR rotations.lease_until <= sqlc.arg(now) OR rotations.owner = sqlc.arg(owner))
    AND (rotations.not_before IS NULL OR rotations.not_before <= sqlc.arg(now)) AND (rotations.open_until IS NULL OR rotations.open_until > sqlc.arg(now))
    AND (rotations."trigger" <> 'schedule' OR NOT EXISTS (SELECT 1 FROM rotations AS o WHERE o.policy = rotations.policy AND o.finished_at IS NULL AND o.id < rotations.id))
RETURNING *;

-- name: SetMinInterval :exec
UPDATE rotations SET min_interval = sqlc.arg(min_interval) WHERE id = sqlc.arg(id);

-- name: StartRotation :one
UPDATE rotations
SET state = 'running', owner = NULL, lease_until = NULL, not_before = NULL
WHERE id = sqlc.arg(id) AND state = 'planning' AND owner = sqlc.arg(owner)
RETURNING requested_at, min_interval;

-- name: FailRotation :execrows
UPDATE rotations
SET state = 'failed', trouble = sqlc.arg(trouble), owner = NULL, lease_until = NULL, not_before = NULL, finished_at = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND state = 'planning' AND owner = sqlc.arg(owner);

-- name: PostponeRotation :execrows
UPDATE rotations
SET owner = NULL, lease_until = NULL, not_before = sqlc.arg(not_before), trouble = sqlc.arg(trouble)
WHERE id = sqlc.arg(id) AND state = 'planning' AND owner = sqlc.arg(owner);

-- name: UnplannedRotations :many
SELECT rotations.id FROM rotations
WHERE rotations.state IN ('requested', 'planning')
    AND (rotations.lease_until IS NULL OR rotations.lease_until <= sqlc.arg(now)) AND (rotations.not_before IS NULL OR rotations.not_before <= sqlc.arg(now))
    AND (rotations.open_until IS NULL OR rotations.open_until > sqlc.arg(now))
    AND (rotations."trigger" <> 'schedule' OR NOT EXISTS (SELECT 1 FROM rotations AS o WHERE o.policy = rotations.policy AND o.finished_at IS NULL AND o.id < rotations.id))
ORDER BY rotations.id
LIMIT sqlc.arg(max_rows);

-- name: TurnedAt :one
SELECT turned_at FROM unit_keys WHERE unit_id = sqlc.arg(unit_id);
