-- What the pages read, and the log of tasks.

-- name: LogTask :exec
INSERT INTO task_log (task_id, n, at, attempt, what, text)
SELECT sqlc.arg(task_id), coalesce(max(l.n), 0) + 1, sqlc.arg(at), sqlc.arg(attempt), sqlc.arg(what), substr(CAST(sqlc.arg(text) AS TEXT), 1, 2000)
FROM task_log l WHERE l.task_id = sqlc.arg(task_id);

-- name: TrimTaskLog :exec
DELETE FROM task_log
WHERE task_log.task_id = sqlc.arg(task_id) AND task_log.n > sqlc.arg(first)
    AND task_log.n <= (SELECT max(l.n) FROM task_log l WHERE l.task_id = sqlc.arg(task_id)) - sqlc.arg(last);

-- name: TaskLog :many
SELECT n, at, attempt, what, text FROM task_log WHERE task_id = sqlc.arg(task_id) ORDER BY n;

-- name: FleetUnits :many
-- All units, or those of one target: what a map of the estate shows of each.
SELECT u.id, u.target, u.project_id, u.project_name, u.cluster_name, u.component, u.name, u.rotatable, u.reason, k.key_since, k.key_exact
FROM units u JOIN unit_keys k ON k.unit_id = u.id
WHERE sqlc.arg(target) = '' OR u.target = sqlc.arg(target);

-- name: FleetTasks :many
-- What is under way, and what waits for a person.
SELECT t.unit_id, t.state FROM rotations r CROSS JOIN tasks t ON t.rotation_id = r.id WHERE r.state = 'running' AND t.finished_at IS NULL
UNION ALL
SELECT p.unit_id, p.state FROM tasks p WHERE p.state = 'parked';

-- name: TasksOfUnit :many
-- By way of the target's newest rotations: an index of tasks by their unit would cost every result an entry.
SELECT t.* FROM (SELECT r.id FROM rotations r WHERE r.target = sqlc.arg(target) ORDER BY r.id DESC LIMIT sqlc.arg(rotations)) recent
CROSS JOIN tasks t ON t.rotation_id = recent.id AND t.unit_id = sqlc.arg(unit)
ORDER BY t.rotation_id DESC LIMIT sqlc.arg(max_rows);
