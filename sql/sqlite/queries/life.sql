-- Stopping rotations, and their ends.

-- name: StopRotation :exec
-- Its reader saw under the same write lock that it may be stopped.
UPDATE rotations
SET halted = 1, stop_reason = sqlc.arg(stop_reason), trouble = sqlc.arg(trouble), cancelled_by = sqlc.arg(cancelled_by),
    cancelled_at = sqlc.arg(cancelled_at), state = sqlc.arg(state), finished_at = sqlc.arg(finished_at),
    owner = NULL, lease_until = NULL, not_before = NULL
WHERE id = sqlc.arg(id);

-- name: StopTasks :many
-- Skips what has not begun of a rotation that was stopped. Open intents go on: their outcome must be found out.
UPDATE tasks
SET state = 'skipped', stopped = 1, reason = sqlc.arg(reason), back = NULL, handed_at = NULL, finished_at = sqlc.arg(now)
WHERE rotation_id = sqlc.arg(rotation_id) AND finished_at IS NULL AND state = 'pending'
RETURNING id;

-- name: RotationOfTask :one
SELECT rotations.* FROM tasks JOIN rotations ON rotations.id = tasks.rotation_id WHERE tasks.id = sqlc.arg(task_id);

-- name: StoppedTasks :one
SELECT count(*) FROM tasks WHERE rotation_id = sqlc.arg(rotation_id) AND stopped;

-- name: MixedClusters :many
-- Clusters of which some components have a new key and others, which should have one, don't. A key that
-- something else turned after the rotation was asked for is new, too.
SELECT u.project_name, u.cluster_name
FROM tasks t JOIN rotations r ON r.id = t.rotation_id JOIN units u ON u.id = t.unit_id JOIN unit_keys k ON k.unit_id = t.unit_id
WHERE t.rotation_id = sqlc.arg(rotation_id)
GROUP BY u.project_id, u.project_name, u.cluster_name
HAVING max(t.state = 'succeeded' OR (k.key_exact AND k.key_since > r.requested_at))
    AND max((t.state IN ('failed', 'parked') OR t.stopped) AND NOT (k.key_exact AND k.key_since > r.requested_at))
ORDER BY u.project_name, u.cluster_name, u.project_id;

-- name: EndedRotations :many
-- Running rotations without open tasks; of one that was stopped, what is pending can't begin any more.
-- Every side is a partial index, the order is the first one's: the work depends neither on how many
-- tasks there are nor on how many rotations there were.
SELECT id FROM rotations
WHERE state = 'running'
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.rotation_id = rotations.id
        AND tasks.finished_at IS NULL AND tasks.back IS NULL AND tasks.handed_at IS NULL AND (tasks.state = 'intended' OR NOT rotations.halted))
    AND (rotations.halted OR NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.rotation_id = rotations.id AND tasks.back = 'pending'))
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.target = rotations.target AND tasks.back = 'intended' AND tasks.rotation_id = rotations.id)
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.target = rotations.target AND tasks.handed_at IS NOT NULL AND tasks.rotation_id = rotations.id
        AND (tasks.state = 'intended' OR NOT rotations.halted))
ORDER BY target, id;

-- name: EndRotation :execrows
UPDATE rotations
SET state = sqlc.arg(state), trouble = sqlc.arg(trouble), total = sqlc.arg(total), succeeded = sqlc.arg(succeeded),
    failed = sqlc.arg(failed), skipped = sqlc.arg(skipped), parked = sqlc.arg(parked), finished_at = coalesce(finished_at, sqlc.arg(now))
WHERE id = sqlc.arg(id);

