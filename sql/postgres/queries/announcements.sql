-- name: Announce :exec
INSERT INTO announcements (id, type, rotation_id, task_ids) VALUES (sqlc.arg('id'), sqlc.arg('type'), sqlc.narg('rotation_id'), sqlc.arg('task_ids'));

-- name: AnnounceSkipped :exec
-- Announces the tasks that a plan skipped, a thousand in each announcement.
INSERT INTO announcements (id, type, task_ids)
SELECT gen_random_uuid(), 'tasks', array_agg(n.id ORDER BY n.id)
FROM (SELECT t.id, (row_number() OVER (ORDER BY t.id) - 1) / 1000 AS part FROM tasks t WHERE t.rotation_id = sqlc.arg('rotation') AND t.state = 'skipped') n
GROUP BY n.part;

-- name: Unannounced :many
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), oldest AS MATERIALIZED (
    SELECT a.seq FROM announcements a, clock
    WHERE a.held_until IS NULL OR a.held_until < clock.at
    ORDER BY a.seq LIMIT sqlc.arg('max') FOR UPDATE OF a SKIP LOCKED
), held AS (
    UPDATE announcements a SET held_until = clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond'
    FROM oldest, clock WHERE a.seq = oldest.seq
    RETURNING a.seq, a.id, a.type, a.rotation_id, a.task_ids
)
SELECT id, type, rotation_id, task_ids FROM held ORDER BY seq;

-- name: Announced :exec
DELETE FROM announcements WHERE id = ANY (sqlc.arg('ids')::uuid[]);

-- name: TasksByID :many
SELECT id, rotation_id, unit_id, state, resolution, reason, attempts, key_before, key_after, started_at, finished_at
FROM tasks WHERE id = ANY (sqlc.arg('ids')::uuid[]) ORDER BY id;

-- name: KeyRecordsOfTasks :many
-- Found through their units: an index on task_id would cost every result two entries more.
SELECT sqlc.embed(k), u.used_from AS used_until
FROM tasks t JOIN key_records k ON k.unit_id = t.unit_id AND k.task_id = t.id
LEFT JOIN key_records u ON u.id = (SELECT n.id FROM key_records n
    WHERE n.unit_id = k.unit_id AND (n.used_from, n.id) > (k.used_from, k.id) ORDER BY n.used_from, n.id LIMIT 1)
WHERE t.id = ANY (sqlc.arg('ids')::uuid[]) ORDER BY k.used_from, k.id;
