-- name: Resource :one
SELECT * FROM resources WHERE kind = sqlc.arg(kind) AND name = sqlc.arg(name);

-- name: Resources :many
SELECT resources.*, policies.paused, policies.paused_by, policies.pause_note, policies.paused_until, policies.skipped_slot,
    policies.skipped_reason, policies.skipped_at, policies.next_local, policies.next_timezone,
    policies.next_at, targets.hold_until, targets.hold_reason
FROM resources
LEFT JOIN policies ON resources.kind = 'Policy' AND policies.name = resources.name
LEFT JOIN targets ON resources.kind = 'Target' AND targets.name = resources.name
WHERE (sqlc.arg(kind) = '' OR resources.kind = sqlc.arg(kind)) AND (sqlc.arg(name) = '' OR resources.name = sqlc.arg(name))
ORDER BY resources.kind, resources.name;

-- name: InsertResource :exec
INSERT INTO resources (kind, name, spec, generation, created_at, updated_at)
VALUES (sqlc.arg(kind), sqlc.arg(name), sqlc.arg(spec), 1, sqlc.arg(now), sqlc.arg(now));

-- name: UpdateResource :exec
UPDATE resources SET spec = sqlc.arg(spec), generation = generation + 1, updated_at = max(created_at, sqlc.arg(now))
WHERE kind = sqlc.arg(kind) AND name = sqlc.arg(name);

-- name: DeleteResource :exec
DELETE FROM resources WHERE kind = sqlc.arg(kind) AND name = sqlc.arg(name);

-- name: UpsertTarget :exec
INSERT INTO targets (name) VALUES (sqlc.arg(name)) ON CONFLICT (name) DO NOTHING;

-- name: UpsertPolicySlot :exec
INSERT INTO policies (name, next_local, next_timezone, next_at, wake_at)
VALUES (sqlc.arg(name), sqlc.arg(next_local), sqlc.arg(next_timezone), sqlc.arg(next_at), sqlc.arg(wake_at))
ON CONFLICT (name) DO UPDATE SET
    next_local = excluded.next_local, next_timezone = excluded.next_timezone, next_at = excluded.next_at, wake_at = excluded.wake_at,
    deadline_at = NULL;

-- name: PausePolicy :execrows
-- What is so already is not changed.
UPDATE policies SET paused = 1, paused_by = sqlc.arg(paused_by), pause_note = sqlc.arg(pause_note), paused_until = sqlc.arg(paused_until)
WHERE name = sqlc.arg(name) AND (paused = 0 OR paused_by <> sqlc.arg(paused_by) OR pause_note <> sqlc.arg(pause_note)
    OR paused_until IS NOT sqlc.arg(paused_until));

-- name: PolicyExists :one
SELECT CAST(EXISTS (SELECT 1 FROM policies WHERE name = sqlc.arg(name)) AS INTEGER);

-- name: ResumePolicy :execrows
-- One that is not paused keeps its next slot, which may be due.
UPDATE policies
SET paused = 0, paused_by = '', pause_note = '', paused_until = NULL, resumed_at = sqlc.arg(now), next_local = sqlc.arg(next_local),
    next_timezone = sqlc.arg(next_timezone), next_at = sqlc.arg(next_at), wake_at = sqlc.arg(next_at)
WHERE name = sqlc.arg(name) AND paused = 1;

-- name: UnfinishedOfTarget :one
-- Whether a task of the target is open, or a rotation of it, or the rest of one, is still to be planned.
SELECT CAST(EXISTS (SELECT 1 FROM rotations CROSS JOIN tasks ON tasks.rotation_id = rotations.id
        WHERE rotations.target = sqlc.arg(name) AND rotations.state = 'running' AND tasks.finished_at IS NULL)
    OR EXISTS (SELECT 1 FROM tasks WHERE tasks.target = sqlc.arg(name) AND tasks.back = 'intended')
    OR EXISTS (SELECT 1 FROM tasks WHERE tasks.target = sqlc.arg(name) AND tasks.handed_at IS NOT NULL)
    OR EXISTS (SELECT 1 FROM rotations WHERE rotations.target = sqlc.arg(name)
        AND (rotations.state IN ('requested', 'planning') OR rotations.plan_turn IS NOT NULL)) AS INTEGER);

-- name: PausedUnfinished :one
-- Whether the policy is paused, or has windows, and a rotation of it has not ended.
SELECT CAST(EXISTS (SELECT 1 FROM policies JOIN rotations ON rotations.policy = policies.name
    WHERE policies.name = sqlc.arg(name) AND (policies.paused = 1 OR rotations.open_until IS NOT NULL) AND rotations.finished_at IS NULL) AS INTEGER);

-- name: DeletePolicy :exec
DELETE FROM policies WHERE name = sqlc.arg(name);

-- name: PolicyOfTarget :one
SELECT name FROM resources
WHERE kind = 'Policy' AND json_extract(spec, '$.target') = sqlc.arg(target)
ORDER BY name
LIMIT 1;

-- name: MissingTarget :one
-- The target that the policy names, if it does not exist.
SELECT CAST(coalesce(json_extract(resources.spec, '$.target'), '') AS TEXT) AS target FROM resources
WHERE resources.kind = 'Policy' AND resources.name = sqlc.arg(policy) AND NOT EXISTS (
    SELECT 1 FROM resources AS targets
    WHERE targets.kind = 'Target' AND targets.name = json_extract(resources.spec, '$.target')
);
