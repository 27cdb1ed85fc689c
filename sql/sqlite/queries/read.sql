-- name: Units :many
SELECT sqlc.embed(units), sqlc.embed(unit_keys)
FROM units CROSS JOIN unit_keys ON unit_keys.unit_id = units.id
WHERE units.id > sqlc.arg(after_id)
    AND (sqlc.arg(target) = '' OR units.target = sqlc.arg(target))
    AND (sqlc.arg(project) = '' OR units.project_id = sqlc.arg(project) OR units.project_name = sqlc.arg(project))
    AND (sqlc.arg(cluster) = '' OR units.cluster_name = sqlc.arg(cluster) OR units.cluster_id = sqlc.arg(cluster))
    AND (sqlc.arg(name) = '' OR units.id = sqlc.arg(name) OR units.name = sqlc.arg(name) OR units.cluster_id = sqlc.arg(name)
        OR units.project_name || '/' || units.name = sqlc.arg(name) OR units.project_id || '/' || units.name = sqlc.arg(name))
ORDER BY units.id
LIMIT sqlc.arg(max_rows);

-- name: History :many
SELECT * FROM key_history
WHERE id > sqlc.arg(after_id)
ORDER BY id
LIMIT sqlc.arg(max_rows);

-- name: HistoryOfUnits :many
SELECT key_history.* FROM key_history
WHERE key_history.id > sqlc.arg(after_id)
    AND key_history.unit_id IN (SELECT units.id FROM units WHERE units.id = sqlc.arg(unit) OR units.name = sqlc.arg(unit) OR units.cluster_id = sqlc.arg(unit)
        OR units.project_name || '/' || units.name = sqlc.arg(unit) OR units.project_id || '/' || units.name = sqlc.arg(unit))
    AND (sqlc.arg(rotation_id) = '' OR key_history.rotation_id = sqlc.arg(rotation_id))
ORDER BY key_history.id
LIMIT sqlc.arg(max_rows);

-- name: HistoryOfRotation :many
-- By way of its units: each has few records, and an index for them.
SELECT key_history.* FROM key_history
WHERE key_history.id > sqlc.arg(after_id) AND key_history.rotation_id = sqlc.arg(rotation_id)
    AND key_history.unit_id IN (SELECT tasks.unit_id FROM tasks WHERE tasks.rotation_id = sqlc.arg(rotation_id))
ORDER BY key_history.id
LIMIT sqlc.arg(max_rows);

-- name: KeyAges :many
-- The one look at everything that exists: for metrics, every few minutes.
SELECT u.target, count(*) AS units, CAST(sum(k.key_since IS NULL) AS INTEGER) AS unknown, CAST(coalesce(min(k.key_since), 0) AS INTEGER) AS oldest_since
FROM units u JOIN unit_keys k ON k.unit_id = u.id
GROUP BY u.target ORDER BY u.target;
