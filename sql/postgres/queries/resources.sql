-- name: Resources :many
-- All, those of one kind, or one.
SELECT s.kind, s.name, s.spec, s.generation, s.created_at, s.updated_at,
    coalesce(p.paused, false)::boolean AS paused, coalesce(p.paused_by, '')::text AS paused_by, coalesce(p.pause_note, '')::text AS pause_note,
    p.paused_until, p.skipped_slot, p.skipped_reason, p.skipped_at,
    p.next_local, p.next_timezone, p.next_at, g.hold_until, coalesce(g.hold_reason, '')::text AS hold_reason,
    coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())::timestamptz AS now
FROM resources s
LEFT JOIN policies p ON s.kind = 'Policy' AND p.name = s.name
LEFT JOIN targets g ON s.kind = 'Target' AND g.name = s.name
WHERE (sqlc.narg('kind')::text IS NULL OR s.kind = sqlc.narg('kind')) AND (sqlc.narg('name')::text IS NULL OR s.name = sqlc.narg('name'))
ORDER BY s.kind COLLATE "C", s.name COLLATE "C";

-- name: LockResources :exec
-- One apply at a time, so that what it checks still holds when it commits. Readers do not wait.
LOCK TABLE resources IN SHARE ROW EXCLUSIVE MODE;

-- name: CreateResource :execrows
INSERT INTO resources (kind, name, spec, generation, created_at, updated_at)
SELECT sqlc.arg('kind'), sqlc.arg('name'), sqlc.arg('spec')::jsonb, 1, c.at, c.at
FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at) c
ON CONFLICT DO NOTHING;

-- name: UpdateResource :execrows
UPDATE resources SET spec = sqlc.arg('spec')::jsonb, generation = generation + 1,
    updated_at = greatest(updated_at, coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()))
WHERE kind = sqlc.arg('kind') AND name = sqlc.arg('name') AND generation = sqlc.arg('expect');

-- name: DeleteResource :execrows
DELETE FROM resources WHERE kind = sqlc.arg('kind') AND name = sqlc.arg('name') AND generation = sqlc.arg('expect');

-- name: OrphanedPolicies :many
-- Policies whose target does not exist.
SELECT p.name, (p.spec ->> 'target')::text AS target FROM resources p
WHERE p.kind = 'Policy' AND NOT EXISTS (SELECT 1 FROM resources t WHERE t.kind = 'Target' AND t.name = p.spec ->> 'target')
ORDER BY p.name;

-- name: UnfinishedOfTarget :one
-- Whether a task of the target is open, or a rotation of it, or the rest of one, is still to be planned.
SELECT (EXISTS (SELECT 1 FROM tasks t WHERE t.target = sqlc.arg('name')::text AND t.finished_at IS NULL)
    OR EXISTS (SELECT 1 FROM rotations r WHERE r.target = sqlc.arg('name')::text AND (r.state IN ('requested', 'planning') OR r.plan_turn IS NOT NULL)))::boolean;

-- name: PausedUnfinished :one
-- Whether the policy is paused, or has windows, and a rotation of it has not ended.
SELECT (EXISTS (SELECT 1 FROM policies p JOIN rotations r ON r.policy = p.name
    WHERE p.name = sqlc.arg('name')::text AND (p.paused OR r.open_until IS NOT NULL) AND r.finished_at IS NULL))::boolean;

-- name: SetSlot :exec
-- Should two schedules have the same id, the second is read from the spec.
WITH timetable AS (
    INSERT INTO timetables (id, schedule) SELECT sqlc.narg('timetable')::bigint, sqlc.narg('schedule')::text WHERE sqlc.narg('timetable')::bigint IS NOT NULL
    ON CONFLICT DO NOTHING
), plain AS (
    SELECT sqlc.narg('timetable')::bigint IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM timetables t WHERE t.id = sqlc.narg('timetable')::bigint AND t.schedule <> sqlc.narg('schedule')::text) AS is
)
INSERT INTO policies (name, target, timetable, next_local, next_timezone, next_at, wake_at)
SELECT sqlc.arg('name'), CASE WHEN plain.is THEN sqlc.narg('target')::text END, CASE WHEN plain.is THEN sqlc.narg('timetable')::bigint END,
    sqlc.narg('next_local'), sqlc.narg('next_timezone'), sqlc.narg('next_at'), sqlc.narg('wake_at')
FROM plain
ON CONFLICT (name) DO UPDATE SET target = excluded.target, timetable = excluded.timetable, next_local = excluded.next_local,
    next_timezone = excluded.next_timezone, next_at = excluded.next_at, wake_at = excluded.wake_at, deadline_at = NULL;

-- name: DeletePolicy :exec
DELETE FROM policies WHERE name = sqlc.arg('name');

-- name: AddTarget :exec
INSERT INTO targets (name) VALUES (sqlc.arg('name')) ON CONFLICT DO NOTHING;

-- name: FreeTarget :exec
UPDATE targets SET hold_until = NULL, hold_reason = '' WHERE name = sqlc.arg('name');

-- name: PausePolicy :execrows
-- Its next slot stays: a scheduler moves it on without firing. What is so already is not changed.
UPDATE policies SET paused = true, paused_by = sqlc.arg('by'), pause_note = sqlc.arg('note'), paused_until = sqlc.narg('until')
WHERE name = sqlc.arg('name') AND (NOT paused OR paused_by <> sqlc.arg('by') OR pause_note <> sqlc.arg('note')
    OR paused_until IS DISTINCT FROM sqlc.narg('until')::timestamptz);

-- name: PolicyExists :one
SELECT (EXISTS (SELECT 1 FROM policies WHERE name = sqlc.arg('name')))::boolean;

-- name: ResumePolicy :execrows
-- One that is not paused keeps its next slot, which may be due.
UPDATE policies SET paused = false, paused_by = '', pause_note = '', paused_until = NULL,
    resumed_at = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()),
    next_local = sqlc.narg('next_local'), next_timezone = sqlc.narg('next_timezone'), next_at = sqlc.narg('next_at'), wake_at = sqlc.narg('next_at')
WHERE name = sqlc.arg('name') AND paused;
