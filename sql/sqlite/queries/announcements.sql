-- name: InsertAnnouncement :exec
INSERT INTO announcements (id, type, rotation_id, task_ids)
VALUES (sqlc.arg(id), sqlc.arg(type), sqlc.arg(rotation_id), sqlc.arg(task_ids));

-- name: FreeAnnouncements :many
-- Of a rotation or a group of alerts nothing is given out while somebody else holds what came before it.
SELECT a.id, a.type, a.rotation_id, a.notice_id, a.task_ids FROM announcements AS a
WHERE (a.held_until IS NULL OR a.held_until <= sqlc.arg(now))
    AND (a.topic = '' OR NOT EXISTS (SELECT 1 FROM announcements AS e
        WHERE e.topic = a.topic AND e.topic <> '' AND e.seq < a.seq AND e.held_until > sqlc.arg(now)))
ORDER BY a.seq
LIMIT sqlc.arg(max_rows);

-- name: HoldAnnouncement :exec
UPDATE announcements SET held_until = sqlc.arg(held_until) WHERE id = sqlc.arg(id);

-- name: RemoveAnnouncement :exec
DELETE FROM announcements WHERE id = sqlc.arg(id);
