-- Keys that must be kept, the snapshots that need them, and what KMIP servers say of them.

-- name: KeyJobs :many
-- The jobs of every target, or of one, whether or not anybody was ever at them.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
SELECT s.name AS target, k.kind::text AS kind, s.created_at, coalesce(j.turn, 0)::bigint AS turn, j.asked_at, j.done_at, j.not_before,
    coalesce(j.trouble, '')::text AS trouble, j.result, coalesce(j.lease_until > clock.at, false)::boolean AS taken, g.hold_until,
    (EXISTS (SELECT 1 FROM rotations r WHERE r.target = s.name AND r.state = 'running')
        OR EXISTS (SELECT 1 FROM rotations r WHERE r.target = s.name AND r.state IN ('requested', 'planning'))
        OR EXISTS (SELECT 1 FROM policies p JOIN resources o ON o.kind = 'Policy' AND o.name = p.name
            WHERE p.wake_at <= clock.at + sqlc.arg('soon')::bigint * interval '1 microsecond' AND NOT p.paused AND o.spec ->> 'target' = s.name)
    )::boolean AS busy
FROM clock CROSS JOIN resources s CROSS JOIN (VALUES ('audit'), ('snapshots')) AS k (kind)
LEFT JOIN key_jobs j ON j.target = s.name AND j.kind = k.kind LEFT JOIN targets g ON g.name = s.name
WHERE s.kind = 'Target' AND (sqlc.arg('target')::text = '' OR s.name = sqlc.arg('target'))
ORDER BY s.name, k.kind;

-- name: ClaimKeyJob :execrows
INSERT INTO key_jobs AS j (target, kind, turn, began_at, owner, lease_until)
SELECT sqlc.arg('target')::text, sqlc.arg('kind')::text, 1, clock.at, sqlc.arg('owner')::text,
    clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond'
FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at) clock
ON CONFLICT (target, kind) DO UPDATE SET turn = j.turn + 1, began_at = excluded.began_at, owner = excluded.owner, lease_until = excluded.lease_until
WHERE j.turn = sqlc.arg('turn')::bigint AND (j.lease_until IS NULL OR j.lease_until <= excluded.began_at);

-- name: RenewKeyJob :one
UPDATE key_jobs j SET
    lease_until = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) + sqlc.arg('lease')::bigint * interval '1 microsecond'
WHERE j.target = sqlc.arg('target') AND j.kind = sqlc.arg('kind') AND j.owner = sqlc.arg('owner')::text AND j.turn = sqlc.arg('turn')
RETURNING (EXISTS (SELECT 1 FROM rotations r WHERE r.target = j.target AND r.state = 'running')
    OR EXISTS (SELECT 1 FROM targets g WHERE g.name = j.target AND g.hold_until > coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()))
    )::boolean AS busy;

-- name: EndKeyJob :execrows
-- One that did not come to its end is still due, after a while. What was asked for since it began stays due.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
UPDATE key_jobs j SET
    owner = NULL, lease_until = NULL, trouble = sqlc.arg('trouble')::text,
    done_at = CASE WHEN sqlc.arg('done')::boolean THEN clock.at ELSE j.done_at END,
    asked_at = CASE WHEN sqlc.arg('done')::boolean AND j.asked_at <= j.began_at THEN NULL ELSE j.asked_at END,
    not_before = CASE WHEN sqlc.arg('done')::boolean THEN NULL ELSE clock.at + sqlc.arg('retry')::bigint * interval '1 microsecond' END,
    result = coalesce(sqlc.narg('result')::jsonb, j.result)
FROM clock WHERE j.target = sqlc.arg('target') AND j.kind = sqlc.arg('kind') AND j.owner = sqlc.arg('owner')::text AND j.turn = sqlc.arg('turn');

-- name: AskKeyJob :execrows
INSERT INTO key_jobs AS j (target, kind, asked_at)
SELECT s.name, sqlc.arg('kind')::text, coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())
FROM resources s WHERE s.kind = 'Target' AND s.name = sqlc.arg('target')
ON CONFLICT (target, kind) DO UPDATE SET asked_at = excluded.asked_at, not_before = NULL, trouble = '';

-- name: BeginSnapshotLooks :many
INSERT INTO snapshot_looks AS l (unit_id, began, began_at)
SELECT unit_id, 1, clock.at FROM unnest(sqlc.arg('units')::text[]) AS unit_id,
    (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at) clock ORDER BY unit_id
ON CONFLICT (unit_id) DO UPDATE SET began = l.began + 1, began_at = excluded.began_at
RETURNING l.unit_id, l.began;

-- name: SaveSnapshots :exec
INSERT INTO snapshots AS s (unit_id, id, target, cluster_name, key_id, created_at, expires_at, complete, keep, look)
SELECT n.unit_id, n.id, split_part(n.unit_id, '.', 1), n.cluster_name, n.key_id, n.created_at, 'epoch'::timestamptz + nullif(n.expires_at, 0) * interval '1 microsecond', n.complete, n.keep, n.look
FROM (SELECT unnest(sqlc.arg('units')::text[]) AS unit_id, unnest(sqlc.arg('ids')::text[]) AS id, unnest(sqlc.arg('clusters')::text[]) AS cluster_name,
    unnest(sqlc.arg('keys')::text[]) AS key_id, unnest(sqlc.arg('created')::timestamptz[]) AS created_at,
    unnest(sqlc.arg('expires')::bigint[]) AS expires_at, unnest(sqlc.arg('complete')::boolean[]) AS complete,
    unnest(sqlc.arg('keep')::boolean[]) AS keep, unnest(sqlc.arg('looks')::bigint[]) AS look) n
ORDER BY n.unit_id, n.id
ON CONFLICT (unit_id, id) DO UPDATE SET cluster_name = excluded.cluster_name, key_id = excluded.key_id, created_at = excluded.created_at,
    expires_at = excluded.expires_at, complete = excluded.complete, keep = excluded.keep, look = excluded.look
WHERE excluded.look >= s.look;

-- name: EndSnapshotLooks :exec
-- A look that came to its end forgets what it did not see, if that had expired or the last look did not see it
-- either: a listing in pages may leave one out while others go. Of a unit that can't be asked any more, what
-- expired long ago is forgotten. A look that another one has overtaken ends nothing.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), ended AS MATERIALIZED (
    SELECT l.unit_id, l.done, e.number, e.trouble
    FROM (SELECT unnest(sqlc.arg('units')::text[]) AS unit_id, unnest(sqlc.arg('numbers')::bigint[]) AS number, unnest(sqlc.arg('troubles')::text[]) AS trouble) e
    JOIN snapshot_looks l ON l.unit_id = e.unit_id AND l.began = e.number
    ORDER BY l.unit_id FOR UPDATE OF l
), noted AS (
    UPDATE snapshot_looks l SET trouble = e.trouble, done = CASE WHEN e.trouble = '' THEN e.number ELSE l.done END,
        looked_at = CASE WHEN e.trouble = '' THEN l.began_at ELSE l.looked_at END
    FROM ended e WHERE l.unit_id = e.unit_id
)
DELETE FROM snapshots s USING ended e, clock
WHERE s.unit_id = e.unit_id AND (e.trouble = '' AND s.look < e.number AND (s.expires_at <= clock.at OR s.look < e.done)
    OR e.trouble <> '' AND NOT s.keep AND s.expires_at <= clock.at - interval '7 days');

-- name: RetainedPage :many
-- A page of the keys that histories or snapshots name, by key and target. A unit's id begins with its target's name.
-- What stands for a key whose id is known by now is listed under that. Each part stops at a page; counts are asked
-- for key by key, where NOT EXISTS would be a join with everything.
SELECT n.target::text AS target, n.key_id::text AS key_id FROM (
    (SELECT split_part(r.unit_id, '.', 1) AS target, r.key_id
    FROM key_records r
    WHERE r.key_id >= sqlc.arg('after_key')::text
        AND (r.key_id > sqlc.arg('after_key') OR split_part(r.unit_id, '.', 1) > sqlc.arg('after_target')::text)
        AND (sqlc.arg('key')::text = '' OR r.key_id = sqlc.arg('key'))
        AND (sqlc.arg('target')::text = '' OR (r.unit_id > sqlc.arg('target') || '.' AND r.unit_id < sqlc.arg('target') || '/'))
        AND (NOT sqlc.arg('by_unit')::boolean OR r.unit_id = ANY (sqlc.arg('units')::text[]))
        AND (NOT sqlc.arg('old')::boolean OR (SELECT count(*) FROM key_records o JOIN unit_keys k ON k.unit_id = o.unit_id AND k.key_id = o.key_id
            WHERE o.key_id = r.key_id AND split_part(o.unit_id, '.', 1) = split_part(r.unit_id, '.', 1)) = 0)
        AND (r.key_id NOT LIKE 'kmip-rotated-at:%' OR NOT EXISTS (SELECT 1 FROM key_names m WHERE m.unit_id = r.unit_id AND m.marker = r.key_id))
    GROUP BY r.key_id, split_part(r.unit_id, '.', 1)
    ORDER BY r.key_id, split_part(r.unit_id, '.', 1) LIMIT sqlc.arg('max'))
    UNION
    (SELECT split_part(m.unit_id, '.', 1), m.key_id
    FROM key_names m
    WHERE m.key_id >= sqlc.arg('after_key') AND (m.key_id > sqlc.arg('after_key') OR split_part(m.unit_id, '.', 1) > sqlc.arg('after_target'))
        AND (sqlc.arg('key') = '' OR m.key_id = sqlc.arg('key'))
        AND (sqlc.arg('target') = '' OR (m.unit_id > sqlc.arg('target') || '.' AND m.unit_id < sqlc.arg('target') || '/'))
        AND (NOT sqlc.arg('by_unit') OR m.unit_id = ANY (sqlc.arg('units')))
        AND (NOT sqlc.arg('old') OR NOT EXISTS (SELECT 1 FROM key_names o JOIN unit_keys k ON k.unit_id = o.unit_id AND k.key_id = o.marker
            WHERE o.key_id = m.key_id AND split_part(o.unit_id, '.', 1) = split_part(m.unit_id, '.', 1)))
    GROUP BY m.key_id, split_part(m.unit_id, '.', 1)
    ORDER BY m.key_id, split_part(m.unit_id, '.', 1) LIMIT sqlc.arg('max'))
    UNION
    (SELECT s.target, s.key_id FROM snapshots s
    WHERE s.key_id <> '' AND s.key_id >= sqlc.arg('after_key') AND (s.key_id > sqlc.arg('after_key') OR s.target > sqlc.arg('after_target'))
        AND (sqlc.arg('key') = '' OR s.key_id = sqlc.arg('key')) AND (sqlc.arg('target') = '' OR s.target = sqlc.arg('target'))
        AND (NOT sqlc.arg('by_unit') OR s.unit_id = ANY (sqlc.arg('units')))
        AND (NOT sqlc.arg('old') OR (SELECT count(*) FROM key_records o JOIN unit_keys k ON k.unit_id = o.unit_id AND k.key_id = o.key_id
            WHERE o.key_id = s.key_id AND split_part(o.unit_id, '.', 1) = s.target) = 0)
        AND (NOT sqlc.arg('old') OR (SELECT count(*) FROM key_names o JOIN unit_keys k ON k.unit_id = o.unit_id AND k.key_id = o.marker
            WHERE o.key_id = s.key_id AND split_part(o.unit_id, '.', 1) = s.target) = 0)
    GROUP BY s.key_id, s.target ORDER BY s.key_id, s.target LIMIT sqlc.arg('max'))
) n ORDER BY n.key_id, n.target LIMIT sqlc.arg('max');

-- name: KeyUses :many
WITH wanted AS MATERIALIZED (
    SELECT unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('keys')::text[]) AS key_id
), records AS MATERIALIZED (
    SELECT w.key_id, r.key_id AS marker, r.id, r.unit_id, r.used_from, r.origin
    FROM wanted w JOIN key_records r ON r.key_id = w.key_id AND split_part(r.unit_id, '.', 1) = w.target
    UNION ALL
    SELECT w.key_id, r.key_id, r.id, r.unit_id, r.used_from, r.origin
    FROM wanted w JOIN key_names m ON m.key_id = w.key_id AND split_part(m.unit_id, '.', 1) = w.target
    JOIN key_records r ON r.unit_id = m.unit_id AND r.key_id = m.marker
)
SELECT r.key_id::text AS key_id, r.used_from, r.origin, n.used_from AS used_until, b.used_from AS before, (k.key_id = r.marker)::boolean AS in_use,
    (k.intended IS NOT NULL)::boolean AS busy,
    EXISTS (SELECT 1 FROM tasks t WHERE t.unit_id = r.unit_id AND t.parked)::boolean AS parked,
    EXISTS (SELECT 1 FROM rotations o WHERE o.id = n.rotation_id AND o.finished_at IS NULL)::boolean AS replacing,
    l.looked_at, coalesce(l.trouble, '')::text AS trouble,
    u.id AS unit_id, u.target, u.system, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name
FROM records r JOIN units u ON u.id = r.unit_id JOIN unit_keys k ON k.unit_id = r.unit_id
LEFT JOIN key_records n ON n.id = (SELECT a.id FROM key_records a
    WHERE a.unit_id = r.unit_id AND (a.used_from, a.id) > (r.used_from, r.id) ORDER BY a.used_from, a.id LIMIT 1)
LEFT JOIN key_records b ON b.id = (SELECT a.id FROM key_records a
    WHERE a.unit_id = r.unit_id AND (a.used_from, a.id) < (r.used_from, r.id) ORDER BY a.used_from DESC, a.id DESC LIMIT 1)
LEFT JOIN snapshot_looks l ON l.unit_id = r.unit_id
ORDER BY r.key_id, u.target, r.used_from, r.id;

-- name: KeyNeeds :many
-- What needs each key: the snapshots that name it, and those that name no key of the history and were made
-- in one of its windows.
WITH hits AS MATERIALIZED (
    SELECT w.n, s.unit_id, s.id, s.cluster_name, s.expires_at, s.keep, true AS named
    FROM (SELECT unnest(sqlc.arg('numbers')::integer[]) AS n, unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('keys')::text[]) AS key_id) w
    JOIN snapshots s ON s.target = w.target AND s.key_id = w.key_id AND s.key_id <> ''
    UNION ALL
    SELECT DISTINCT w.n, s.unit_id, s.id, s.cluster_name, s.expires_at, s.keep, false
    FROM (SELECT unnest(sqlc.arg('window_keys')::integer[]) AS n, unnest(sqlc.arg('units')::text[]) AS unit_id,
        unnest(sqlc.arg('froms')::timestamptz[]) AS since, unnest(sqlc.arg('tos')::timestamptz[]) AS until) w
    JOIN snapshots s ON s.unit_id = w.unit_id AND s.created_at BETWEEN w.since AND w.until
    WHERE s.key_id = '' OR (NOT EXISTS (SELECT 1 FROM key_records r WHERE r.key_id = s.key_id AND split_part(r.unit_id, '.', 1) = s.target)
        AND NOT EXISTS (SELECT 1 FROM key_names m WHERE m.key_id = s.key_id AND split_part(m.unit_id, '.', 1) = s.target))
)
SELECT n::integer AS n, count(*) FILTER (WHERE named)::integer AS named, count(*) FILTER (WHERE NOT named)::integer AS by_time,
    count(*) FILTER (WHERE keep OR expires_at IS NULL)::integer AS endless,
    count(DISTINCT (split_part(unit_id, '.', 2), cluster_name))::integer AS clusters, coalesce(max(expires_at), 'epoch')::timestamptz AS until
FROM hits GROUP BY n ORDER BY n;

-- name: NeedingSnapshots :many
-- The same snapshots themselves, the last to expire first.
SELECT s.unit_id, s.id, s.cluster_name, s.key_id, s.created_at, s.expires_at, s.complete, s.keep
FROM snapshots s WHERE s.target = sqlc.arg('target')::text AND s.key_id = sqlc.arg('key')::text AND s.key_id <> ''
UNION
SELECT s.unit_id, s.id, s.cluster_name, s.key_id, s.created_at, s.expires_at, s.complete, s.keep
FROM (SELECT unnest(sqlc.arg('units')::text[]) AS unit_id, unnest(sqlc.arg('froms')::timestamptz[]) AS since, unnest(sqlc.arg('tos')::timestamptz[]) AS until) w
JOIN snapshots s ON s.unit_id = w.unit_id AND s.created_at BETWEEN w.since AND w.until
WHERE s.key_id = '' OR (NOT EXISTS (SELECT 1 FROM key_records r WHERE r.key_id = s.key_id AND split_part(r.unit_id, '.', 1) = s.target)
    AND NOT EXISTS (SELECT 1 FROM key_names m WHERE m.key_id = s.key_id AND split_part(m.unit_id, '.', 1) = s.target))
ORDER BY expires_at DESC NULLS FIRST, unit_id, id LIMIT sqlc.arg('max');

-- name: KeyStates :many
SELECT s.* FROM (SELECT unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('keys')::text[]) AS key_id) w
JOIN key_states s ON s.target = w.target AND s.key_id = w.key_id;

-- name: BadKeys :many
SELECT * FROM key_states
WHERE (orphan OR state IN ('deactivated', 'compromised', 'destroyed', 'missing')) AND (target, key_id) > (sqlc.arg('after_target')::text, sqlc.arg('after_key')::text)
ORDER BY target, key_id LIMIT sqlc.arg('max');

-- name: KeysToAudit :many
-- The keys of a target that its history or its snapshots name, in order. No server knows what only stands for a key.
SELECT key_id::text AS key_id FROM (
    (SELECT DISTINCT r.key_id FROM key_records r
    WHERE r.key_id > sqlc.arg('after')::text AND r.unit_id > sqlc.arg('target')::text || '.' AND r.unit_id < sqlc.arg('target') || '/'
        AND r.key_id NOT LIKE 'kmip-rotated-at:%'
    ORDER BY r.key_id LIMIT sqlc.arg('max'))
    UNION
    (SELECT DISTINCT m.key_id FROM key_names m
    WHERE m.key_id > sqlc.arg('after') AND m.unit_id > sqlc.arg('target') || '.' AND m.unit_id < sqlc.arg('target') || '/'
    ORDER BY m.key_id LIMIT sqlc.arg('max'))
    UNION
    (SELECT DISTINCT s.key_id FROM snapshots s WHERE s.target = sqlc.arg('target') AND s.key_id <> '' AND s.key_id > sqlc.arg('after')
    ORDER BY s.key_id LIMIT sqlc.arg('max'))
) k ORDER BY key_id LIMIT sqlc.arg('max');

-- name: KnownKeysAmong :many
SELECT k.key_id::text AS key_id FROM unnest(sqlc.arg('keys')::text[]) AS k (key_id)
WHERE EXISTS (SELECT 1 FROM key_records r WHERE r.key_id = k.key_id AND split_part(r.unit_id, '.', 1) = sqlc.arg('target')::text)
    OR EXISTS (SELECT 1 FROM key_names m WHERE m.key_id = k.key_id AND split_part(m.unit_id, '.', 1) = sqlc.arg('target'))
    OR EXISTS (SELECT 1 FROM snapshots s WHERE s.target = sqlc.arg('target') AND s.key_id = k.key_id AND s.key_id <> '');

-- name: SaveKeyStates :exec
-- The age of a key in use that was only known from when it was seen becomes exact by the day on which the server
-- made it, if that fits: not later than it was seen, and not before the unit's key before it was.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), told AS MATERIALIZED (
    SELECT unnest(sqlc.arg('keys')::text[]) AS key_id, unnest(sqlc.arg('states')::text[]) AS state, unnest(sqlc.arg('names')::text[]) AS name,
        'epoch'::timestamptz + nullif(unnest(sqlc.arg('initials')::bigint[]), 0) * interval '1 microsecond' AS initial_at, 'epoch'::timestamptz + nullif(unnest(sqlc.arg('activations')::bigint[]), 0) * interval '1 microsecond' AS activation_at,
        'epoch'::timestamptz + nullif(unnest(sqlc.arg('deactivations')::bigint[]), 0) * interval '1 microsecond' AS deactivation_at, 'epoch'::timestamptz + nullif(unnest(sqlc.arg('compromises')::bigint[]), 0) * interval '1 microsecond' AS compromise_at,
        'epoch'::timestamptz + nullif(unnest(sqlc.arg('destroys')::bigint[]), 0) * interval '1 microsecond' AS destroy_at, unnest(sqlc.arg('orphans')::boolean[]) AS orphan,
        unnest(sqlc.arg('details')::text[]) AS detail
), saved AS (
    INSERT INTO key_states AS s (target, key_id, state, name, initial_at, activation_at, deactivation_at, compromise_at, destroy_at, orphan, detail, seen_at, audit)
    SELECT sqlc.arg('target')::text, key_id, state, name, initial_at, activation_at, deactivation_at,
        compromise_at, destroy_at, orphan, detail, clock.at, sqlc.arg('audit')::bigint
    FROM told, clock ORDER BY key_id
    ON CONFLICT (target, key_id) DO UPDATE SET state = excluded.state, name = excluded.name, initial_at = excluded.initial_at,
        activation_at = excluded.activation_at, deactivation_at = excluded.deactivation_at, compromise_at = excluded.compromise_at,
        destroy_at = excluded.destroy_at, orphan = excluded.orphan, detail = excluded.detail, seen_at = excluded.seen_at, audit = excluded.audit
    WHERE excluded.audit >= s.audit
), dated AS MATERIALIZED (
    SELECT k.unit_id, t.made FROM (
        SELECT key_id, coalesce(initial_at, activation_at) AS made FROM told WHERE state IN ('pre-active', 'active', 'deactivated', 'compromised') AND NOT orphan
    ) t JOIN key_records r ON r.key_id = t.key_id AND r.unit_id > sqlc.arg('target') || '.' AND r.unit_id < sqlc.arg('target') || '/'
    JOIN unit_keys k ON k.unit_id = r.unit_id AND k.key_id = r.key_id
    WHERE NOT k.key_exact AND k.intended IS NULL AND t.made <= k.key_since AND t.made >= '2000-01-01'
        AND NOT EXISTS (SELECT 1 FROM key_records b WHERE b.unit_id = r.unit_id AND b.key_id <> r.key_id AND b.used_from > t.made)
    ORDER BY k.unit_id FOR UPDATE OF k
)
UPDATE unit_keys k SET key_since = d.made, key_exact = true FROM dated d WHERE k.unit_id = d.unit_id;

-- name: EndKeyAudit :exec
-- Orphans that an audit did not find again are none any more.
DELETE FROM key_states WHERE target = sqlc.arg('target') AND orphan AND audit < sqlc.arg('audit');

-- name: AskRetirement :execrows
-- What the same person asked for the same reason, and was not done yet, is asked again: after a crash, say.
INSERT INTO key_retirements AS k (id, target, key_id, requested_by, reason, asked_at)
VALUES (sqlc.arg('id'), sqlc.arg('target'), sqlc.arg('key'), sqlc.arg('by'), sqlc.arg('reason'), coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()))
ON CONFLICT (target, key_id) DO UPDATE SET requested_by = excluded.requested_by, reason = excluded.reason, asked_at = excluded.asked_at, disabled_at = NULL
WHERE k.disabled_at IS NOT NULL OR k.requested_by <> excluded.requested_by OR k.reason <> excluded.reason;

-- name: NoteRetired :one
WITH retired AS (
    UPDATE key_retirements k SET disabled_at = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())
    WHERE k.target = sqlc.arg('target') AND k.key_id = sqlc.arg('key') RETURNING k.id, k.disabled_at
), told AS (
    INSERT INTO announcements (id, type, task_ids) SELECT sqlc.arg('announcement')::uuid, 'retired', ARRAY[id] FROM retired
), noted AS (
    INSERT INTO key_states AS s (target, key_id, state, name, orphan, detail, seen_at, audit)
    SELECT sqlc.arg('target'), sqlc.arg('key'), 'disabled', '', false, '', disabled_at, 0 FROM retired
    ON CONFLICT (target, key_id) DO UPDATE SET state = excluded.state, seen_at = excluded.seen_at
)
SELECT disabled_at::timestamptz AS at FROM retired;

-- name: RetiredKeys :many
SELECT * FROM key_retirements WHERE id = ANY (sqlc.arg('ids')::uuid[]) AND disabled_at IS NOT NULL ORDER BY disabled_at, id;

-- name: UsersOfKey :many
-- The units of all targets that use a key now, by whatever name (keyturn.NamesOfKey). Only a key without an ARN is looked for among all.
SELECT k.unit_id::text AS unit_id FROM (
    SELECT k.unit_id FROM (SELECT DISTINCT u.unit_id FROM key_records u WHERE u.key_id = ANY(sqlc.arg('names')::text[])) r
    JOIN unit_keys k ON k.unit_id = r.unit_id WHERE k.key_id = ANY(sqlc.arg('names')::text[])
    UNION
    SELECT k.unit_id FROM unit_keys k WHERE sqlc.arg('suffix')::text <> '' AND right(k.key_id, length(sqlc.arg('suffix')::text)) = sqlc.arg('suffix')::text
) k ORDER BY unit_id LIMIT sqlc.arg('max');
