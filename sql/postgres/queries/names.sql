-- Keys that the history knows by a marker, and their ids.

-- name: KeyNames :many
SELECT unit_id, marker, key_id FROM key_names WHERE unit_id = ANY (sqlc.arg('units')::text[]);

-- name: UnnamedKeys :many
-- A unit has few records, and an index for them.
SELECT k.unit_id, k.key_id, k.used_from, u.used_from AS used_until, k.origin
FROM key_records k
LEFT JOIN key_records u ON u.id = (SELECT n.id FROM key_records n
    WHERE n.unit_id = k.unit_id AND (n.used_from, n.id) > (k.used_from, k.id) ORDER BY n.used_from, n.id LIMIT 1)
WHERE k.unit_id = ANY (sqlc.arg('units')::text[]) AND k.key_id LIKE 'kmip-rotated-at:%'
    AND NOT EXISTS (SELECT 1 FROM key_names m WHERE m.unit_id = k.unit_id AND m.marker = k.key_id)
ORDER BY k.unit_id, k.used_from, k.id;

-- name: NameKeys :exec
INSERT INTO key_names (unit_id, marker, key_id, seen_at)
SELECT unnest(sqlc.arg('units')::text[]), unnest(sqlc.arg('markers')::text[]), unnest(sqlc.arg('keys')::text[]),
    coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())
ON CONFLICT (unit_id, marker) DO NOTHING;
