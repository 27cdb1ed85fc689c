-- name: FireNewSlots :exec
-- Inserts a rotation for each slot, and announces 32 of them at a time: a row for each would cost a fifth more. In
-- the order of two of the indexes, which spares them some work. Columns that hardly ever have a value end after the last one that has; of which
-- all rows have the same value, that is told once.
WITH slot AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('policies')::text[]) AS policy,
        unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('slots')::text[]) AS slot,
        unnest(sqlc.arg('reasons')::text[]) AS reason, unnest(sqlc.arg('supersede')::boolean[]) AS supersedes, unnest(sqlc.arg('only')::text[]) AS only_units,
        nullif(unnest(sqlc.arg('open_untils')::timestamptz[]), 'epoch') AS open_until, -- epoch: none
        nullif(unnest(sqlc.arg('look_ats')::timestamptz[]), 'epoch') AS look_at
), fired AS (
    INSERT INTO rotations (id, policy, target, trigger, slot, reason, requested_by, only_units, requested_at, open_until, look_at, supersedes)
    SELECT id, policy, coalesce(target, sqlc.arg('target')::text), 'schedule', coalesce(slot, sqlc.arg('slot')::text), coalesce(reason, ''), '', coalesce(only_units, '{}')::jsonb, sqlc.arg('now')::timestamptz,
        open_until, look_at, coalesce(supersedes, false)
    FROM slot ORDER BY policy, slot
    RETURNING id
)
INSERT INTO announcements (id, type, task_ids)
SELECT gen_random_uuid(), 'rotations', array_agg(n.id)
FROM (SELECT id, (row_number() OVER () - 1) / 32 AS part FROM fired) n GROUP BY n.part;

-- name: FireSlots :many
-- Does the same for each slot that has no rotation. To ask for that costs a tenth more.
WITH slot AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('policies')::text[]) AS policy,
        unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('slots')::text[]) AS slot,
        unnest(sqlc.arg('reasons')::text[]) AS reason, unnest(sqlc.arg('supersede')::boolean[]) AS supersedes, unnest(sqlc.arg('only')::text[]) AS only_units,
        nullif(unnest(sqlc.arg('open_untils')::timestamptz[]), 'epoch') AS open_until, -- epoch: none
        nullif(unnest(sqlc.arg('look_ats')::timestamptz[]), 'epoch') AS look_at
), fired AS (
    INSERT INTO rotations (id, policy, target, trigger, slot, reason, requested_by, only_units, requested_at, open_until, look_at, supersedes)
    SELECT id, policy, coalesce(target, sqlc.arg('target')::text), 'schedule', coalesce(slot, sqlc.arg('slot')::text), coalesce(reason, ''), '', coalesce(only_units, '{}')::jsonb, sqlc.arg('now')::timestamptz,
        open_until, look_at, coalesce(supersedes, false)
    FROM slot ORDER BY policy, slot
    ON CONFLICT (policy, slot) WHERE slot IS NOT NULL DO NOTHING
    RETURNING id
), told AS (
    INSERT INTO announcements (id, type, task_ids)
    SELECT gen_random_uuid(), 'rotations', array_agg(n.id)
    FROM (SELECT id, (row_number() OVER () - 1) / 32 AS part FROM fired) n GROUP BY n.part
)
SELECT id FROM fired;

-- name: Timetables :many
SELECT id, schedule FROM timetables WHERE id = ANY (sqlc.arg('ids')::bigint[]);

-- name: LeavePolicies :exec
UPDATE policies SET wake_at = sqlc.arg('until') WHERE name = ANY (sqlc.arg('names')::text[]) AND next_at IS NOT NULL;

-- name: Superseded :many
-- Rotations that have not ended, although a later one of their policy is to take their place.
SELECT o.id FROM rotations n CROSS JOIN LATERAL (
    SELECT r.id FROM rotations r WHERE r.policy = n.policy AND r.finished_at IS NULL AND NOT r.halted
        AND (r.requested_at, r.id) < (n.requested_at, n.id)
    ORDER BY r.requested_at, r.id LIMIT sqlc.arg('max')
) o
WHERE n.supersedes AND n.finished_at IS NULL LIMIT sqlc.arg('max');

-- name: NoteSkipped :exec
-- Slots that came and did not fire.
WITH slot AS MATERIALIZED (
    SELECT unnest(sqlc.arg('names')::text[]) AS name, unnest(sqlc.arg('slots')::text[]) AS slot, unnest(sqlc.arg('reasons')::text[]) AS reason
)
UPDATE policies p SET skipped_slot = s.slot, skipped_reason = s.reason, skipped_at = sqlc.arg('now')::timestamptz
FROM slot s WHERE p.name = s.name;

-- name: NextDue :one
-- The first of: a slot, the end of a pause, a window's edge for a rotation. Each is the least entry of an
-- index. Epoch: there is none.
SELECT coalesce(least(
    (SELECT p.wake_at FROM policies p WHERE p.wake_at IS NOT NULL ORDER BY p.wake_at LIMIT 1),
    (SELECT p.paused_until FROM policies p WHERE p.paused_until IS NOT NULL ORDER BY p.paused_until LIMIT 1),
    (SELECT r.look_at FROM rotations r WHERE r.look_at IS NOT NULL AND r.finished_at IS NULL ORDER BY r.look_at LIMIT 1)
    ), 'epoch')::timestamptz AS wake_at, coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())::timestamptz AS now;

-- name: EndedPauses :many
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), ended AS MATERIALIZED (
    SELECT p.name, p.paused_until FROM policies p
    WHERE p.paused_until <= (SELECT at FROM clock)
    ORDER BY p.paused_until LIMIT sqlc.arg('max') FOR UPDATE SKIP LOCKED
)
SELECT e.name, e.paused_until::timestamptz AS paused_until, s.spec, s.generation, (SELECT at FROM clock)::timestamptz AS now
FROM ended e CROSS JOIN LATERAL (
    SELECT r.spec, r.generation FROM resources r WHERE r.kind = 'Policy' AND r.name = e.name LIMIT 1
) s;

-- name: EndPause :exec
UPDATE policies SET paused = false, paused_by = '', pause_note = '', paused_until = NULL, resumed_at = sqlc.arg('now')::timestamptz,
    next_local = sqlc.narg('next_local'), next_timezone = sqlc.narg('next_timezone'), next_at = sqlc.narg('next_at'), wake_at = sqlc.narg('next_at')
WHERE name = sqlc.arg('name');

-- name: DueLooks :many
-- Rotations that have not ended and whose policy's windows are to be looked at.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), due AS MATERIALIZED (
    SELECT r.id, r.policy, r.open_until FROM rotations r
    WHERE r.look_at <= (SELECT at FROM clock) AND r.finished_at IS NULL
    ORDER BY r.look_at LIMIT sqlc.arg('max') FOR UPDATE SKIP LOCKED
)
SELECT d.id, d.policy, d.open_until, coalesce(s.spec, 'null')::jsonb AS spec, coalesce(s.generation, 0)::bigint AS generation,
    (SELECT at FROM clock)::timestamptz AS now
FROM due d LEFT JOIN LATERAL (
    SELECT r.spec, r.generation FROM resources r WHERE r.kind = 'Policy' AND r.name = d.policy LIMIT 1
) s ON true;

-- name: SetOpening :exec
-- opened_at stays as long as the rotation stays open.
UPDATE rotations SET open_until = sqlc.narg('open_until'), look_at = sqlc.narg('look_at'),
    opened_at = CASE WHEN open_until <= sqlc.arg('now')::timestamptz AND coalesce(sqlc.narg('open_until')::timestamptz, 'infinity') > sqlc.arg('now')::timestamptz
        THEN sqlc.arg('now')::timestamptz ELSE opened_at END
WHERE id = sqlc.arg('id');

-- name: OldestOpenKey :one
-- The oldest key among the units that a rotation has not turned yet; epoch: none is known.
SELECT coalesce(min(k.key_since), 'epoch')::timestamptz AS since FROM tasks t JOIN unit_keys k ON k.unit_id = t.unit_id
WHERE t.rotation_id = sqlc.arg('rotation') AND t.finished_at IS NULL;

-- name: LookAgain :exec
-- The windows of a policy changed: a scheduler asks for its rotations anew.
UPDATE rotations SET look_at = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())
WHERE policy = sqlc.arg('policy') AND trigger = 'schedule' AND finished_at IS NULL;

-- name: OldUnits :many
-- Units of a target, found by the range of their ids, whose key is in use since a time or longer. What is
-- parked waits for a person, unless the unit has a newer key by now.
SELECT u.id, u.target, u.system, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name, k.key_id, k.key_since, k.key_exact
FROM units u JOIN unit_keys k ON k.unit_id = u.id
WHERE u.id >= sqlc.arg('target')::text || '.' AND u.id < sqlc.arg('target')::text || '/' AND u.target = sqlc.arg('target') AND u.rotatable
    AND k.key_since <= sqlc.arg('before')::timestamptz
    AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.unit_id = u.id AND t.parked AND t.finished_at > k.key_since)
ORDER BY k.key_since, u.id;
