-- Stopping rotations, and their ends.

-- name: StopRotation :one
-- A rotation that was not planned ends at once; the tasks of one that runs are stopped by StopTasks, in the
-- same transaction. Its planner finds that it is not his any more, but for one whose plan is saved in part: what is
-- left of that is saved, and stopped at the end.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
UPDATE rotations r SET
    halted = true, stop_reason = sqlc.arg('reason')::text, trouble = sqlc.arg('trouble')::text,
    cancelled_by = CASE WHEN sqlc.arg('cancelled')::boolean THEN sqlc.arg('by')::text ELSE '' END,
    cancelled_at = CASE WHEN sqlc.arg('cancelled')::boolean THEN clock.at END,
    state = CASE WHEN r.state = 'running' THEN 'running' WHEN sqlc.arg('cancelled')::boolean THEN 'cancelled' ELSE 'failed' END,
    finished_at = CASE WHEN r.state <> 'running' THEN clock.at END,
    owner = CASE WHEN r.plan_turn IS NOT NULL THEN r.owner END, lease_until = CASE WHEN r.plan_turn IS NOT NULL THEN r.lease_until END,
    not_before = CASE WHEN r.plan_turn IS NOT NULL THEN r.not_before END
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
-- Running rotations whose plan is whole, without open tasks; of one that was stopped, what is pending can't begin any more. The
-- probe for an open task is a scalar subquery, which stays one index look-up for each rotation; as NOT
-- EXISTS it may become a join over all open tasks.
SELECT r.id FROM rotations r
WHERE r.state = 'running' AND r.plan_turn IS NULL
    AND (SELECT t.id FROM tasks t WHERE t.rotation_id = r.id AND t.finished_at IS NULL AND (t.state = 'intended' OR NOT r.halted) LIMIT 1) IS NULL;

-- name: LockDone :many
SELECT r.id FROM rotations r
WHERE r.id = ANY (sqlc.arg('ids')::uuid[]) AND r.state = 'running' AND r.plan_turn IS NULL
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
    INSERT INTO announcements (id, type, rotation_id) SELECT gen_random_uuid(), 'rotation.completed', id FROM done WHERE sqlc.arg('tell')::boolean
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

-- name: Clusters :many
-- A rotation's tasks by cluster, the mixed ones first. See MixedClusters.
SELECT c.*, (c.some_turned AND c.some_missing)::boolean AS mixed FROM (
    SELECT u.project_id, u.project_name, u.cluster_name, count(*) AS total, count(*) FILTER (WHERE t.state = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE t.state = 'failed') AS failed, count(*) FILTER (WHERE t.state = 'skipped') AS skipped,
        count(*) FILTER (WHERE t.state = 'parked') AS parked,
        bool_or(t.state = 'succeeded' OR (k.key_exact AND k.key_since > r.requested_at))::boolean AS some_turned,
        bool_or((t.state IN ('failed', 'parked') OR t.stopped) AND NOT (k.key_exact AND k.key_since > r.requested_at))::boolean AS some_missing,
        coalesce(min(CASE WHEN t.state = 'succeeded' THEN t.finished_at WHEN k.key_exact AND k.key_since > r.requested_at THEN k.key_since END), r.requested_at)::timestamptz AS since
    FROM tasks t JOIN rotations r ON r.id = t.rotation_id JOIN units u ON u.id = t.unit_id JOIN unit_keys k ON k.unit_id = t.unit_id
    WHERE t.rotation_id = sqlc.arg('rotation')
    GROUP BY u.project_id, u.project_name, u.cluster_name, r.requested_at
) c
ORDER BY mixed DESC, c.project_name, c.cluster_name, c.project_id;

-- name: Task :one
SELECT id, rotation_id, unit_id, state, resolution, reason, attempts, key_before, key_after, started_at, finished_at
FROM tasks WHERE id = sqlc.arg('id');

-- name: LockParked :one
SELECT t.unit_id, t.project_id, t.state, t.key_before, t.intended_at, t.finished_at, k.key_id, k.key_since, k.intended AS open
FROM tasks t JOIN unit_keys k ON k.unit_id = t.unit_id
WHERE t.id = sqlc.arg('id') FOR UPDATE OF t, k;

-- name: KeyOriginSince :one
SELECT k.origin FROM key_records k
WHERE k.unit_id = sqlc.arg('unit') AND k.key_id = sqlc.arg('key') AND k.used_from >= sqlc.arg('since')::timestamptz
ORDER BY k.used_from DESC, k.id DESC LIMIT 1;

-- name: ResolveTask :exec
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), told AS (
    INSERT INTO announcements (id, type, task_ids)
    SELECT sqlc.arg('announcement')::uuid, 'tasks', ARRAY[sqlc.arg('id')::uuid] WHERE sqlc.arg('state')::text <> 'pending'
)
UPDATE tasks t SET state = sqlc.arg('state'), key_after = sqlc.arg('key_after'), reason = sqlc.arg('reason'),
    resolution = CASE WHEN sqlc.arg('state')::text = 'pending' THEN '' ELSE 'resolved-by-person' END,
    back = CASE WHEN sqlc.arg('state')::text = 'pending' THEN 'pending' END,
    failures = 0, not_before = clock.at, finished_at = CASE WHEN sqlc.arg('state')::text <> 'pending' THEN clock.at END
FROM clock
WHERE t.id = sqlc.arg('id') AND t.state = 'parked';

-- name: RecordResolved :exec
-- Nobody knows when the key was turned: at the earliest with the intent, after the last that is known.
WITH turned AS (
    UPDATE unit_keys k SET key_id = sqlc.arg('key'), key_since = greatest(k.key_since, sqlc.arg('intended_at')::timestamptz), key_exact = false
    WHERE k.unit_id = sqlc.arg('unit')
    RETURNING k.key_since
)
INSERT INTO key_records (id, unit_id, key_id, previous_key_id, used_from, origin, rotation_id, task_id)
SELECT sqlc.arg('id')::uuid, sqlc.arg('unit'), sqlc.arg('key'), sqlc.arg('before')::text, turned.key_since, 'rotated',
    sqlc.arg('rotation')::uuid, sqlc.arg('task')::uuid
FROM turned;

-- name: NoteTurned :exec
-- A unit was turned, at that time at the latest.
UPDATE unit_keys SET turned_at = greatest(turned_at, sqlc.arg('at')::timestamptz) WHERE unit_id = sqlc.arg('unit');

-- name: OpenRetries :many
-- The retries of a rotation, and theirs, that have not ended, newest first.
WITH RECURSIVE family AS (
    SELECT r.id FROM rotations r WHERE r.retry_of = sqlc.arg('rotation')
    UNION
    SELECT r.id FROM rotations r JOIN family f ON r.retry_of = f.id
)
SELECT r.* FROM rotations r JOIN family f ON f.id = r.id
WHERE r.state IN ('requested', 'planning', 'running') ORDER BY r.requested_at DESC, r.id DESC;

-- name: MissingUnits :many
-- Units whose last task, in the rotation and its retries, failed or was stopped, or of which a task is
-- parked, and that nothing has turned since the rotation was asked for. A row without a unit says that
-- there are tasks at all.
WITH RECURSIVE family AS (
    SELECT r.id, r.requested_at, r.requested_at AS since FROM rotations r WHERE r.id = sqlc.arg('rotation')
    UNION
    SELECT r.id, r.requested_at, f.since FROM rotations r JOIN family f ON r.retry_of = f.id
), last AS MATERIALIZED (
    SELECT DISTINCT ON (t.unit_id) t.unit_id, t.project_id, t.state = 'failed' OR t.stopped AS failed,
        bool_or(t.state = 'parked') OVER (PARTITION BY t.unit_id) AS parked, f.since
    FROM family f JOIN tasks t ON t.rotation_id = f.id
    ORDER BY t.unit_id, f.requested_at DESC, f.id DESC
)
SELECT l.unit_id, l.project_id, l.parked FROM last l JOIN unit_keys k ON k.unit_id = l.unit_id
WHERE (l.failed OR l.parked) AND NOT (k.key_exact AND k.key_since > l.since)
UNION ALL
(SELECT '', '', false FROM last LIMIT 1);

-- name: InsertRetry :exec
WITH rotation AS (
    INSERT INTO rotations (id, policy, target, trigger, reason, requested_by, only_units, requested_at, retry_of)
    VALUES (sqlc.arg('id'), sqlc.arg('policy'), sqlc.arg('target'), 'retry', sqlc.arg('reason'), sqlc.arg('requested_by'),
        sqlc.arg('only_units'), coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()), sqlc.arg('retry_of')::uuid)
    RETURNING id
)
INSERT INTO announcements (id, type, rotation_id) SELECT sqlc.arg('announcement')::uuid, 'rotation.requested', id FROM rotation;

-- name: PolicyTarget :one
SELECT coalesce(spec ->> 'target', '')::text AS target FROM resources WHERE kind = 'Policy' AND name = sqlc.arg('policy');
