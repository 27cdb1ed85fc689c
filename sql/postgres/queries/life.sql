-- Stopping rotations, and their ends.

-- name: StopRotation :one
-- A rotation that was not planned ends at once; the tasks of one that runs are stopped by StopTasks, in the
-- same transaction. Its planner finds that it is not his any more.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
UPDATE rotations r SET
    halted = true, stop_reason = sqlc.arg('reason')::text, trouble = sqlc.arg('trouble')::text,
    cancelled_by = CASE WHEN sqlc.arg('cancelled')::boolean THEN sqlc.arg('by')::text ELSE '' END,
    cancelled_at = CASE WHEN sqlc.arg('cancelled')::boolean THEN clock.at END,
    state = CASE WHEN r.state = 'running' THEN 'running' WHEN sqlc.arg('cancelled')::boolean THEN 'cancelled' ELSE 'failed' END,
    finished_at = CASE WHEN r.state <> 'running' THEN clock.at END,
    owner = NULL, lease_until = NULL, not_before = NULL
FROM clock
WHERE r.id = sqlc.arg('id') AND r.state IN ('requested', 'planning', 'running')
    AND (NOT r.halted OR (sqlc.arg('cancelled')::boolean AND r.cancelled_at IS NULL))
RETURNING r.*;

-- name: StopTasks :execrows
-- Skips what has not begun of rotations that were stopped. Open intents go on: their outcome must be found out.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), begun AS MATERIALIZED (
    -- In the order in which intents and results lock them.
    SELECT t.id, r.trouble FROM tasks t JOIN rotations r ON r.id = t.rotation_id
    WHERE t.rotation_id = ANY (sqlc.arg('rotations')::uuid[]) AND r.halted AND t.finished_at IS NULL AND t.state = 'pending'
    ORDER BY t.id FOR NO KEY UPDATE OF t
), stopped AS (
    UPDATE tasks t SET state = 'skipped', stopped = true, reason = b.trouble, back = NULL, handed_at = NULL, finished_at = clock.at
    FROM begun b, clock WHERE t.id = b.id
    RETURNING t.id
)
INSERT INTO announcements (id, type, task_ids)
SELECT gen_random_uuid(), 'tasks', array_agg(n.id ORDER BY n.id)
FROM (SELECT s.id, (row_number() OVER (ORDER BY s.id) - 1) / 1000 AS part FROM stopped s) n
GROUP BY n.part;

-- name: DoneRotations :many
-- Running rotations without open tasks; of one that was stopped, what is pending can't begin any more. The
-- probe for an open task is a scalar subquery, which stays one index look-up for each rotation; as NOT
-- EXISTS it may become a join over all open tasks.
SELECT r.id FROM rotations r
WHERE r.state = 'running'
    AND (SELECT t.id FROM tasks t WHERE t.rotation_id = r.id AND t.finished_at IS NULL AND (t.state = 'intended' OR NOT r.halted) LIMIT 1) IS NULL;

-- name: LockDone :many
SELECT r.id FROM rotations r
WHERE r.id = ANY (sqlc.arg('ids')::uuid[]) AND r.state = 'running'
    AND (SELECT t.id FROM tasks t WHERE t.rotation_id = r.id AND t.finished_at IS NULL AND (t.state = 'intended' OR NOT r.halted) LIMIT 1) IS NULL
ORDER BY r.id FOR UPDATE OF r SKIP LOCKED;

-- name: EndCounts :many
-- The tasks by state of rotations all of whose tasks have ended.
SELECT sqlc.embed(r), c.total, c.succeeded, c.failed, c.skipped, c.parked, c.stopped
FROM rotations r JOIN (
    SELECT t.rotation_id, count(*) AS total, count(*) FILTER (WHERE t.state = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE t.state = 'failed') AS failed, count(*) FILTER (WHERE t.state = 'skipped') AS skipped,
        count(*) FILTER (WHERE t.state = 'parked') AS parked, count(*) FILTER (WHERE t.stopped) AS stopped
    FROM tasks t WHERE t.rotation_id = ANY (sqlc.arg('ids')::uuid[])
    GROUP BY t.rotation_id HAVING count(*) FILTER (WHERE t.finished_at IS NULL) = 0
) c ON c.rotation_id = r.id
ORDER BY r.id;

-- name: MixedClusters :many
-- Clusters of which some components have a new key and others, which should have one, don't. A key that
-- something else turned after the rotation was asked for is new, too.
SELECT t.rotation_id, u.project_name, u.cluster_name
FROM tasks t JOIN rotations r ON r.id = t.rotation_id JOIN units u ON u.id = t.unit_id JOIN unit_keys k ON k.unit_id = t.unit_id
WHERE t.rotation_id = ANY (sqlc.arg('ids')::uuid[])
GROUP BY t.rotation_id, u.project_id, u.project_name, u.cluster_name
HAVING bool_or(t.state = 'succeeded' OR (k.key_exact AND k.key_since > r.requested_at))
    AND bool_or((t.state IN ('failed', 'parked') OR t.stopped) AND NOT (k.key_exact AND k.key_since > r.requested_at))
ORDER BY t.rotation_id, u.project_name, u.cluster_name, u.project_id;

-- name: EndRotations :many
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), done AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('states')::text[]) AS state, unnest(sqlc.arg('troubles')::text[]) AS trouble,
        unnest(sqlc.arg('totals')::integer[]) AS total, unnest(sqlc.arg('succeeded')::integer[]) AS succeeded,
        unnest(sqlc.arg('failed')::integer[]) AS failed, unnest(sqlc.arg('skipped')::integer[]) AS skipped,
        unnest(sqlc.arg('parked')::integer[]) AS parked
), told AS (
    INSERT INTO announcements (id, type, rotation_id) SELECT gen_random_uuid(), 'rotation.completed', id FROM done
), fed AS (
    DELETE FROM feeds f USING done d WHERE f.rotation_id = d.id
)
UPDATE rotations r SET state = d.state, trouble = d.trouble, total = d.total, succeeded = d.succeeded, failed = d.failed,
    skipped = d.skipped, parked = d.parked, finished_at = coalesce(r.finished_at, clock.at)
FROM done d, clock
WHERE r.id = d.id
RETURNING r.*;

-- name: RotationOfTask :one
SELECT r.* FROM tasks t JOIN rotations r ON r.id = t.rotation_id WHERE t.id = sqlc.arg('task');

-- name: LockRotation :one
SELECT * FROM rotations WHERE id = sqlc.arg('id') FOR UPDATE;
