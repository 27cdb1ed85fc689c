-- Moves of tasks. They run inside a transaction that has read the rows they change and that alone may write.

-- name: IntendTask :execrows
-- The row is pending, which its reader saw under the same write lock.
UPDATE tasks
SET state = 'intended', epoch = epoch + 1, attempts = attempts + 1, owner = sqlc.arg(owner),
    lease_until = sqlc.arg(lease_until), key_before = sqlc.arg(key_before), key_want = sqlc.arg(key_want),
    intent_data = sqlc.arg(intent_data), intended_at = sqlc.arg(now), apply_by = sqlc.arg(apply_by),
    reason = '', answered_at = NULL, accepted = 0, started_at = coalesce(started_at, sqlc.arg(now)), back = sqlc.narg(back), exclusive = sqlc.narg(exclusive)
WHERE seq = sqlc.arg(seq) AND state = 'pending';

-- name: TakeTask :one
UPDATE tasks
SET epoch = epoch + 1, owner = sqlc.arg(owner), lease_until = sqlc.arg(lease_until)
WHERE id = sqlc.arg(id) AND state = 'intended' AND (lease_until IS NULL OR lease_until <= sqlc.arg(now))
RETURNING epoch, key_before, key_want, intent_data, intended_at, apply_by, answered_at, accepted, attempts;

-- name: EndTask :execrows
UPDATE tasks
SET state = sqlc.arg(state), resolution = sqlc.arg(resolution), reason = sqlc.arg(reason), key_after = sqlc.arg(key_after),
    owner = '', lease_until = NULL, handed_at = NULL, back = NULL, finished_at = sqlc.arg(now)
WHERE seq = sqlc.arg(seq) AND state = sqlc.arg(was);

-- name: PutBackPending :execrows
UPDATE tasks
SET state = 'pending', reason = sqlc.arg(reason), owner = '', lease_until = NULL, handed_at = NULL, back = 'pending',
    not_before = sqlc.arg(not_before), failures = failures + sqlc.arg(failed), attempts = attempts - sqlc.arg(uncounted)
WHERE seq = sqlc.arg(seq) AND state = sqlc.arg(was);

-- name: PutBackIntended :execrows
UPDATE tasks
SET reason = sqlc.arg(reason), owner = '', lease_until = NULL, handed_at = NULL, back = 'intended', not_before = sqlc.arg(not_before),
    failures = failures + sqlc.arg(failed), attempts = attempts - sqlc.arg(uncounted), answered_at = coalesce(answered_at, sqlc.narg(answered_at)),
    apply_by = CASE WHEN sqlc.narg(unsent) < apply_by THEN sqlc.narg(unsent) ELSE apply_by END
WHERE seq = sqlc.arg(seq) AND state = 'intended';

-- name: InsertKeyRecord :exec
INSERT INTO key_records (id, unit_id, key_id, previous_key_id, used_from, origin, rotation_id, task_id)
VALUES (sqlc.arg(id), sqlc.arg(unit_id), sqlc.arg(key_id), sqlc.arg(previous_key_id), sqlc.arg(used_from), sqlc.arg(origin),
    sqlc.arg(rotation_id), sqlc.arg(task_id));

-- name: SetUnitKey :exec
UPDATE unit_keys SET key_id = sqlc.arg(key_id), key_since = sqlc.arg(key_since), key_exact = sqlc.arg(exact),
    turned_at = coalesce(sqlc.narg(turned_at), turned_at)
WHERE unit_id = sqlc.arg(unit_id);

-- name: NoteTurned :exec
-- A unit was turned, at that time at the latest.
UPDATE unit_keys SET turned_at = max(coalesce(turned_at, 0), sqlc.arg(at)) WHERE unit_id = sqlc.arg(unit_id);

-- name: RotationTasks :many
SELECT * FROM tasks
WHERE rotation_id = sqlc.arg(rotation_id) AND turn >= sqlc.arg(after_turn) AND (turn > sqlc.arg(after_turn) OR seq > sqlc.arg(after_seq))
ORDER BY turn, seq
LIMIT sqlc.arg(max_rows);

-- name: ReintendTask :one
-- The key before was first seen when the intent was written: that time stays.
UPDATE tasks
SET epoch = epoch + 1, attempts = attempts + 1, lease_until = sqlc.arg(lease_until), apply_by = sqlc.arg(apply_by),
    accepted = accepted OR answered_at IS NOT NULL, answered_at = NULL
WHERE tasks.id = sqlc.arg(id) AND tasks.state = 'intended' AND tasks.owner = sqlc.arg(owner) AND tasks.epoch = sqlc.arg(epoch)
    AND NOT (SELECT rotations.halted FROM rotations WHERE rotations.id = tasks.rotation_id)
RETURNING epoch, attempts, key_before;
