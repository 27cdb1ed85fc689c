-- Stopping rotations, and their ends.

-- name: StopRotation :exec
-- Its reader saw under the same write lock that it may be stopped. Of one whose plan is saved in part the rest is saved,
-- and stopped at the end.
UPDATE rotations
SET halted = 1, stop_reason = sqlc.arg(stop_reason), trouble = sqlc.arg(trouble), cancelled_by = sqlc.arg(cancelled_by),
    cancelled_at = sqlc.arg(cancelled_at), state = sqlc.arg(state), finished_at = sqlc.arg(finished_at),
    owner = CASE WHEN plan_turn IS NOT NULL THEN owner END, lease_until = CASE WHEN plan_turn IS NOT NULL THEN lease_until END,
    not_before = CASE WHEN plan_turn IS NOT NULL THEN not_before END
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
-- Running rotations whose plan is whole, without open tasks; of one that was stopped, what is pending can't begin any more.
-- Every side is a partial index, the order is the first one's: the work depends neither on how many
-- tasks there are nor on how many rotations there were.
SELECT id FROM rotations
WHERE state = 'running' AND plan_turn IS NULL
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


-- name: Clusters :many
-- A rotation's tasks by cluster, the mixed ones first. See MixedClusters.
SELECT u.project_id, u.project_name, u.cluster_name, count(*) AS total,
    count(CASE WHEN t.state = 'succeeded' THEN 1 END) AS succeeded, count(CASE WHEN t.state = 'failed' THEN 1 END) AS failed,
    count(CASE WHEN t.state = 'skipped' THEN 1 END) AS skipped, count(CASE WHEN t.state = 'parked' THEN 1 END) AS parked,
    CAST(max(t.state = 'succeeded' OR (k.key_exact AND k.key_since > r.requested_at))
        AND max((t.state IN ('failed', 'parked') OR t.stopped) AND NOT (k.key_exact AND k.key_since > r.requested_at)) AS INTEGER) AS mixed,
    CAST(coalesce(min(CASE WHEN t.state = 'succeeded' THEN t.finished_at WHEN k.key_exact AND k.key_since > r.requested_at THEN k.key_since END), 0) AS INTEGER) AS since
FROM tasks t JOIN rotations r ON r.id = t.rotation_id JOIN units u ON u.id = t.unit_id JOIN unit_keys k ON k.unit_id = t.unit_id
WHERE t.rotation_id = sqlc.arg(rotation_id)
GROUP BY u.project_id, u.project_name, u.cluster_name
ORDER BY mixed DESC, u.project_name, u.cluster_name, u.project_id;

-- name: Task :one
SELECT * FROM tasks WHERE id = sqlc.arg(id);

-- name: UnitKey :one
SELECT * FROM unit_keys WHERE unit_id = sqlc.arg(unit_id);

-- name: UnitIntended :one
SELECT EXISTS (SELECT 1 FROM tasks WHERE unit_id = sqlc.arg(unit_id) AND state = 'intended');

-- name: KeyOriginSince :one
SELECT origin FROM key_records WHERE unit_id = sqlc.arg(unit_id) AND key_id = sqlc.arg(key_id) AND used_from >= sqlc.arg(since)
ORDER BY id DESC LIMIT 1;

-- name: ResolveTask :exec
UPDATE tasks
SET state = sqlc.arg(state), key_after = sqlc.arg(key_after), reason = sqlc.arg(reason), resolution = sqlc.arg(resolution),
    back = sqlc.narg(back), failures = 0, not_before = sqlc.arg(now), finished_at = sqlc.narg(finished_at)
WHERE seq = sqlc.arg(seq) AND state = 'parked';

-- name: OpenRetries :many
-- The retries of a rotation, and theirs, that have not ended, newest first. CROSS JOIN, here and below, makes SQLite begin with the few
-- rotations of the family: it would begin with all tasks there are.
WITH RECURSIVE family (id) AS (
    SELECT a.id FROM rotations a WHERE a.retry_of = sqlc.arg(rotation_id)
    UNION
    SELECT b.id FROM rotations b JOIN family f ON b.retry_of = f.id
)
SELECT r.* FROM family g CROSS JOIN rotations r ON r.id = g.id
WHERE r.state IN ('requested', 'planning', 'running') ORDER BY r.id DESC;

-- name: MissingUnits :many
-- Units whose last task, in the rotation and its retries, failed or was stopped, or of which a task is
-- parked, and that nothing has turned since the rotation was asked for. Ids are in the order of time.
WITH RECURSIVE family (id) AS (
    SELECT a.id FROM rotations a WHERE a.id = sqlc.arg(rotation_id)
    UNION
    SELECT b.id FROM rotations b JOIN family f ON b.retry_of = f.id
)
SELECT t.unit_id, t.project_id, CAST(max(t.state = 'parked') AS INTEGER) AS parked, max(t.rotation_id) AS last_rotation
FROM family g CROSS JOIN tasks t ON t.rotation_id = g.id CROSS JOIN unit_keys k ON k.unit_id = t.unit_id
WHERE NOT (k.key_exact AND k.key_since > CAST(sqlc.arg(since) AS INTEGER))
GROUP BY t.unit_id, t.project_id
HAVING max(t.state = 'parked')
    OR max(CASE WHEN t.state = 'failed' OR t.stopped THEN t.rotation_id ELSE '' END) = max(t.rotation_id)
ORDER BY t.unit_id;

-- name: FamilyHasTasks :one
WITH RECURSIVE family (id) AS (
    SELECT a.id FROM rotations a WHERE a.id = sqlc.arg(rotation_id)
    UNION
    SELECT b.id FROM rotations b JOIN family f ON b.retry_of = f.id
)
SELECT EXISTS (SELECT 1 FROM family g CROSS JOIN tasks t ON t.rotation_id = g.id);

-- name: InsertRetry :exec
INSERT INTO rotations (id, policy, target, "trigger", reason, requested_by, only_units, state, requested_at, retry_of)
VALUES (sqlc.arg(id), sqlc.arg(policy), sqlc.arg(target), 'retry', sqlc.arg(reason), sqlc.arg(requested_by), sqlc.arg(only_units),
    'requested', sqlc.arg(requested_at), sqlc.arg(retry_of));
