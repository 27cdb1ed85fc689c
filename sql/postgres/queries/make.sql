-- Keys that are made before a change: what the rotator writes down and asks for meanwhile.

-- name: Amend :execrows
UPDATE tasks SET
    key_want = sqlc.arg('want'), intent_data = sqlc.narg('data'),
    lease_until = clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond',
    apply_by = clock.at + sqlc.arg('apply_for')::bigint * interval '1 microsecond'
FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at) clock
WHERE tasks.id = sqlc.arg('id') AND tasks.state = 'intended' AND tasks.owner = sqlc.arg('owner') AND tasks.epoch = sqlc.arg('epoch')
    AND NOT (SELECT r.halted FROM rotations r WHERE r.id = tasks.rotation_id);

-- name: ProvidedKey :one
SELECT coalesce(only_units -> 'keys' ->> sqlc.arg('unit')::text, '')::text AS key FROM rotations WHERE id = sqlc.arg('id');
