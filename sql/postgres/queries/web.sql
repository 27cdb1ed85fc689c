-- Who is signed in to the pages, and what the first one shows.

-- name: CreateSession :execrows
INSERT INTO sessions (hash, token_id, name, role, remote, created_at, seen_at, expires_at)
SELECT sqlc.arg('hash'), sqlc.narg('token_id'), sqlc.arg('name'), sqlc.arg('role'), sqlc.arg('remote'), n.now, n.now,
    n.now + sqlc.arg('max_age')::bigint * interval '1 microsecond'
FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS now) n
ON CONFLICT DO NOTHING;

-- name: DropSessions :exec
-- A few of those that have ended: each new one takes some old ones away.
DELETE FROM sessions s WHERE s.hash IN (SELECT o.hash FROM sessions o
    WHERE o.expires_at <= coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())
    ORDER BY o.expires_at LIMIT 20 FOR UPDATE SKIP LOCKED);

-- name: SessionByHash :one
-- The token's role counts, and its end is the session's.
SELECT s.token_id, s.name, coalesce(t.role, s.role)::text AS role, s.remote, s.created_at, s.seen_at, s.expires_at
FROM sessions s LEFT JOIN tokens t ON t.id = s.token_id,
    (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS now) n
WHERE s.hash = sqlc.arg('hash') AND s.expires_at > n.now
    AND s.seen_at > n.now - sqlc.arg('idle')::bigint * interval '1 microsecond'
    AND (s.token_id IS NULL OR (t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > n.now)));

-- name: TouchSession :exec
UPDATE sessions SET seen_at = greatest(seen_at, coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())) WHERE hash = sqlc.arg('hash');

-- name: EndSession :execrows
DELETE FROM sessions WHERE hash = sqlc.arg('hash');

-- name: OverviewTargets :many
WITH sums AS (
    SELECT u.target, count(*) AS units,
        count(*) FILTER (WHERE k.key_since IS NULL) AS unknown,
        count(*) FILTER (WHERE NOT u.rotatable) AS fixed,
        count(*) FILTER (WHERE k.key_since <= sqlc.arg('warn')::timestamptz) AS warn,
        count(*) FILTER (WHERE k.key_since <= sqlc.arg('critical')::timestamptz) AS critical,
        min(k.key_since)::timestamptz AS oldest
    FROM units u JOIN unit_keys k ON k.unit_id = u.id GROUP BY u.target
)
SELECT coalesce(r.name, s.target)::text AS name, coalesce(s.units, 0)::bigint AS units, coalesce(s.unknown, 0)::bigint AS unknown,
    coalesce(s.fixed, 0)::bigint AS fixed, coalesce(s.warn, 0)::bigint AS warn, coalesce(s.critical, 0)::bigint AS critical, s.oldest,
    coalesce(t.trouble, '')::text AS trouble, t.trouble_since, coalesce(t.trouble_words, '')::text AS trouble_words,
    t.hold_until, coalesce(t.hold_reason, '')::text AS hold_reason
FROM (SELECT x.name FROM resources x WHERE x.kind = 'Target') r
    FULL JOIN sums s ON s.target = r.name
    LEFT JOIN targets t ON t.name = coalesce(r.name, s.target)
ORDER BY 1;

-- name: OldestUnit :one
SELECT u.id, u.target, u.system, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name, u.fcv, u.rotatable, u.reason,
    k.key_id, k.key_since, k.key_exact
FROM unit_keys k JOIN units u ON u.id = k.unit_id
WHERE k.key_since IS NOT NULL ORDER BY k.key_since, k.unit_id LIMIT 1;

-- name: OpenAlertCounts :one
SELECT count(*) FILTER (WHERE state = 'firing' AND severity = 'critical') AS critical,
    count(*) FILTER (WHERE state = 'firing' AND severity = 'warning') AS warning,
    count(*) FILTER (WHERE state = 'firing' AND severity = 'info') AS info,
    count(*) FILTER (WHERE state = 'acknowledged') AS acknowledged
FROM alerts WHERE open;

-- name: ParkedCount :one
SELECT count(*) FROM tasks WHERE parked;

-- name: OpenRotationCount :one
SELECT count(*) FROM rotations WHERE finished_at IS NULL;

-- name: NextUp :many
SELECT name, next_at::timestamptz AS next_at FROM policies WHERE NOT paused AND next_at IS NOT NULL ORDER BY next_at, name LIMIT 1;

-- name: RotationCells :many
SELECT t.id, t.unit_id, t.state, t.resolution, t.reason, t.attempts, t.started_at, t.finished_at,
    u.project_id, u.project_name, u.cluster_name, u.component, u.name
FROM tasks t JOIN units u ON u.id = t.unit_id
WHERE t.rotation_id = sqlc.arg('rotation')
ORDER BY u.project_name, u.project_id, u.cluster_name, u.component, u.name, t.id;

-- name: RotationChanges :many
-- What became of tasks since a time: it reads the rotation's tasks, and returns few of them.
SELECT t.id, t.unit_id, t.state, t.resolution, t.reason, t.attempts, t.started_at, t.finished_at
FROM tasks t
WHERE t.rotation_id = sqlc.arg('rotation') AND (t.intended_at >= sqlc.arg('since')::timestamptz OR t.finished_at >= sqlc.arg('since')::timestamptz);
