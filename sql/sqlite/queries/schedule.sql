-- name: Policy :one
SELECT resources.spec, resources.generation, policies.paused
FROM resources JOIN policies ON policies.name = resources.name
WHERE resources.kind = 'Policy' AND resources.name = sqlc.arg(name);

-- name: DuePolicies :many
-- CROSS JOIN makes SQLite start with what is due, not with all the policies there are.
SELECT policies.name, policies.paused, policies.next_local, policies.next_timezone, policies.next_at, resources.spec, resources.generation
FROM policies CROSS JOIN resources ON resources.kind = 'Policy' AND resources.name = policies.name
WHERE policies.wake_at <= sqlc.arg(now)
ORDER BY policies.wake_at
LIMIT sqlc.arg(max_rows);

-- name: AdvancePolicy :exec
UPDATE policies
SET next_local = sqlc.arg(next_local), next_timezone = sqlc.arg(next_timezone), next_at = sqlc.arg(next_at), wake_at = sqlc.arg(next_at)
WHERE name = sqlc.arg(name);

-- name: LeavePolicy :exec
UPDATE policies SET wake_at = sqlc.arg(wake_at) WHERE name = sqlc.arg(name);

-- name: NextDue :one
SELECT wake_at FROM policies WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 1;
