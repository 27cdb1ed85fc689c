-- name: InsertAudit :exec
INSERT INTO audit (id, at, actor, action, subject, remote, reason, detail)
VALUES (sqlc.arg(id), sqlc.arg(at), sqlc.arg(actor), sqlc.arg(action), sqlc.arg(subject), sqlc.arg(remote), sqlc.arg(reason), sqlc.arg(detail));

-- name: Audit :many
SELECT * FROM audit
WHERE sqlc.arg(before_id) = '' OR id < sqlc.arg(before_id)
ORDER BY id DESC
LIMIT sqlc.arg(max_rows);
