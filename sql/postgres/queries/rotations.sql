-- name: Rotation :one
SELECT sqlc.embed(r), c.total AS tasks_total, c.succeeded AS tasks_succeeded, c.failed AS tasks_failed,
    c.skipped AS tasks_skipped, c.parked AS tasks_parked
FROM rotations r
CROSS JOIN LATERAL (
    SELECT count(*) AS total, count(*) FILTER (WHERE t.state = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE t.state = 'failed') AS failed, count(*) FILTER (WHERE t.state = 'skipped') AS skipped,
        count(*) FILTER (WHERE t.state = 'parked') AS parked
    FROM tasks t WHERE t.rotation_id = r.id AND r.state = 'running'
) c
WHERE r.id = sqlc.arg('id');

-- name: Rotations :many
-- Walks the index of the newest; the tasks of a rotation are counted only if it is on the page.
SELECT sqlc.embed(r), c.total AS tasks_total, c.succeeded AS tasks_succeeded, c.failed AS tasks_failed,
    c.skipped AS tasks_skipped, c.parked AS tasks_parked
FROM rotations r
CROSS JOIN LATERAL (
    SELECT count(*) AS total, count(*) FILTER (WHERE t.state = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE t.state = 'failed') AS failed, count(*) FILTER (WHERE t.state = 'skipped') AS skipped,
        count(*) FILTER (WHERE t.state = 'parked') AS parked
    FROM tasks t WHERE t.rotation_id = r.id AND r.state = 'running'
) c
WHERE (sqlc.arg('policy')::text = '' OR r.policy = sqlc.arg('policy')) AND (sqlc.arg('state')::text = '' OR r.state = sqlc.arg('state'))
    AND r.requested_at >= sqlc.arg('from_time')::timestamptz AND r.requested_at < sqlc.arg('to_time')::timestamptz
    AND (sqlc.narg('after')::uuid IS NULL
        OR (r.requested_at, r.id) < (SELECT a.requested_at, a.id FROM rotations a WHERE a.id = sqlc.narg('after')))
ORDER BY r.requested_at DESC, r.id DESC LIMIT sqlc.arg('max');

-- name: Request :one
-- Inserts a rotation and its announcement, unless the policy is unknown or the slot or trigger id has one.
WITH rotation AS (
    INSERT INTO rotations (id, policy, target, trigger, trigger_id, slot, reason, requested_by, only_units, requested_at)
    SELECT sqlc.arg('id')::uuid, p.name, p.spec ->> 'target', sqlc.arg('trigger')::text, sqlc.narg('trigger_id')::text,
        sqlc.narg('slot')::text, sqlc.arg('reason')::text, sqlc.arg('requested_by')::text, sqlc.arg('only_units')::jsonb,
        coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())
    FROM resources p WHERE p.kind = 'Policy' AND p.name = sqlc.arg('policy')
    ON CONFLICT DO NOTHING
    RETURNING id
)
INSERT INTO announcements (id, type, rotation_id)
SELECT sqlc.arg('announcement')::uuid, 'rotation.requested', id FROM rotation
RETURNING rotation_id;

-- name: RotationByKey :one
-- Finds the rotation of a trigger id, or of a policy's slot.
SELECT id, policy FROM rotations
WHERE trigger_id = sqlc.narg('trigger_id') OR (policy = sqlc.arg('policy') AND slot = sqlc.narg('slot'));

-- name: ClaimRotation :one
-- One that a schedule started waits for the rotations of its policy before it, and for its windows. One whose plan
-- is saved in part runs on, and waits for no window once it was stopped: nothing of it is turned any more. Who begins to plan it
-- does so for the target that its policy has by then; to renew a claim changes nothing about that.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
UPDATE rotations r SET
    state = CASE WHEN r.plan_turn IS NULL THEN 'planning' ELSE r.state END,
    owner = sqlc.arg('owner')::text, lease_until = clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond',
    not_before = NULL, started_at = coalesce(r.started_at, clock.at),
    target = CASE WHEN r.plan_turn IS NULL AND NOT (r.state = 'planning' AND r.owner = sqlc.arg('owner')::text AND r.lease_until >= clock.at)
        THEN s.spec ->> 'target' ELSE r.target END
FROM clock, resources s LEFT JOIN policies p ON p.name = s.name
WHERE r.id = sqlc.arg('id') AND (r.state IN ('requested', 'planning') OR r.plan_turn IS NOT NULL)
    AND (r.lease_until IS NULL OR r.lease_until < clock.at OR r.owner = sqlc.arg('owner'))
    AND (r.not_before IS NULL OR r.not_before <= clock.at) AND (r.open_until IS NULL OR r.open_until > clock.at OR r.halted)
    AND (r.trigger <> 'schedule' OR (SELECT o.id FROM rotations o WHERE o.policy = r.policy AND o.finished_at IS NULL
            AND (o.requested_at, o.id) < (r.requested_at, r.id) LIMIT 1) IS NULL)
    AND s.kind = 'Policy' AND s.name = r.policy
RETURNING sqlc.embed(r), s.spec, s.generation, coalesce(p.paused, false)::boolean AS paused;

-- name: SetMinInterval :exec
UPDATE rotations SET min_interval = sqlc.arg('min_interval') WHERE id = sqlc.arg('id') AND state = 'planning' AND owner = sqlc.arg('owner')::text;

-- name: FailUnplannable :exec
-- Ends a rotation whose policy is gone: nobody can ever plan it.
WITH rotation AS (
    UPDATE rotations r SET state = 'failed', owner = NULL, lease_until = NULL, not_before = NULL,
        trouble = 'policy ' || r.policy || ' was removed before the rotation was planned',
        finished_at = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())
    WHERE r.id = sqlc.arg('id') AND r.state IN ('requested', 'planning')
        AND (r.lease_until IS NULL OR r.lease_until < coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()))
        AND NOT EXISTS (SELECT 1 FROM resources s WHERE s.kind = 'Policy' AND s.name = r.policy)
    RETURNING r.id
)
INSERT INTO announcements (id, type, rotation_id)
SELECT sqlc.arg('announcement')::uuid, 'rotation.completed', id FROM rotation;

-- name: LockPlan :one
-- The rotation is the owner's to plan until the transaction ends.
SELECT target, requested_at, min_interval, coalesce(plan_turn, 0)::integer AS saved FROM rotations
WHERE id = sqlc.arg('id') AND (state = 'planning' OR plan_turn IS NOT NULL) AND owner = sqlc.arg('owner')::text FOR UPDATE;

-- name: SaveUnits :exec
-- Units as they are now. Those that did not change cost no write, and no lock, which would be one.
WITH plan AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::text[]) AS id, unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('systems')::text[]) AS system,
        unnest(sqlc.arg('project_ids')::text[]) AS project_id, unnest(sqlc.arg('project_names')::text[]) AS project_name,
        unnest(sqlc.arg('cluster_ids')::text[]) AS cluster_id, unnest(sqlc.arg('cluster_names')::text[]) AS cluster_name,
        unnest(sqlc.arg('components')::text[]) AS component, unnest(sqlc.arg('names')::text[]) AS name,
        unnest(sqlc.arg('fcvs')::text[]) AS fcv, unnest(sqlc.arg('rotatable')::boolean[]) AS rotatable,
        unnest(sqlc.arg('reasons')::text[]) AS reason
), changed AS MATERIALIZED (
    SELECT p.* FROM plan p
    WHERE (SELECT true FROM units u WHERE u.id = p.id
        AND (u.target, u.system, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name, u.fcv, u.rotatable, u.reason)
            = (p.target, p.system, p.project_id, p.project_name, p.cluster_id, p.cluster_name, p.component, p.name, p.fcv, p.rotatable, p.reason)
        LIMIT 1) IS NULL
), saved AS (
    INSERT INTO units AS u (id, target, system, project_id, project_name, cluster_id, cluster_name, component, name, fcv, rotatable, reason)
    SELECT id, target, system, project_id, project_name, cluster_id, cluster_name, component, name, fcv, rotatable, reason
    FROM changed ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        target = excluded.target, system = excluded.system, project_id = excluded.project_id, project_name = excluded.project_name,
        cluster_id = excluded.cluster_id, cluster_name = excluded.cluster_name, component = excluded.component, name = excluded.name,
        fcv = excluded.fcv, rotatable = excluded.rotatable, reason = excluded.reason
    WHERE u.* IS DISTINCT FROM excluded.*
)
INSERT INTO unit_keys (unit_id) SELECT id FROM changed ORDER BY id ON CONFLICT DO NOTHING;

-- name: SaveTasks :exec
-- A delay counts from the rotation's request. A unit that was turned less than the policy's least interval
-- ago is skipped. Turns go on after those that are saved; a planner before this one may have saved some of the units, too.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), plan AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('turns')::integer[]) AS turn,
        unnest(sqlc.arg('unit_ids')::text[]) AS unit_id, unnest(sqlc.arg('project_ids')::text[]) AS project_id,
        unnest(sqlc.arg('rotatable')::boolean[]) AS rotatable, unnest(sqlc.arg('reasons')::text[]) AS reason,
        unnest(sqlc.arg('delays')::bigint[]) AS delay
), ready AS MATERIALIZED (
    SELECT p.id, p.turn + sqlc.arg('saved')::integer AS turn, p.unit_id, p.project_id, p.rotatable AND NOT soon.yes AS go,
        CASE WHEN p.rotatable AND soon.yes THEN sqlc.arg('too_soon')::text ELSE p.reason END AS reason,
        CASE WHEN p.delay > 0 THEN greatest(clock.at, sqlc.arg('requested_at')::timestamptz + p.delay * interval '1 microsecond') ELSE clock.at END AS not_before,
        clock.at
    FROM plan p CROSS JOIN clock CROSS JOIN LATERAL (
        SELECT sqlc.arg('min_interval')::bigint > 0 AND coalesce((SELECT k.turned_at FROM unit_keys k WHERE k.unit_id = p.unit_id)
            > clock.at - sqlc.arg('min_interval')::bigint * interval '1 microsecond', false) AS yes
    ) soon
    WHERE sqlc.arg('saved')::integer = 0
        OR (SELECT true FROM tasks t WHERE t.rotation_id = sqlc.arg('rotation')::uuid AND t.unit_id = p.unit_id) IS NULL
)
INSERT INTO tasks (id, rotation_id, unit_id, target, project_id, turn, state, back, reason, not_before, finished_at)
SELECT id, sqlc.arg('rotation')::uuid, unit_id, sqlc.arg('target')::text, project_id, turn,
    CASE WHEN go THEN 'pending' ELSE 'skipped' END, CASE WHEN go AND not_before > at THEN 'pending' END, reason, not_before, CASE WHEN NOT go THEN at END
FROM ready;

-- name: StartRotation :exec
-- While a part of its plan is not saved it stays its planner's. Of what is left to who begins anew, a planner before him may
-- have saved some.
UPDATE rotations SET state = 'running', plan_turn = sqlc.narg('plan_turn')::integer,
    plan_left = CASE WHEN plan_turn IS NULL THEN sqlc.arg('plan_left')::integer ELSE least(plan_left, sqlc.arg('plan_left')::integer) END,
    owner = CASE WHEN sqlc.narg('plan_turn')::integer IS NOT NULL THEN owner END,
    lease_until = CASE WHEN sqlc.narg('plan_turn')::integer IS NOT NULL THEN lease_until END,
    trouble = CASE WHEN halted THEN trouble ELSE '' END
WHERE id = sqlc.arg('id');

-- name: EndPlan :execrows
-- Ends a rotation that its planner can't plan.
WITH rotation AS (
    UPDATE rotations r SET state = 'failed', owner = NULL, lease_until = NULL, trouble = sqlc.arg('reason')::text,
        finished_at = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())
    WHERE r.id = sqlc.arg('id') AND r.state = 'planning' AND r.owner = sqlc.arg('owner')::text
    RETURNING r.id
)
INSERT INTO announcements (id, type, rotation_id)
SELECT sqlc.arg('announcement')::uuid, 'rotation.completed', rotation.id FROM rotation;

-- name: HaltPlan :execrows
-- The rest of a plan that is saved in part can't be saved any more: its owner says so or, where none is named, its policy is gone.
UPDATE rotations r SET
    stop_reason = CASE WHEN r.halted THEN r.stop_reason ELSE sqlc.arg('reason')::text END,
    trouble = CASE WHEN r.halted THEN r.trouble ELSE sqlc.arg('trouble')::text END,
    halted = true, owner = NULL, lease_until = NULL, not_before = NULL, plan_turn = NULL
WHERE r.id = sqlc.arg('id') AND r.plan_turn IS NOT NULL AND (r.owner = sqlc.arg('owner')::text OR sqlc.arg('owner')::text = ''
    AND (r.lease_until IS NULL OR r.lease_until < coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()))
    AND NOT EXISTS (SELECT 1 FROM resources s WHERE s.kind = 'Policy' AND s.name = r.policy));

-- name: PostponeRotation :execrows
UPDATE rotations SET owner = NULL, lease_until = NULL, trouble = CASE WHEN halted THEN trouble ELSE sqlc.arg('reason')::text END,
    not_before = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) + sqlc.arg('after')::bigint * interval '1 microsecond'
WHERE id = sqlc.arg('id') AND (state = 'planning' OR plan_turn IS NOT NULL) AND owner = sqlc.arg('owner')::text;

-- name: Unplanned :many
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
SELECT r.id FROM rotations r, clock
WHERE (r.state IN ('requested', 'planning') OR r.plan_turn IS NOT NULL) AND (r.lease_until IS NULL OR r.lease_until < clock.at)
    AND (r.not_before IS NULL OR r.not_before <= clock.at) AND (r.open_until IS NULL OR r.open_until > clock.at OR r.halted)
    AND (r.trigger <> 'schedule' OR (SELECT o.id FROM rotations o WHERE o.policy = r.policy AND o.finished_at IS NULL
            AND (o.requested_at, o.id) < (r.requested_at, r.id) LIMIT 1) IS NULL)
ORDER BY r.requested_at, r.id LIMIT sqlc.arg('max');
