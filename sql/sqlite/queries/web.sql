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
