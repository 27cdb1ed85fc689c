-- name: InsertAudit :exec
INSERT INTO audit (id, at, actor, action, subject, remote, reason, detail)
VALUES (sqlc.arg('id'), coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()), sqlc.arg('actor'), sqlc.arg('action'), sqlc.arg('subject'),
    sqlc.arg('remote'), sqlc.arg('reason'), sqlc.arg('detail'));

-- name: Audit :many
SELECT * FROM audit a
WHERE sqlc.narg('after')::uuid IS NULL OR (a.at, a.id) < (SELECT b.at, b.id FROM audit b WHERE b.id = sqlc.narg('after'))
ORDER BY a.at DESC, a.id DESC LIMIT sqlc.arg('max');
