-- Keys that the history knows by a marker, and their ids.

-- name: KeyNamesOf :many
SELECT marker, key_id FROM key_names WHERE unit_id = sqlc.arg(unit_id);

-- name: UnnamedKeys :many
SELECT key_id, used_from, used_until, origin FROM key_history
WHERE key_history.unit_id = sqlc.arg(unit_id) AND key_id LIKE 'kmip-rotated-at:%'
    AND NOT EXISTS (SELECT 1 FROM key_names WHERE key_names.unit_id = key_history.unit_id AND key_names.marker = key_history.key_id)
ORDER BY id;

-- name: NameKey :exec
INSERT INTO key_names (unit_id, marker, key_id, seen_at)
VALUES (sqlc.arg(unit_id), sqlc.arg(marker), sqlc.arg(key_id), sqlc.arg(seen_at))
ON CONFLICT (unit_id, marker) DO NOTHING;
