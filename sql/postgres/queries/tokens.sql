-- name: CreateToken :execrows
INSERT INTO tokens (id, name, role, hash, created_at, expires_at)
VALUES (sqlc.arg('id'), sqlc.arg('name'), sqlc.arg('role'), sqlc.arg('hash'), sqlc.arg('created_at'), sqlc.narg('expires_at'))
ON CONFLICT DO NOTHING;

-- name: Tokens :many
SELECT id, name, role, created_at, expires_at, revoked_at FROM tokens ORDER BY created_at, id;

-- name: RevokeToken :execrows
UPDATE tokens SET revoked_at = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) WHERE id = sqlc.arg('id') AND revoked_at IS NULL;

-- name: TokenExists :one
SELECT (EXISTS (SELECT 1 FROM tokens WHERE id = sqlc.arg('id')))::boolean;

-- name: TokenByHash :one
SELECT id, name, role, created_at, expires_at, revoked_at FROM tokens
WHERE hash = sqlc.arg('hash') AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()));
