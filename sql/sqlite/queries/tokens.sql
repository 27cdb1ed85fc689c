-- name: InsertToken :exec
INSERT INTO tokens (id, name, role, hash, created_at, expires_at)
VALUES (sqlc.arg(id), sqlc.arg(name), sqlc.arg(role), sqlc.arg(hash), sqlc.arg(created_at), sqlc.arg(expires_at));

-- name: Tokens :many
SELECT id, name, role, created_at, expires_at, revoked_at FROM tokens ORDER BY id;

-- name: RevokeToken :execrows
UPDATE tokens SET revoked_at = sqlc.arg(now) WHERE id = sqlc.arg(id) AND revoked_at IS NULL;

-- name: TokenExists :one
SELECT CAST(EXISTS (SELECT 1 FROM tokens WHERE id = sqlc.arg(id)) AS INTEGER);

-- name: TokenByHash :one
SELECT id, name, role, created_at, expires_at, revoked_at FROM tokens
WHERE hash = sqlc.arg(hash) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > sqlc.arg(now));
