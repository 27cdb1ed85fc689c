-- name: DuePolicies :many
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
SELECT p.name, p.paused, p.next_local::text AS next_local, p.next_timezone::text AS next_timezone, p.next_at::timestamptz AS next_at,
    s.spec, s.generation, (SELECT at FROM clock)::timestamptz AS now
FROM policies p JOIN resources s ON s.kind = 'Policy' AND s.name = p.name
WHERE p.wake_at <= (SELECT at FROM clock)
ORDER BY p.wake_at, p.name LIMIT sqlc.arg('max') FOR UPDATE OF p SKIP LOCKED;

-- name: FireSlots :many
-- Inserts a rotation for each slot that has none, and an announcement for each of those.
WITH slot AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('policies')::text[]) AS policy,
        unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('slots')::text[]) AS slot
), fired AS (
    INSERT INTO rotations (id, policy, target, trigger, slot, reason, requested_by, only_units, requested_at)
    SELECT id, policy, target, 'schedule', slot, '', '', '{}', sqlc.arg('now')::timestamptz FROM slot
    ON CONFLICT DO NOTHING
    RETURNING id
), told AS (
    INSERT INTO announcements (id, type, rotation_id) SELECT gen_random_uuid(), 'rotation.requested', id FROM fired
)
SELECT id FROM fired;

-- name: AdvancePolicies :exec
-- A slot without a time ends the policy's schedule.
WITH slot AS MATERIALIZED (
    SELECT unnest(sqlc.arg('names')::text[]) AS name, unnest(sqlc.arg('was')::timestamptz[]) AS was,
        unnest(sqlc.arg('locals')::text[]) AS local, unnest(sqlc.arg('timezones')::text[]) AS timezone,
        unnest(sqlc.arg('ats')::timestamptz[]) AS at, unnest(sqlc.arg('ends')::boolean[]) AS ends
)
UPDATE policies p SET
    next_local = CASE WHEN NOT s.ends THEN s.local END, next_timezone = CASE WHEN NOT s.ends THEN s.timezone END,
    next_at = CASE WHEN NOT s.ends THEN s.at END, wake_at = CASE WHEN NOT s.ends THEN s.at END
FROM slot s WHERE p.name = s.name AND p.next_at = s.was;

-- name: LeavePolicies :exec
UPDATE policies SET wake_at = sqlc.arg('until') WHERE name = ANY (sqlc.arg('names')::text[]) AND next_at IS NOT NULL;

-- name: NextDue :one
SELECT p.wake_at::timestamptz AS wake_at, coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())::timestamptz AS now
FROM policies p WHERE p.wake_at IS NOT NULL ORDER BY p.wake_at LIMIT 1;
