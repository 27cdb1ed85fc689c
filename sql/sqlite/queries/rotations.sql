-- name: Rotation :one
SELECT * FROM rotations WHERE id = sqlc.arg(id);

-- name: RotationOfSlot :one
SELECT * FROM rotations WHERE policy = sqlc.arg(policy) AND slot = sqlc.arg(slot);

-- name: RotationOfTrigger :one
SELECT * FROM rotations WHERE trigger_id = sqlc.arg(trigger_id);

-- name: Rotations :many
-- Newest first: ids sort by time.
SELECT * FROM rotations
WHERE (sqlc.arg(before_id) = '' OR id < sqlc.arg(before_id))
    AND (sqlc.arg(policy) = '' OR policy = sqlc.arg(policy))
    AND (sqlc.arg(state) = '' OR state = sqlc.arg(state))
    AND id >= sqlc.arg(from_id) AND requested_at >= sqlc.arg(from_time) AND requested_at < sqlc.arg(to_time)
ORDER BY id DESC
LIMIT sqlc.arg(max_rows);

-- name: CountTasks :one
SELECT count(*) AS total,
    count(CASE WHEN state = 'succeeded' THEN 1 END) AS succeeded,
    count(CASE WHEN state = 'failed' THEN 1 END) AS failed,
    count(CASE WHEN state = 'skipped' THEN 1 END) AS skipped,
    count(CASE WHEN state = 'parked' THEN 1 END) AS parked,
    CAST((SELECT r.plan_left FROM rotations r WHERE r.id = sqlc.arg(rotation_id)) AS INTEGER) AS unsaved
FROM tasks WHERE rotation_id = sqlc.arg(rotation_id);

-- name: InsertRotation :exec
INSERT INTO rotations (id, policy, target, "trigger", trigger_id, slot, reason, requested_by, only_units, state, requested_at, open_until, look_at, supersedes)
VALUES (sqlc.arg(id), sqlc.arg(policy), sqlc.arg(target), sqlc.arg(triggered_by), sqlc.arg(trigger_id), sqlc.arg(slot),
    sqlc.arg(reason), sqlc.arg(requested_by), sqlc.arg(only_units), 'requested', sqlc.arg(requested_at),
    sqlc.arg(open_until), sqlc.arg(look_at), sqlc.arg(supersedes));

-- name: ClaimRotation :one
-- One that a schedule started waits for the rotations of its policy before it, and for its windows. One whose plan
-- is saved in part runs on, and waits for no window once it was stopped: nothing of it is turned any more. Who begins to plan it
-- does so for the target that its policy has by then; to renew a claim changes nothing about that.
UPDATE rotations
SET state = CASE WHEN plan_turn IS NULL THEN 'planning' ELSE state END, owner = sqlc.arg(owner), lease_until = sqlc.arg(lease_until),
    not_before = NULL, trouble = CASE WHEN halted THEN trouble ELSE '' END, started_at = coalesce(started_at, sqlc.arg(now)),
    target = CASE WHEN plan_turn IS NULL AND NOT (state = 'planning' AND owner = sqlc.arg(owner) AND lease_until > sqlc.arg(now))
        THEN coalesce((SELECT s.spec ->> '$.target' FROM resources AS s WHERE s.kind = 'Policy' AND s.name = rotations.policy), target) ELSE target END
WHERE rotations.id = sqlc.arg(id) AND (rotations.state IN ('requested', 'planning') OR rotations.plan_turn IS NOT NULL)
    AND (rotations.lease_until IS NULL OR rotations.lease_until <= sqlc.arg(now) OR rotations.owner = sqlc.arg(owner))
    AND (rotations.not_before IS NULL OR rotations.not_before <= sqlc.arg(now)) AND (rotations.open_until IS NULL OR rotations.open_until > sqlc.arg(now) OR rotations.halted)
    AND (rotations."trigger" <> 'schedule' OR NOT EXISTS (SELECT 1 FROM rotations AS o WHERE o.policy = rotations.policy AND o.finished_at IS NULL AND o.id < rotations.id))
RETURNING *;

-- name: SetMinInterval :exec
UPDATE rotations SET min_interval = sqlc.arg(min_interval) WHERE id = sqlc.arg(id) AND state = 'planning';

-- name: OwnPlan :one
-- The rotation, while it is the owner's to plan: how much of its plan is saved.
SELECT target, requested_at, min_interval, CAST(coalesce(plan_turn, 0) AS INTEGER) AS saved FROM rotations
WHERE id = sqlc.arg(id) AND (state = 'planning' OR plan_turn IS NOT NULL) AND owner = sqlc.arg(owner);

-- name: StartRotation :exec
UPDATE rotations SET state = 'running', owner = NULL, lease_until = NULL, not_before = NULL, plan_turn = NULL, plan_left = 0
WHERE id = sqlc.arg(id);

-- name: StartPart :exec
-- While a part of its plan is not saved a rotation stays its planner's. Of what is left to who begins anew, a planner before
-- him may have saved some.
UPDATE rotations SET state = 'running', plan_turn = sqlc.arg(plan_turn),
    plan_left = CASE WHEN plan_turn IS NULL THEN CAST(sqlc.arg(plan_left) AS INTEGER) ELSE min(plan_left, CAST(sqlc.arg(plan_left) AS INTEGER)) END
WHERE id = sqlc.arg(id);

-- name: FailRotation :execrows
UPDATE rotations
SET state = 'failed', trouble = sqlc.arg(trouble), owner = NULL, lease_until = NULL, not_before = NULL, finished_at = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND state = 'planning' AND owner = sqlc.arg(owner);

-- name: HaltPlan :execrows
-- The rest of a plan that is saved in part can't be saved any more.
UPDATE rotations
SET stop_reason = CASE WHEN halted THEN stop_reason ELSE sqlc.arg(stop_reason) END,
    trouble = CASE WHEN halted THEN trouble ELSE sqlc.arg(trouble) END,
    halted = 1, owner = NULL, lease_until = NULL, not_before = NULL, plan_turn = NULL
WHERE id = sqlc.arg(id) AND plan_turn IS NOT NULL AND owner = sqlc.arg(owner);

-- name: PostponeRotation :execrows
UPDATE rotations
SET owner = NULL, lease_until = NULL, not_before = sqlc.arg(not_before), trouble = CASE WHEN halted THEN trouble ELSE sqlc.arg(trouble) END
WHERE id = sqlc.arg(id) AND (state = 'planning' OR plan_turn IS NOT NULL) AND owner = sqlc.arg(owner);

-- name: UnplannedRotations :many
SELECT rotations.id FROM rotations
WHERE (rotations.state IN ('requested', 'planning') OR rotations.plan_turn IS NOT NULL)
    AND (rotations.lease_until IS NULL OR rotations.lease_until <= sqlc.arg(now)) AND (rotations.not_before IS NULL OR rotations.not_before <= sqlc.arg(now))
    AND (rotations.open_until IS NULL OR rotations.open_until > sqlc.arg(now) OR rotations.halted)
    AND (rotations."trigger" <> 'schedule' OR NOT EXISTS (SELECT 1 FROM rotations AS o WHERE o.policy = rotations.policy AND o.finished_at IS NULL AND o.id < rotations.id))
ORDER BY rotations.id
LIMIT sqlc.arg(max_rows);

-- name: TurnedAt :one
SELECT turned_at FROM unit_keys WHERE unit_id = sqlc.arg(unit_id);
