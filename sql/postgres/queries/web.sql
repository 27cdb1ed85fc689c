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
