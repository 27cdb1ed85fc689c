-- name: DueLook :one
-- How long a look at a target's keys has been due, if it may begin now but for the rotations. NULL: it is not due.
SELECT targets.name, targets.observed_at, targets.observe_asked, targets.trouble_since, resources.created_at
FROM targets JOIN resources ON resources.kind = 'Target' AND resources.name = targets.name
WHERE targets.name = sqlc.arg(name)
    AND (targets.observe_after IS NULL OR targets.observe_after <= sqlc.arg(now))
    AND (targets.observe_until IS NULL OR targets.observe_until <= sqlc.arg(now))
    AND (targets.hold_until IS NULL OR targets.hold_until <= sqlc.arg(now));

-- name: TargetRuns :one
-- Whether a rotation works on the target.
SELECT CAST(EXISTS (SELECT 1 FROM rotations WHERE target = sqlc.arg(target) AND state = 'running') AS INTEGER) AS runs;

-- name: TargetWaits :one
-- Whether a rotation is about to work on the target.
SELECT CAST(EXISTS (SELECT 1 FROM rotations WHERE target = sqlc.arg(target) AND state IN ('requested', 'planning'))
    OR EXISTS (SELECT 1 FROM policies CROSS JOIN resources ON resources.kind = 'Policy' AND resources.name = policies.name
        WHERE policies.wake_at <= sqlc.arg(soon) AND policies.paused = 0 AND json_extract(resources.spec, '$.target') = sqlc.arg(target))
    AS INTEGER) AS waits;

-- name: TakeLook :exec
UPDATE targets SET observe_owner = sqlc.arg(owner), observe_until = sqlc.arg(until) WHERE name = sqlc.arg(name);

-- name: RenewLook :execrows
UPDATE targets SET observe_until = sqlc.arg(until) WHERE name = sqlc.arg(name) AND observe_owner = sqlc.arg(owner);

-- name: EndLook :execrows
-- What was asked for since it began stays due.
UPDATE targets SET observe_owner = NULL, observe_until = NULL, observe_after = NULL, observed_at = sqlc.arg(now),
    observe_asked = CASE WHEN observe_asked <= sqlc.arg(began) THEN NULL ELSE observe_asked END
WHERE name = sqlc.arg(name) AND observe_owner = sqlc.arg(owner);

-- name: BreakLook :execrows
-- A look that did not come to its end is still due, after a while.
UPDATE targets SET observe_owner = NULL, observe_until = NULL, observe_after = sqlc.arg(after)
WHERE name = sqlc.arg(name) AND observe_owner = sqlc.arg(owner);

-- name: AskLook :execrows
UPDATE targets SET observe_asked = sqlc.arg(now), observe_after = NULL
WHERE targets.name = sqlc.arg(name) AND EXISTS (SELECT 1 FROM resources WHERE resources.kind = 'Target' AND resources.name = targets.name);

-- name: PoliciesOfTarget :many
SELECT resources.name, resources.spec, resources.generation, coalesce(policies.paused, 0) AS paused
FROM resources LEFT JOIN policies ON policies.name = resources.name
WHERE resources.kind = 'Policy' AND json_extract(resources.spec, '$.target') = sqlc.arg(target)
ORDER BY resources.name;

-- name: KnownKey :one
SELECT unit_keys.key_id, unit_keys.key_since, CAST(EXISTS (SELECT 1 FROM tasks WHERE tasks.unit_id = unit_keys.unit_id AND tasks.state = 'intended') AS INTEGER) AS busy
FROM unit_keys WHERE unit_keys.unit_id = sqlc.arg(unit_id);

-- name: KeyRecord :one
SELECT * FROM key_records WHERE id = sqlc.arg(id);
