-- name: Policy :one
SELECT resources.spec, resources.generation, policies.paused
FROM resources JOIN policies ON policies.name = resources.name
WHERE resources.kind = 'Policy' AND resources.name = sqlc.arg(name);

-- name: DuePolicies :many
-- CROSS JOIN makes SQLite start with what is due, not with all the policies there are.
SELECT policies.name, policies.paused, policies.next_local, policies.next_timezone, policies.next_at, resources.spec, resources.generation,
    CAST(EXISTS (SELECT 1 FROM rotations WHERE rotations.policy = policies.name AND rotations.finished_at IS NULL) AS INTEGER) AS under_way
FROM policies CROSS JOIN resources ON resources.kind = 'Policy' AND resources.name = policies.name
WHERE policies.wake_at <= sqlc.arg(now) AND (policies.paused_until IS NULL OR policies.paused_until > sqlc.arg(now))
ORDER BY policies.wake_at
LIMIT sqlc.arg(max_rows);

-- name: AdvancePolicy :exec
UPDATE policies
SET next_local = sqlc.arg(next_local), next_timezone = sqlc.arg(next_timezone), next_at = sqlc.arg(next_at), wake_at = sqlc.arg(wake_at),
    deadline_at = sqlc.arg(deadline_at)
WHERE name = sqlc.arg(name);

-- name: LeavePolicy :exec
UPDATE policies SET wake_at = sqlc.arg(wake_at) WHERE name = sqlc.arg(name);

-- name: Superseded :many
-- Rotations that have not ended, although a later one of their policy is to take their place.
SELECT o.id FROM rotations AS n CROSS JOIN rotations AS o ON o.policy = n.policy AND o.finished_at IS NULL AND o.id < n.id
WHERE n.supersedes AND n.finished_at IS NULL AND NOT o.halted
ORDER BY o.id LIMIT sqlc.arg(max_rows);

-- name: NoteSkipped :exec
-- A slot that came and did not fire.
UPDATE policies SET skipped_slot = sqlc.arg(slot), skipped_reason = sqlc.arg(reason), skipped_at = sqlc.arg(now) WHERE name = sqlc.arg(name);

-- name: NextSlotDue :one
SELECT wake_at FROM policies WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 1;

-- name: NextPauseEnds :one
SELECT paused_until FROM policies WHERE paused_until IS NOT NULL ORDER BY paused_until LIMIT 1;

-- name: NextLook :one
SELECT look_at FROM rotations WHERE look_at IS NOT NULL AND finished_at IS NULL ORDER BY look_at LIMIT 1;

-- name: EndedPauses :many
SELECT policies.name, policies.paused_until, resources.spec, resources.generation
FROM policies CROSS JOIN resources ON resources.kind = 'Policy' AND resources.name = policies.name
WHERE policies.paused_until IS NOT NULL AND policies.paused_until <= sqlc.arg(now)
ORDER BY policies.paused_until
LIMIT sqlc.arg(max_rows);

-- name: DueLooks :many
-- Rotations that have not ended and whose policy's windows are to be looked at.
SELECT id, policy, open_until FROM rotations
WHERE look_at IS NOT NULL AND look_at <= sqlc.arg(now) AND finished_at IS NULL
ORDER BY look_at
LIMIT sqlc.arg(max_rows);

-- name: SetOpening :exec
UPDATE rotations SET open_until = sqlc.arg(open_until), look_at = sqlc.arg(look_at), opened_at = coalesce(sqlc.narg(opened_at), opened_at)
WHERE id = sqlc.arg(id);

-- name: OldestOpenKey :one
-- The oldest key among the units that a rotation has not turned yet; 0: none is known.
SELECT CAST(coalesce(min(unit_keys.key_since), 0) AS INTEGER) AS since FROM tasks CROSS JOIN unit_keys ON unit_keys.unit_id = tasks.unit_id
WHERE tasks.rotation_id = sqlc.arg(rotation_id) AND tasks.finished_at IS NULL;

-- name: LookAgain :exec
-- The windows of a policy changed: a scheduler asks for its rotations anew.
UPDATE rotations SET look_at = sqlc.arg(now) WHERE policy = sqlc.arg(policy) AND "trigger" = 'schedule' AND finished_at IS NULL;

-- name: OldUnits :many
-- Units of a target, found by the range of their ids, whose key is in use since a time or longer. What is
-- parked waits for a person, unless the unit has a newer key by now.
SELECT units.id, units.target, units.system, units.project_id, units.project_name, units.cluster_id, units.cluster_name, units.component,
    units.name, unit_keys.key_id, unit_keys.key_since, unit_keys.key_exact
FROM units CROSS JOIN unit_keys ON unit_keys.unit_id = units.id
WHERE units.id >= CAST(sqlc.arg(ids_from) AS TEXT) AND units.id < CAST(sqlc.arg(ids_to) AS TEXT)
    AND units.target = sqlc.arg(target) AND units.rotatable = 1
    AND unit_keys.key_since <= sqlc.arg(key_before)
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.unit_id = units.id AND tasks.state = 'parked' AND tasks.finished_at > unit_keys.key_since)
ORDER BY unit_keys.key_since, units.id;
