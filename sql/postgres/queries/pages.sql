-- What the pages read, and the log of tasks.

-- name: TaskLog :many
SELECT n, at, attempt, what, text FROM task_log WHERE task_id = sqlc.arg('task') ORDER BY n;

-- name: TaskIntent :one
SELECT key_before, key_want, intent_data, epoch, owner, intended_at, apply_by, answered_at FROM tasks WHERE id = sqlc.arg('task');

-- name: LogResolved :exec
-- In the transaction that resolves it, before the task's row says so.
WITH line AS (
    INSERT INTO task_log (task_id, n, at, attempt, what, text)
    SELECT t.id, coalesce((SELECT max(l.n) FROM task_log l WHERE l.task_id = t.id), 0) + 1,
        coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()), t.attempts, 'resolved', left(sqlc.arg('text')::text, 2000)
    FROM tasks t WHERE t.id = sqlc.arg('task')
    RETURNING task_id, n
)
DELETE FROM task_log
WHERE (task_id, n) IN (SELECT line.task_id, line.n - sqlc.arg('last')::integer FROM line WHERE line.n - sqlc.arg('last')::integer > sqlc.arg('first')::integer);

-- name: FleetUnits :many
-- All units, or those of one target: what a map of the estate shows of each.
SELECT u.id, u.target, u.project_id, u.project_name, u.cluster_name, u.component, u.name, u.rotatable, u.reason, k.key_since, k.key_exact
FROM units u JOIN unit_keys k ON k.unit_id = u.id
WHERE sqlc.arg('target')::text = '' OR u.target = sqlc.arg('target');

-- name: FleetTasks :many
-- What is under way, and what waits for a person.
SELECT t.unit_id, t.state FROM rotations r JOIN tasks t ON t.rotation_id = r.id AND t.finished_at IS NULL WHERE r.state = 'running'
UNION ALL
SELECT t.unit_id, t.state FROM tasks t WHERE t.parked;

-- name: TasksOfUnit :many
-- By way of the target's newest rotations: an index of tasks by their unit would cost every result an entry.
WITH recent AS MATERIALIZED (
    SELECT r.id FROM rotations r WHERE r.target = sqlc.arg('target') ORDER BY r.requested_at DESC, r.id DESC LIMIT sqlc.arg('rotations')
)
SELECT t.id, t.rotation_id, t.unit_id, t.state, t.resolution, t.reason, t.attempts, t.key_before, t.key_after, t.started_at, t.finished_at
FROM recent JOIN tasks t ON t.rotation_id = recent.id AND t.unit_id = sqlc.arg('unit')
ORDER BY t.rotation_id DESC LIMIT sqlc.arg('max');
