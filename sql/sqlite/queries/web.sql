-- Who is signed in to the pages, and what the first one shows.

-- name: CreateSession :execrows
INSERT INTO sessions (hash, token_id, name, role, remote, created_at, seen_at, expires_at)
VALUES (sqlc.arg(hash), sqlc.arg(token_id), sqlc.arg(name), sqlc.arg(role), sqlc.arg(remote), sqlc.arg(created_at), sqlc.arg(created_at), sqlc.arg(expires_at))
ON CONFLICT DO NOTHING;

-- name: DropSessions :exec
-- A few of those that have ended: each new one takes some old ones away.
DELETE FROM sessions WHERE hash IN (SELECT o.hash FROM sessions o WHERE o.expires_at <= sqlc.arg(now) ORDER BY o.expires_at LIMIT 20);

-- name: SessionByHash :one
-- The token's role counts, and its end is the session's.
SELECT s.token_id, s.name, CAST(coalesce(t.role, s.role) AS TEXT) AS role, s.remote, s.created_at, s.seen_at, s.expires_at
FROM sessions s LEFT JOIN tokens t ON t.id = s.token_id
WHERE s.hash = sqlc.arg(hash) AND s.expires_at > sqlc.arg(now) AND s.seen_at > sqlc.arg(seen_after)
    AND (s.token_id IS NULL OR (t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > sqlc.arg(now))));

-- name: TouchSession :exec
UPDATE sessions SET seen_at = max(seen_at, sqlc.arg(now)) WHERE hash = sqlc.arg(hash);

-- name: EndSession :execrows
DELETE FROM sessions WHERE hash = sqlc.arg(hash);

-- name: OverviewSums :many
SELECT u.target, count(*) AS units,
    CAST(sum(k.key_since IS NULL) AS INTEGER) AS unknown,
    CAST(sum(NOT u.rotatable) AS INTEGER) AS fixed,
    CAST(sum(coalesce(k.key_since <= sqlc.arg(warn), 0)) AS INTEGER) AS warn,
    CAST(sum(coalesce(k.key_since <= sqlc.arg(critical), 0)) AS INTEGER) AS critical,
    CAST(coalesce(min(k.key_since), 0) AS INTEGER) AS oldest
FROM units u JOIN unit_keys k ON k.unit_id = u.id
GROUP BY u.target ORDER BY u.target;

-- name: OverviewTargets :many
SELECT r.name, coalesce(t.trouble, '') AS trouble, t.trouble_since, coalesce(t.trouble_words, '') AS trouble_words,
    t.hold_until, coalesce(t.hold_reason, '') AS hold_reason
FROM resources r LEFT JOIN targets t ON t.name = r.name
WHERE r.kind = 'Target' ORDER BY r.name;

-- name: OldestUnit :one
SELECT sqlc.embed(u), k.key_id, k.key_since, k.key_exact
FROM unit_keys k JOIN units u ON u.id = k.unit_id
WHERE k.key_since IS NOT NULL ORDER BY k.key_since, k.unit_id LIMIT 1;

-- name: OpenAlertCounts :many
SELECT state, severity, count(*) AS alerts FROM alerts WHERE open GROUP BY state, severity;

-- name: ParkedCount :one
SELECT count(*) FROM tasks WHERE state = 'parked';

-- name: OpenRotationCount :one
SELECT count(*) FROM rotations WHERE finished_at IS NULL;

-- name: NextUp :many
SELECT name, next_at FROM policies WHERE NOT paused AND next_at IS NOT NULL ORDER BY next_at, name LIMIT 1;

-- name: RotationCells :many
SELECT t.id, t.unit_id, t.state, t.resolution, t.reason, t.attempts, t.started_at, t.finished_at,
    u.project_id, u.project_name, u.cluster_name, u.component, u.name
FROM tasks t JOIN units u ON u.id = t.unit_id
WHERE t.rotation_id = sqlc.arg(rotation)
ORDER BY u.project_name, u.project_id, u.cluster_name, u.component, u.name, t.seq;

-- name: RotationChanges :many
-- What became of tasks since a time: it reads the rotation's tasks, and returns few of them.
SELECT t.id, t.unit_id, t.state, t.resolution, t.reason, t.attempts, t.started_at, t.finished_at
FROM tasks t
WHERE t.rotation_id = sqlc.arg(rotation) AND (t.intended_at >= sqlc.arg(since) OR t.finished_at >= sqlc.arg(since));
