-- Statements of the rotator. Intend and Finish carry a whole batch each: one round trip, one commit.
-- Their callers sort batches by the tasks' ids, so that those that overlap hardly ever deadlock. The
-- materialized steps keep the planner on look-ups by key, also when it has no statistics yet.

-- name: Intend :many
-- Leaves are given to tasks that pass every test; Verdicts says why to the others. The row of the unit's
-- key takes the intent: of two tasks of one unit, in one batch or in two, it takes one, and a result that
-- another task records at the same time comes before or after the test, never in between. A task that
-- nobody handed out is put where it is found when its lease ends. A batch names an exclusive thing once; that two
-- batches do so at the same time is for the unique index to see.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), write AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('units')::text[]) AS unit, unnest(sqlc.arg('owners')::text[]) AS owner,
        unnest(sqlc.arg('befores')::text[]) AS before, unnest(sqlc.arg('wants')::text[]) AS want,
        unnest(sqlc.arg('data')::bytea[]) AS data, unnest(sqlc.arg('apply_fors')::bigint[]) AS apply_for,
        unnest(sqlc.arg('leases')::bigint[]) AS lease, unnest(sqlc.arg('exclusives')::text[]) AS exclusive
), candidate AS MATERIALIZED (
    -- Locked: the unit's key must not take the intent of a task that ends meanwhile.
    SELECT t.rotation_id, t.unit_id, w.* FROM write w JOIN tasks t ON t.id = w.id WHERE t.state = 'pending' AND t.unit_id = w.unit
    FOR NO KEY UPDATE OF t
), running AS MATERIALIZED (
    SELECT r.id AS rotation_id, r.requested_at, f.turn, f.task_id,
        CASE WHEN r.min_interval > 0 THEN clock.at - r.min_interval * interval '1 microsecond' END AS too_soon
    FROM clock CROSS JOIN rotations r LEFT JOIN policies p ON p.name = r.policy
    LEFT JOIN LATERAL (
        SELECT c.turn, c.task_id FROM feeds c
        WHERE c.target = r.target AND c.rotation_id = r.id ORDER BY c.turn DESC, c.task_id DESC LIMIT 1
    ) f ON true
    WHERE r.id IN (SELECT c.rotation_id FROM candidate c) AND r.state = 'running' AND NOT r.halted AND NOT coalesce(p.paused, false)
        AND (r.open_until IS NULL OR r.open_until > clock.at)
), ready AS (
    UPDATE unit_keys k SET intended = c.id, exclusive = nullif(c.exclusive, '')
    FROM candidate c JOIN running r ON r.rotation_id = c.rotation_id
    WHERE k.unit_id = c.unit_id AND k.intended IS NULL AND NOT (k.key_exact AND k.key_since > r.requested_at)
        AND (r.too_soon IS NULL OR k.turned_at IS NULL OR k.turned_at <= r.too_soon)
        -- No EXISTS: it may be carried out by reading all units.
        AND (SELECT true FROM unit_keys o WHERE o.exclusive = nullif(c.exclusive, '') LIMIT 1) IS NULL
    RETURNING c.*, r.turn, r.task_id, k.key_id = c.before AS known
)
UPDATE tasks SET
    state = 'intended', epoch = tasks.epoch + 1, attempts = tasks.attempts + 1, owner = ready.owner,
    key_before = ready.before, key_known = ready.known, key_want = ready.want, intent_data = ready.data,
    lease_until = clock.at + ready.lease * interval '1 microsecond',
    apply_by = clock.at + ready.apply_for * interval '1 microsecond',
    reason = '', intended_at = clock.at, answered_at = NULL, accepted = false, started_at = coalesce(tasks.started_at, clock.at),
    back = CASE
        WHEN tasks.back IS NOT NULL THEN 'intended'
        WHEN tasks.handed_at IS NOT NULL OR (tasks.turn, tasks.id) <= (ready.turn, ready.task_id) THEN NULL
        ELSE 'intended' END
FROM ready, clock
WHERE tasks.id = ready.id AND tasks.state = 'pending'
RETURNING tasks.id, tasks.epoch;

-- name: Verdicts :many
-- Why tasks got no leave. A task that passes by now is told to wait: it may simply ask again.
SELECT t.id, (CASE
    WHEN t.unit_id <> w.unit THEN 'other'
    WHEN t.state = 'intended' THEN 'taken'
    WHEN t.state <> 'pending' THEN 'done'
    WHEN r.state <> 'running' OR r.halted OR coalesce(p.paused, false) OR r.open_until <= clock.at THEN 'held'
    WHEN k.key_exact AND k.key_since > r.requested_at THEN 'turned'
    WHEN r.min_interval > 0 AND k.turned_at > clock.at - r.min_interval * interval '1 microsecond' THEN 'soon'
    ELSE 'busy' END)::text AS verdict
FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at) clock
CROSS JOIN (SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('units')::text[]) AS unit) w
JOIN tasks t ON t.id = w.id
JOIN rotations r ON r.id = t.rotation_id
JOIN unit_keys k ON k.unit_id = t.unit_id
LEFT JOIN policies p ON p.name = r.policy;

-- name: Finish :many
-- Moves tasks on. What leaves the state intended leaves its key in the history: the key that the
-- intent saw, unless it is known already, and the new one. It answers with all that is to be told of them.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), result AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('was')::text[]) AS was,
        unnest(sqlc.arg('epochs')::bigint[]) AS epoch, unnest(sqlc.arg('states')::text[]) AS state,
        unnest(sqlc.arg('resolutions')::text[]) AS resolution, unnest(sqlc.arg('reasons')::text[]) AS reason,
        unnest(sqlc.arg('keys_after')::text[]) AS key_after, unnest(sqlc.arg('afters')::bigint[]) AS after,
        unnest(sqlc.arg('failed')::boolean[]) AS failed, unnest(sqlc.arg('anew')::boolean[]) AS anew, unnest(sqlc.arg('answered')::boolean[]) AS answered,
        unnest(sqlc.arg('unsent')::boolean[]) AS unsent, unnest(sqlc.arg('unsent_fors')::bigint[]) AS unsent_for,
        unnest(sqlc.arg('uncounted')::boolean[]) AS uncounted,
        unnest(sqlc.arg('seen_ids')::uuid[]) AS seen_id, unnest(sqlc.arg('turned_ids')::uuid[]) AS turned_id
), moved AS (
    UPDATE tasks t SET
        state = r.state, reason = r.reason, resolution = r.resolution, key_after = r.key_after,
        owner = '', lease_until = NULL, handed_at = NULL, back = CASE WHEN r.state IN ('pending', 'intended') THEN r.state END,
        not_before = clock.at + r.after * interval '1 microsecond',
        failures = t.failures + r.failed::integer,
        -- Of a result that is recorded twice the first one counts: it takes the owner away. An open intent is an attempt.
        attempts = t.attempts - (r.uncounted AND t.owner <> '' AND t.attempts > (r.state = 'intended')::integer)::integer,
        answered_at = CASE WHEN r.answered THEN coalesce(t.answered_at, clock.at) ELSE t.answered_at END,
        apply_by = CASE WHEN r.unsent THEN least(t.apply_by, clock.at - r.unsent_for * interval '1 microsecond') ELSE t.apply_by END,
        finished_at = CASE WHEN r.state NOT IN ('pending', 'intended') THEN clock.at END
    FROM result r, clock
    WHERE t.id = r.id AND t.state = r.was AND (r.was = 'pending' OR t.epoch = r.epoch)
        AND (NOT r.anew OR (t.back IS NULL AND t.handed_at IS NULL))
    -- No lock is needed to read the key that is known, and mostly the intent has: only the unit's one open intent, which
    -- is ours, lets it be written.
    RETURNING t.id, t.rotation_id, t.unit_id, t.state, r.was, t.key_before, t.key_after, t.intended_at, t.started_at, t.finished_at,
        r.seen_id, r.turned_id, t.epoch, t.attempts, t.reason, t.resolution,
        (CASE WHEN t.key_known THEN t.key_before
            ELSE coalesce((SELECT k.key_id FROM unit_keys k WHERE k.unit_id = t.unit_id), '') END)::text AS known_key
), logged AS (
    -- Only what did not go as it should: a clean success writes nothing. Of two statements at once about one
    -- task, which only a repeated one can be, one line is enough.
    INSERT INTO task_log (task_id, n, at, attempt, what, text)
    SELECT m.id, coalesce((SELECT max(l.n) FROM task_log l WHERE l.task_id = m.id), 0) + 1, clock.at, m.attempts,
        CASE m.state WHEN 'pending' THEN 'put-back' WHEN 'intended' THEN 'waits' WHEN 'succeeded' THEN 'inferred' ELSE m.state END,
        left(m.reason, 2000)
    FROM moved m, clock
    WHERE (m.reason <> '' AND m.state NOT IN ('skipped', 'succeeded')) OR m.resolution = 'inferred'
    ON CONFLICT DO NOTHING
    RETURNING task_id, n
), trimmed AS (
    DELETE FROM task_log
    WHERE (task_id, n) IN (SELECT g.task_id, g.n - sqlc.arg('log_last')::integer FROM logged g WHERE g.n - sqlc.arg('log_last')::integer > sqlc.arg('log_first')::integer)
), known AS MATERIALIZED (
    SELECT * FROM moved WHERE was = 'intended' AND state <> 'intended'
), seen AS (
    INSERT INTO key_records (id, unit_id, key_id, previous_key_id, used_from, origin, rotation_id, task_id)
    SELECT seen_id, unit_id, key_before, known_key, intended_at, 'observed', rotation_id, id
    FROM known WHERE known_key <> key_before
), turned AS (
    INSERT INTO key_records (id, unit_id, key_id, previous_key_id, used_from, origin, rotation_id, task_id)
    SELECT turned_id, unit_id, key_after, key_before, clock.at, 'rotated', rotation_id, id
    FROM known, clock WHERE state = 'succeeded'
), keys AS (
    UPDATE unit_keys k SET
        intended = NULL, exclusive = NULL,
        key_id = CASE WHEN n.state = 'succeeded' THEN n.key_after ELSE n.key_before END,
        key_since = CASE WHEN n.state = 'succeeded' THEN clock.at WHEN n.known_key <> n.key_before THEN n.intended_at ELSE k.key_since END,
        key_exact = n.state = 'succeeded' OR (k.key_exact AND n.known_key = n.key_before),
        turned_at = CASE WHEN n.state = 'succeeded' THEN clock.at ELSE k.turned_at END
    FROM known n, clock
    WHERE k.unit_id = n.unit_id
), told AS (
    INSERT INTO announcements (id, type, task_ids)
    SELECT sqlc.arg('announcement')::uuid, 'tasks', array_agg(id ORDER BY id)
    FROM moved WHERE state NOT IN ('pending', 'intended') HAVING count(*) > 0
)
SELECT id, rotation_id, unit_id, was::text AS was, state, resolution, reason, epoch, attempts, key_before, key_after, intended_at, started_at,
    finished_at, seen_id::uuid AS seen_id, turned_id::uuid AS turned_id, known_key
FROM moved ORDER BY id;

-- name: Take :one
-- An owner that is still there says that a lease ended; whoever puts a task back leaves it without one.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), taken AS (
    UPDATE tasks SET
        epoch = tasks.epoch + 1, owner = sqlc.arg('owner'), lease_until = clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond'
    FROM clock
    WHERE tasks.id = sqlc.arg('id') AND tasks.state = 'intended' AND (tasks.lease_until IS NULL OR tasks.lease_until < clock.at)
    RETURNING tasks.id, tasks.unit_id, tasks.epoch, tasks.key_before, tasks.key_want, tasks.intent_data, tasks.intended_at, tasks.apply_by,
        tasks.answered_at, tasks.accepted, tasks.attempts, clock.at::timestamptz AS now
), logged AS (
    -- The row of before: a statement sees its own snapshot.
    INSERT INTO task_log (task_id, n, at, attempt, what, text)
    SELECT k.id, coalesce((SELECT max(l.n) FROM task_log l WHERE l.task_id = k.id), 0) + 1, k.now, k.attempts, 'taken-over',
        left('the lease of ' || b.owner || ' had ended', 2000)
    FROM taken k JOIN tasks b ON b.id = k.id WHERE b.owner <> ''
    ON CONFLICT DO NOTHING
    RETURNING task_id, n
), trimmed AS (
    DELETE FROM task_log
    WHERE (task_id, n) IN (SELECT g.task_id, g.n - sqlc.arg('log_last')::integer FROM logged g WHERE g.n - sqlc.arg('log_last')::integer > sqlc.arg('log_first')::integer)
)
SELECT taken.unit_id, taken.epoch, taken.key_before, taken.key_want, taken.intent_data, taken.intended_at, taken.apply_by, taken.answered_at,
    taken.accepted, taken.attempts, taken.now
FROM taken;

-- name: Reintend :one
-- The key before was first seen when the intent was written: that time stays.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), renewed AS (
    UPDATE tasks SET
        epoch = tasks.epoch + 1, attempts = tasks.attempts + 1, accepted = tasks.accepted OR tasks.answered_at IS NOT NULL, answered_at = NULL,
        lease_until = clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond',
        apply_by = clock.at + sqlc.arg('apply_for')::bigint * interval '1 microsecond'
    FROM clock
    WHERE tasks.id = sqlc.arg('id') AND tasks.state = 'intended' AND tasks.owner = sqlc.arg('owner') AND tasks.epoch = sqlc.arg('epoch')
        AND NOT (SELECT r.halted FROM rotations r WHERE r.id = tasks.rotation_id)
    RETURNING tasks.id, tasks.epoch, tasks.attempts, tasks.key_before, clock.at AS now
), logged AS (
    INSERT INTO task_log (task_id, n, at, attempt, what, text)
    SELECT k.id, coalesce((SELECT max(l.n) FROM task_log l WHERE l.task_id = k.id), 0) + 1, k.now, k.attempts, 'sent-again',
        left('the system still showed key ' || k.key_before, 2000)
    FROM renewed k
    ON CONFLICT DO NOTHING
    RETURNING task_id, n
), trimmed AS (
    DELETE FROM task_log
    WHERE (task_id, n) IN (SELECT g.task_id, g.n - sqlc.arg('log_last')::integer FROM logged g WHERE g.n - sqlc.arg('log_last')::integer > sqlc.arg('log_first')::integer)
)
SELECT renewed.epoch FROM renewed;
