-- name: InsertAnnouncement :exec
INSERT INTO announcements (id, type, rotation_id, task_ids)
VALUES (sqlc.arg(id), sqlc.arg(type), sqlc.arg(rotation_id), sqlc.arg(task_ids));

-- name: FreeAnnouncements :many
SELECT * FROM announcements
WHERE held_until IS NULL OR held_until <= sqlc.arg(now)
ORDER BY seq
LIMIT sqlc.arg(max_rows);

-- name: HoldAnnouncement :exec
UPDATE announcements SET held_until = sqlc.arg(held_until) WHERE id = sqlc.arg(id);

-- name: RemoveAnnouncement :exec
DELETE FROM announcements WHERE id = sqlc.arg(id);
