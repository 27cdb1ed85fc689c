-- name: ClaimLook :one
-- Takes the target whose keys are due to be looked at for longest. A target that a rotation works on, or is about
-- to, waits, but not for longer than one interval.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), look AS MATERIALIZED (
    SELECT unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('everys')::bigint[]) * interval '1 microsecond' AS every
), due AS MATERIALIZED (
    SELECT g.name, l.every, least(g.observe_asked,
        CASE WHEN l.every > interval '0' THEN g.trouble_since + sqlc.arg('trouble')::bigint * interval '1 microsecond' END,
        CASE WHEN l.every > interval '0' THEN coalesce(g.observed_at + l.every, s.created_at + least(l.every, sqlc.arg('first')::bigint * interval '1 microsecond')) END) AS since
    FROM look l JOIN targets g ON g.name = l.target JOIN resources s ON s.kind = 'Target' AND s.name = g.name
), chosen AS MATERIALIZED (
    SELECT g.name FROM due d JOIN targets g ON g.name = d.name, clock
    WHERE d.since <= clock.at AND (g.observe_after IS NULL OR g.observe_after <= clock.at)
        AND (g.observe_until IS NULL OR g.observe_until <= clock.at) AND (g.hold_until IS NULL OR g.hold_until <= clock.at)
        AND (d.since + greatest(d.every, sqlc.arg('patience')::bigint * interval '1 microsecond') <= clock.at OR NOT (
            EXISTS (SELECT 1 FROM rotations r WHERE r.target = g.name AND r.state = 'running')
            OR EXISTS (SELECT 1 FROM rotations r WHERE r.target = g.name AND r.state IN ('requested', 'planning'))
            OR EXISTS (SELECT 1 FROM policies p JOIN resources s ON s.kind = 'Policy' AND s.name = p.name
                WHERE p.wake_at <= clock.at + sqlc.arg('soon')::bigint * interval '1 microsecond' AND NOT p.paused AND s.spec ->> 'target' = g.name)))
    ORDER BY d.since, g.name LIMIT 1 FOR UPDATE OF g SKIP LOCKED
)
UPDATE targets g SET observe_owner = sqlc.arg('owner')::text, observe_until = clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond'
FROM chosen c, clock WHERE g.name = c.name
RETURNING g.name, clock.at::timestamptz AS at;

-- name: RenewLook :one
-- Whether a rotation works on the target, for its looker.
UPDATE targets g SET
    observe_until = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) + sqlc.arg('lease')::bigint * interval '1 microsecond'
WHERE g.name = sqlc.arg('target') AND g.observe_owner = sqlc.arg('owner')::text
RETURNING (EXISTS (SELECT 1 FROM rotations r WHERE r.target = g.name AND r.state = 'running'))::boolean AS busy;

-- name: EndLook :execrows
-- A look that did not come to its end is still due, after a while. What was asked for since it began stays due.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
UPDATE targets g SET
    observe_owner = NULL, observe_until = NULL,
    observed_at = CASE WHEN sqlc.arg('done')::boolean THEN clock.at ELSE g.observed_at END,
    observe_asked = CASE WHEN sqlc.arg('done')::boolean AND g.observe_asked <= sqlc.arg('began')::timestamptz THEN NULL ELSE g.observe_asked END,
    observe_after = CASE WHEN sqlc.arg('done')::boolean THEN NULL ELSE clock.at + sqlc.arg('retry')::bigint * interval '1 microsecond' END
FROM clock WHERE g.name = sqlc.arg('target') AND g.observe_owner = sqlc.arg('owner')::text;

-- name: AskLook :execrows
INSERT INTO targets AS g (name, observe_asked)
SELECT s.name, coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) FROM resources s WHERE s.kind = 'Target' AND s.name = sqlc.arg('target')
ON CONFLICT (name) DO UPDATE SET observe_asked = excluded.observe_asked, observe_after = NULL;

-- name: PoliciesOfTarget :many
SELECT s.name, s.spec, s.generation, coalesce(p.paused, false)::boolean AS paused
FROM resources s LEFT JOIN policies p ON p.name = s.name
WHERE s.kind = 'Policy' AND s.spec ->> 'target' = sqlc.arg('target')::text ORDER BY s.name;

-- name: KnownKeys :many
SELECT k.unit_id, k.key_id, (k.intended IS NOT NULL)::boolean AS busy FROM unit_keys k WHERE k.unit_id = ANY (sqlc.arg('units')::text[]);

-- name: Observe :many
-- Records keys that were found in use. The row of the unit's key is locked before it is compared: an intent comes
-- before or after it, never in between, and with it every result.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), seen AS MATERIALIZED (
    SELECT unnest(sqlc.arg('units')::text[]) AS unit_id, unnest(sqlc.arg('known')::text[]) AS known, unnest(sqlc.arg('keys')::text[]) AS key_id,
        unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('sinces')::timestamptz[]) AS since
), taken AS MATERIALIZED (
    SELECT o.unit_id, o.known, o.key_id, o.id, o.since, o.since > coalesce(k.key_since, 'epoch') AND o.since <= clock.at AS exact
    FROM seen o JOIN unit_keys k ON k.unit_id = o.unit_id, clock
    WHERE k.intended IS NULL AND k.key_id = o.known
    ORDER BY o.unit_id FOR UPDATE OF k
), recorded AS (
    INSERT INTO key_records (id, unit_id, key_id, previous_key_id, used_from, origin)
    SELECT id, unit_id, key_id, known, CASE WHEN exact THEN since ELSE clock.at END, 'observed' FROM taken, clock WHERE key_id <> known
), keys AS (
    UPDATE unit_keys k SET key_id = t.key_id, key_since = CASE WHEN t.exact THEN t.since ELSE clock.at END, key_exact = t.exact
    FROM taken t, clock WHERE k.unit_id = t.unit_id AND t.key_id <> t.known
), told AS (
    INSERT INTO announcements (id, type, task_ids)
    SELECT sqlc.arg('announcement')::uuid, 'keys', array_agg(id ORDER BY id) FROM taken WHERE key_id <> known HAVING count(*) > 0
)
SELECT unit_id::text AS unit_id FROM taken;

-- name: KeyRecordsByID :many
SELECT * FROM key_records WHERE id = ANY (sqlc.arg('ids')::uuid[]) ORDER BY used_from, id;
