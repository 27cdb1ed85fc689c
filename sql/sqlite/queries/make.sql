-- Keys that are made before a change: what the rotator writes down meanwhile.

-- name: AmendTask :execrows
UPDATE tasks
SET key_want = sqlc.arg(want), intent_data = sqlc.narg(data), lease_until = sqlc.arg(lease_until), apply_by = sqlc.arg(apply_by)
WHERE tasks.id = sqlc.arg(id) AND tasks.state = 'intended' AND tasks.owner = sqlc.arg(owner) AND tasks.epoch = sqlc.arg(epoch)
    AND NOT (SELECT rotations.halted FROM rotations WHERE rotations.id = tasks.rotation_id);
