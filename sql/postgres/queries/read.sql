-- Listings. A cursor is the id of the last row of the page before.

-- name: TasksOfRotation :many
SELECT t.id, t.rotation_id, t.unit_id, t.state, t.resolution, t.reason, t.attempts, t.key_before, t.key_after, t.started_at, t.finished_at
FROM tasks t
WHERE t.rotation_id = sqlc.arg('rotation')
    AND (sqlc.narg('after')::uuid IS NULL OR (t.turn, t.id) > (SELECT a.turn, a.id FROM tasks a WHERE a.id = sqlc.narg('after')))
ORDER BY t.turn, t.id LIMIT sqlc.arg('max');

-- name: Units :many
SELECT u.id, u.target, u.system, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name, u.fcv, u.rotatable, u.reason,
    k.key_id, k.key_since, k.key_exact
FROM units u JOIN unit_keys k ON k.unit_id = u.id
WHERE (sqlc.arg('target')::text = '' OR u.target = sqlc.arg('target'))
    AND (sqlc.arg('project')::text = '' OR u.project_id = sqlc.arg('project') OR u.project_name = sqlc.arg('project'))
    AND (sqlc.arg('cluster')::text = '' OR u.cluster_name = sqlc.arg('cluster') OR u.cluster_id = sqlc.arg('cluster'))
    AND (sqlc.arg('name')::text = '' OR u.id = sqlc.arg('name') OR u.name = sqlc.arg('name') OR u.cluster_id = sqlc.arg('name')
        OR u.project_name || '/' || u.name = sqlc.arg('name') OR u.project_id || '/' || u.name = sqlc.arg('name'))
    AND u.id > sqlc.arg('after')::text COLLATE "C"
ORDER BY u.id LIMIT sqlc.arg('max');

-- name: History :many
-- A rotation's records are looked for from when it was requested, and a day before: the clock may have
-- been set back. An index on the rotation would cost every result two entries.
SELECT sqlc.embed(k), u.used_from AS used_until
FROM key_records k
LEFT JOIN key_records u ON u.id = (SELECT n.id FROM key_records n
    WHERE n.unit_id = k.unit_id AND (n.used_from, n.id) > (k.used_from, k.id) ORDER BY n.used_from, n.id LIMIT 1)
WHERE (sqlc.narg('rotation')::uuid IS NULL OR k.rotation_id = sqlc.narg('rotation'))
    AND (sqlc.narg('rotation')::uuid IS NULL
        OR k.used_from >= (SELECT r.requested_at - interval '1 day' FROM rotations r WHERE r.id = sqlc.narg('rotation')))
    AND (NOT sqlc.arg('by_unit')::boolean OR k.unit_id = ANY (sqlc.arg('units')::text[]))
    AND (sqlc.narg('after')::uuid IS NULL OR (k.used_from, k.id) > (SELECT a.used_from, a.id FROM key_records a WHERE a.id = sqlc.narg('after')))
ORDER BY k.used_from, k.id LIMIT sqlc.arg('max');

-- name: UnitsCalled :many
-- The name behind the last slash has an index, PROJECT/NAME as a whole has none.
SELECT id FROM units WHERE id = sqlc.arg('name')::text OR name = sqlc.arg('name') OR cluster_id = sqlc.arg('name')
    OR (name = regexp_replace(sqlc.arg('name'), '^.*/', '')
        AND (project_name || '/' || name = sqlc.arg('name') OR project_id || '/' || name = sqlc.arg('name')));

-- name: Clock :one
SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())::timestamptz AS now;

-- name: ReadOnly :one
SELECT (pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on')::boolean AS read_only;

-- name: KeyAges :many
-- The one look at everything that exists: for metrics, every few minutes. Ages are in microseconds.
SELECT u.target, count(*) AS units, count(*) FILTER (WHERE k.key_since IS NULL) AS unknown,
    coalesce(extract(epoch FROM coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) - min(k.key_since)) * 1000000, 0)::bigint AS oldest
FROM units u JOIN unit_keys k ON k.unit_id = u.id
GROUP BY u.target ORDER BY u.target;
