-- name: ClaimSweep :one
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
UPDATE alert_sweeper s SET owner = sqlc.arg('owner')::text, lease_until = clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond'
FROM clock WHERE s.lease_until IS NULL OR s.lease_until <= clock.at OR s.owner = sqlc.arg('owner')::text
RETURNING s.keys_at, s.facts_at, s.turned_at, clock.at::timestamptz AS now;

-- name: HoldSweep :one
-- Renews the leave to evaluate, and keeps others out until the transaction ends.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
UPDATE alert_sweeper s SET lease_until = clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond'
FROM clock WHERE s.owner = sqlc.arg('owner')::text AND s.lease_until > clock.at
RETURNING clock.at::timestamptz AS now;

-- name: NoteSweep :exec
UPDATE alert_sweeper SET
    keys_at = coalesce(sqlc.narg('keys_at'), keys_at), facts_at = coalesce(sqlc.narg('facts_at'), facts_at),
    turned_at = coalesce(sqlc.narg('turned_at'), turned_at)
WHERE owner = sqlc.arg('owner')::text;

-- name: PoliciesOfTargets :many
-- The policies of targets that have units: ids of units begin with their target's name.
SELECT s.name, s.spec, s.generation, p.paused
FROM targets t JOIN resources s ON s.kind = 'Policy' AND s.spec ->> 'target' = t.name JOIN policies p ON p.name = s.name
WHERE EXISTS (SELECT 1 FROM units u WHERE u.id > t.name || '.' AND u.id < t.name || '/')
ORDER BY s.name;

-- name: OldKeys :many
-- Keys that are in use since a time or longer, the oldest first. Only a page of them is looked up among
-- the units, one by one: the plan must not depend on how many units there are. The same is why the alerts, if only
-- keys with some are asked for, are no EXISTS; that there are none at all is found out once.
SELECT u.id, u.target, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name, u.rotatable, u.reason,
    k.key_since::timestamptz AS key_since, k.key_exact
FROM (SELECT unit_id, key_since, key_exact FROM unit_keys
    WHERE key_since <= sqlc.arg('before')::timestamptz
        AND (key_since, unit_id) > (sqlc.arg('after_since')::timestamptz, sqlc.arg('after_unit')::text)
        AND (cardinality(sqlc.arg('alerted')::text[]) = 0
            OR ((SELECT true FROM alerts a WHERE a.open AND a.kind = ANY (sqlc.arg('alerted')::text[]) LIMIT 1)
                AND (SELECT true FROM alerts a WHERE a.open AND a.kind = ANY (sqlc.arg('alerted')::text[]) AND a.subject = unit_keys.unit_id LIMIT 1)))
    ORDER BY key_since, unit_id LIMIT sqlc.arg('max')) k
CROSS JOIN LATERAL (SELECT * FROM units WHERE units.id = k.unit_id LIMIT 1) u
ORDER BY k.key_since, k.unit_id;

-- name: OpenAlertsOf :many
SELECT id, version, kind, subject, severity, policy, target, project, cluster, message, state, gone_since, acked_until
FROM alerts WHERE open AND kind = ANY (sqlc.arg('kinds')::text[]) AND subject = ANY (sqlc.arg('subjects')::text[]);

-- name: OpenAlerts :many
SELECT id, version, kind, subject, severity, policy, target, project, cluster, message, state, gone_since, acked_until
FROM alerts WHERE open AND kind = sqlc.arg('kind') AND subject > sqlc.arg('after')::text
ORDER BY subject LIMIT sqlc.arg('max');

-- name: BaselessKeyAlerts :many
-- A page of the open alerts about keys' ages, and whether their key is not older than the cutoff of its target.
WITH cut AS MATERIALIZED (
    SELECT unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('cutoffs')::timestamptz[]) AS at
)
SELECT a.id, a.version, a.kind, a.subject, a.severity, a.policy, a.target, a.project, a.cluster, a.message, a.state, a.gone_since, a.acked_until,
    coalesce(k.key_since > (SELECT cut.at FROM cut WHERE cut.target = a.target), true)::boolean AS baseless
FROM (SELECT * FROM alerts WHERE open AND alerts.kind = sqlc.arg('kind') AND alerts.subject > sqlc.arg('after')::text
    ORDER BY alerts.subject LIMIT sqlc.arg('max')) a
LEFT JOIN LATERAL (SELECT key_since FROM unit_keys WHERE unit_keys.unit_id = a.subject LIMIT 1) k ON true
ORDER BY a.subject;

-- name: LapsedAcks :many
SELECT id, version, kind, subject, severity, policy, target, project, cluster, message, state, gone_since, acked_until
FROM alerts WHERE state = 'acknowledged' AND acked_until <= sqlc.arg('now')::timestamptz
ORDER BY acked_until LIMIT sqlc.arg('max');

-- name: ResolveAlerts :many
WITH done AS (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('versions')::bigint[]) AS version
), changed AS (
    UPDATE alerts a SET state = 'resolved', resolved_at = sqlc.arg('now')::timestamptz, gone_since = NULL, version = a.version + 1,
        told_at = (SELECT g.told_at FROM alert_groups g WHERE g.kind = a.kind AND g.policy = a.group_policy AND g.target = a.target
            AND g.told_at >= a.since AND NOT a.silenced)
    FROM done WHERE a.id = done.id AND a.version = done.version AND a.open
    RETURNING a.id, a.kind, a.group_policy, a.target, a.severity
), noted AS (
    INSERT INTO alert_changes (alert_id, at, state, severity) SELECT id, sqlc.arg('now')::timestamptz, 'resolved', severity FROM changed
)
SELECT DISTINCT kind, group_policy, target FROM changed;

-- name: UpdateAlerts :many
WITH new AS (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('versions')::bigint[]) AS version,
        unnest(sqlc.arg('states')::text[]) AS state, unnest(sqlc.arg('severities')::text[]) AS severity,
        unnest(sqlc.arg('messages')::text[]) AS message, unnest(sqlc.arg('urgents')::boolean[]) AS urgent,
        unnest(sqlc.arg('noted')::boolean[]) AS noted
), changed AS (
    UPDATE alerts a SET state = new.state, severity = new.severity, message = new.message, version = a.version + 1,
        acked_by = CASE WHEN new.state = 'acknowledged' THEN a.acked_by ELSE '' END,
        acked_until = CASE WHEN new.state = 'acknowledged' THEN a.acked_until END,
        ack_note = CASE WHEN new.state = 'acknowledged' THEN a.ack_note ELSE '' END
    FROM new WHERE a.id = new.id AND a.version = new.version AND a.open
    RETURNING a.id, a.kind, a.group_policy, a.target, a.state, a.severity, new.urgent, new.noted
), noted AS (
    INSERT INTO alert_changes (alert_id, at, state, severity)
    SELECT id, sqlc.arg('now')::timestamptz, state, severity FROM changed WHERE changed.noted
)
SELECT kind, group_policy, target, bool_or(urgent)::boolean AS urgent FROM changed WHERE changed.noted GROUP BY kind, group_policy, target;

-- name: BeginAlerts :many
WITH new AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('kinds')::text[]) AS kind, unnest(sqlc.arg('subjects')::text[]) AS subject,
        unnest(sqlc.arg('severities')::text[]) AS severity, unnest(sqlc.arg('policies')::text[]) AS policy,
        unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('projects')::text[]) AS project,
        unnest(sqlc.arg('clusters')::text[]) AS cluster, unnest(sqlc.arg('group_policies')::text[]) AS group_policy,
        unnest(sqlc.arg('messages')::text[]) AS message
), begun AS (
    INSERT INTO alerts (id, kind, subject, severity, state, policy, target, project, cluster, group_policy, message, since)
    SELECT id, kind, subject, severity, 'firing', policy, target, project, cluster, group_policy, message, sqlc.arg('now')::timestamptz
    FROM new ORDER BY kind, subject
    ON CONFLICT (kind, subject) WHERE open DO NOTHING
    RETURNING id, kind, group_policy, target, severity
), noted AS (
    INSERT INTO alert_changes (alert_id, at, state, severity) SELECT id, sqlc.arg('now')::timestamptz, 'firing', severity FROM begun
)
SELECT DISTINCT kind, group_policy, target FROM begun;

-- name: MarkGone :exec
UPDATE alerts SET gone_since = CASE WHEN sqlc.arg('gone')::boolean THEN sqlc.arg('now')::timestamptz END
WHERE id = ANY (sqlc.arg('ids')::uuid[]) AND open;

-- name: TouchGroups :exec
-- Their alerts changed: somebody may have to be told.
INSERT INTO alert_groups AS g (kind, policy, target, due_at, urgent)
SELECT n.kind, n.policy, n.target,
    sqlc.arg('now')::timestamptz + CASE WHEN n.urgent THEN 0 ELSE sqlc.arg('wait')::bigint END * interval '1 microsecond', n.urgent
FROM (SELECT unnest(sqlc.arg('kinds')::text[]) AS kind, unnest(sqlc.arg('policies')::text[]) AS policy,
    unnest(sqlc.arg('targets')::text[]) AS target, unnest(sqlc.arg('urgents')::boolean[]) AS urgent) n
ORDER BY n.kind, n.policy, n.target
ON CONFLICT (kind, policy, target) DO UPDATE SET
    due_at = least(g.due_at, excluded.due_at), urgent = g.urgent OR excluded.urgent, version = g.version + 1;

-- name: DueGroups :many
SELECT kind, policy, target, version, urgent, told_state, told_severity, told_at, told_since,
    (version <> told_version)::boolean AS touched
FROM alert_groups WHERE due_at <= sqlc.arg('now')::timestamptz ORDER BY due_at LIMIT sqlc.arg('max');

-- name: SummarizeGroup :one
SELECT count(*) AS open, count(*) FILTER (WHERE state = 'firing') AS firing,
    count(*) FILTER (WHERE severity = 'critical') AS critical, count(*) FILTER (WHERE severity = 'warning') AS warning,
    count(*) FILTER (WHERE silenced) AS silenced,
    coalesce(max(rank) FILTER (WHERE state = 'firing'), 0)::smallint AS worst,
    coalesce(min(since), 'epoch')::timestamptz AS oldest, coalesce(max(since) FILTER (WHERE state = 'firing'), 'epoch')::timestamptz AS newest
FROM alerts WHERE open AND kind = sqlc.arg('kind') AND group_policy = sqlc.arg('policy') AND target = sqlc.arg('target');

-- name: CountClusters :one
SELECT count(*) FROM (
    SELECT DISTINCT project, cluster FROM alerts
    WHERE open AND cluster <> '' AND kind = sqlc.arg('kind') AND group_policy = sqlc.arg('policy') AND target = sqlc.arg('target')) c;

-- name: GroupFiring :many
-- The worst and oldest first.
SELECT a.* FROM alerts a
WHERE a.open AND a.kind = sqlc.arg('kind') AND a.group_policy = sqlc.arg('policy') AND a.target = sqlc.arg('target') AND a.state = 'firing'
    AND (-a.rank, a.since, a.id) > (sqlc.arg('after_rank')::integer, sqlc.arg('after_since')::timestamptz, sqlc.arg('after_id')::uuid)
ORDER BY a.rank DESC, a.since, a.id LIMIT sqlc.arg('max');

-- name: MarkSilenced :exec
UPDATE alerts SET silenced = sqlc.arg('silenced')::boolean
WHERE id = ANY (sqlc.arg('ids')::uuid[]) AND silenced <> sqlc.arg('silenced')::boolean;

-- name: TellGroup :execrows
UPDATE alert_groups SET
    version = version + sqlc.arg('told')::boolean::integer,
    told_version = CASE WHEN sqlc.arg('told')::boolean THEN version + 1 ELSE told_version END,
    urgent = sqlc.arg('urgent'), due_at = sqlc.narg('due_at'),
    told_state = sqlc.arg('told_state'), told_severity = sqlc.arg('told_severity'),
    told_at = sqlc.narg('told_at'), told_since = sqlc.narg('told_since')
WHERE kind = sqlc.arg('kind') AND policy = sqlc.arg('policy') AND target = sqlc.arg('target') AND version = sqlc.arg('version');

-- name: InsertNotice :exec
WITH notice AS (
    INSERT INTO notices (id, kind, policy, target, state, at, body)
    VALUES (sqlc.arg('id'), sqlc.arg('kind'), sqlc.arg('policy'), sqlc.arg('target'), sqlc.arg('state'), sqlc.arg('at')::timestamptz, sqlc.arg('body'))
    RETURNING id
)
INSERT INTO announcements (id, type, notice_id, notice_group) SELECT sqlc.arg('announcement')::uuid, 'notice', id, sqlc.arg('notice_group')::text FROM notice;

-- name: Notice :one
SELECT body FROM notices WHERE id = sqlc.arg('id');

-- name: LockAlert :one
SELECT * FROM alerts WHERE id = sqlc.arg('id') FOR UPDATE;

-- name: AckAlerts :many
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), acked AS (
    UPDATE alerts a SET state = 'acknowledged', acked_by = sqlc.arg('by'), acked_until = sqlc.narg('until'), ack_note = sqlc.arg('note'),
        version = a.version + 1
    WHERE a.open AND (a.id = sqlc.arg('id') OR (sqlc.arg('whole')::boolean
        AND a.kind = sqlc.arg('kind') AND a.group_policy = sqlc.arg('policy') AND a.target = sqlc.arg('target')))
    RETURNING a.*
), noted AS (
    INSERT INTO alert_changes (alert_id, at, state, severity, by, note)
    SELECT id, clock.at, 'acknowledged', severity, sqlc.arg('by'), sqlc.arg('note') FROM acked, clock
)
SELECT acked.id, clock.at::timestamptz AS now FROM acked, clock ORDER BY acked.rank DESC, acked.since, acked.id;

-- name: AlertsByID :many
SELECT sqlc.embed(a), -- epoch: never
    coalesce(CASE WHEN a.open AND NOT a.silenced AND g.told_at >= a.since THEN g.told_at ELSE a.told_at END, 'epoch')::timestamptz AS last_told_at
FROM alerts a LEFT JOIN alert_groups g ON g.kind = a.kind AND g.policy = a.group_policy AND g.target = a.target
WHERE a.id = ANY (sqlc.arg('ids')::uuid[]) ORDER BY a.rank DESC, a.since, a.id;

-- name: Alerts :many
SELECT sqlc.embed(a), -- epoch: never
    coalesce(CASE WHEN a.open AND NOT a.silenced AND g.told_at >= a.since THEN g.told_at ELSE a.told_at END, 'epoch')::timestamptz AS last_told_at
FROM alerts a LEFT JOIN alert_groups g ON g.kind = a.kind AND g.policy = a.group_policy AND g.target = a.target
WHERE (a.open, a.id) < (sqlc.arg('before_open')::boolean, sqlc.arg('before_id')::uuid)
    AND (sqlc.arg('state')::text = '' OR a.state = sqlc.arg('state')) AND (sqlc.arg('kind')::text = '' OR a.kind = sqlc.arg('kind'))
    AND (sqlc.arg('policy')::text = '' OR a.policy = sqlc.arg('policy')) AND (sqlc.arg('target')::text = '' OR a.target = sqlc.arg('target'))
ORDER BY a.open DESC, a.id DESC LIMIT sqlc.arg('max');

-- name: AlertChanges :many
SELECT at, state, severity, by, note FROM alert_changes WHERE alert_id = sqlc.arg('alert') ORDER BY seq;

-- name: CountOpenAlerts :many
SELECT kind, severity, count(*) AS open FROM alerts WHERE open GROUP BY kind, severity;

-- name: CountUnitsOfTarget :one
SELECT count(*) FROM units WHERE target = sqlc.arg('target');

-- name: UnitsOfTarget :many
-- A unit's id begins with its target's name.
SELECT id, target, project_id, project_name, cluster_id, cluster_name, component, name
FROM units WHERE id > sqlc.arg('after')::text AND id < sqlc.arg('target')::text || '/' AND target = sqlc.arg('target')::text
ORDER BY id LIMIT sqlc.arg('max');

-- name: ParkedTasks :many
SELECT t.id, r.policy, t.target, t.reason, t.finished_at::timestamptz AS since,
    u.id AS unit_id, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name
FROM tasks t JOIN rotations r ON r.id = t.rotation_id JOIN units u ON u.id = t.unit_id
WHERE t.parked ORDER BY t.id LIMIT sqlc.arg('max');

-- name: TargetTroubles :many
SELECT t.name, t.trouble_since::timestamptz AS since, t.trouble_words FROM targets t JOIN resources s ON s.kind = 'Target' AND s.name = t.name
WHERE t.trouble = sqlc.arg('trouble') AND t.trouble_since <= sqlc.arg('before')::timestamptz ORDER BY t.name;

-- name: Drift :many
SELECT DISTINCT ON (k.unit_id) k.unit_id, k.used_from AS since, u.target, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name
FROM key_records k JOIN units u ON u.id = k.unit_id
WHERE k.origin = 'observed' AND k.previous_key_id <> '' AND k.used_from > sqlc.arg('since')::timestamptz
    AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.unit_id = k.unit_id AND t.parked) -- it may be its change that shows now
ORDER BY k.unit_id, k.used_from DESC LIMIT sqlc.arg('max');

-- name: BadRotations :many
-- Rotations that failed, wholly or in part, and that no later one has made good: neither one over the
-- same units, nor by turning what was missing. Of each policy the newest is told, and its newest failures are looked through:
-- whoever rotates daily has thousands by and by.
WITH bad AS MATERIALIZED (
    SELECT n.* FROM policies p CROSS JOIN LATERAL (
        SELECT f.id, f.policy, f.target, f.state, f.trouble, f.finished_at, f.requested_at, f.total
        FROM (SELECT o.* FROM rotations o WHERE o.policy = p.name AND o.state IN ('failed', 'partial') ORDER BY o.requested_at DESC LIMIT 64) f
        WHERE (f.total > 0 OR (f.only_units - 'keys') = '{}')
            AND (f.total = 0 OR EXISTS (SELECT 1 FROM tasks t JOIN unit_keys k ON k.unit_id = t.unit_id
                WHERE t.rotation_id = f.id AND (t.state IN ('failed', 'parked') OR t.stopped) AND (k.key_since IS NULL OR k.key_since <= f.requested_at)))
            AND NOT EXISTS (SELECT 1 FROM rotations s WHERE s.policy = f.policy AND s.finished_at IS NOT NULL AND s.requested_at > f.requested_at
                AND s.state <> 'cancelled' AND ((s.only_units - 'keys') = '{}' OR (s.only_units - 'keys') = (f.only_units - 'keys')))
        ORDER BY f.requested_at DESC LIMIT 1) n
)
SELECT b.id, b.policy, b.target, b.state, b.trouble, b.finished_at::timestamptz AS since, b.total,
    coalesce(c.missing, 0)::bigint AS missing, coalesce(c.mixed, '{}')::text[] AS mixed
FROM bad b LEFT JOIN LATERAL (
    SELECT sum(n.missing) AS missing, (array_agg(n.name ORDER BY n.name) FILTER (WHERE n.missing > 0 AND n.turned > 0))[1:5] AS mixed
    FROM (SELECT u.project_name || '/' || u.cluster_name AS name,
            count(*) FILTER (WHERE (t.state IN ('failed', 'parked') OR t.stopped) AND (k.key_since IS NULL OR k.key_since <= b.requested_at)) AS missing,
            count(*) FILTER (WHERE t.state = 'succeeded') AS turned
        FROM tasks t JOIN units u ON u.id = t.unit_id JOIN unit_keys k ON k.unit_id = t.unit_id
        WHERE t.rotation_id = b.id GROUP BY u.project_id, u.project_name, u.cluster_name) n
) c ON true
ORDER BY b.policy LIMIT sqlc.arg('max');

-- name: TroubleTarget :exec
INSERT INTO targets AS t (name, trouble, trouble_since, trouble_words)
VALUES (sqlc.arg('name'), sqlc.arg('trouble'), coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()), sqlc.arg('words'))
ON CONFLICT (name) DO UPDATE SET
    trouble = excluded.trouble, trouble_words = excluded.trouble_words,
    trouble_since = CASE WHEN t.trouble = excluded.trouble THEN t.trouble_since ELSE excluded.trouble_since END;

-- name: TargetAnswered :exec
UPDATE targets SET trouble = '', trouble_since = NULL, trouble_words = '' WHERE name = sqlc.arg('name') AND trouble <> '';

-- name: PruneAlerts :many
DELETE FROM alerts a WHERE a.id IN (SELECT o.id FROM alerts o
    WHERE o.resolved_at < coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) - sqlc.arg('age')::bigint * interval '1 microsecond'
    ORDER BY o.resolved_at LIMIT sqlc.arg('max'))
RETURNING a.id;

-- name: PruneAlertChanges :exec
DELETE FROM alert_changes WHERE alert_id = ANY (sqlc.arg('alerts')::uuid[]);

-- name: PruneNotices :execrows
-- Ids have the order of time: the first ones are the oldest. What nobody was told of yet stays.
DELETE FROM notices n WHERE n.id IN (SELECT o.id FROM (SELECT f.id, f.at FROM notices f ORDER BY f.id LIMIT sqlc.arg('max')) o
    WHERE o.at < coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) - sqlc.arg('age')::bigint * interval '1 microsecond'
        AND NOT EXISTS (SELECT 1 FROM announcements a WHERE a.notice_id = o.id));
