-- name: Announce :exec
INSERT INTO announcements (id, type, rotation_id, task_ids) VALUES (sqlc.arg('id'), sqlc.arg('type'), sqlc.narg('rotation_id'), sqlc.arg('task_ids'));

-- name: AnnounceSkipped :exec
-- Announces the tasks that a plan, from the turn on, skipped, a thousand in each announcement.
INSERT INTO announcements (id, type, task_ids)
SELECT gen_random_uuid(), 'tasks', array_agg(n.id ORDER BY n.id)
FROM (SELECT t.id, (row_number() OVER (ORDER BY t.id) - 1) / 1000 AS part FROM tasks t WHERE t.rotation_id = sqlc.arg('rotation') AND t.state = 'skipped' AND t.turn > sqlc.arg('saved')) n
GROUP BY n.part;

-- name: Unannounced :many
-- Of a rotation or a group of alerts nothing is given out while somebody else has what came before it: neither
-- if he holds it, nor if he is just about to, and his transaction is not seen yet.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), oldest AS MATERIALIZED (
    SELECT a.seq FROM announcements a, clock
    WHERE (a.held_until IS NULL OR a.held_until < clock.at)
        AND (a.topic = '' OR NOT EXISTS (SELECT 1 FROM announcements e
            WHERE e.topic = a.topic AND e.topic <> '' AND e.seq < a.seq AND e.held_until >= clock.at))
        AND (a.type NOT IN ('rotation.started', 'rotation.completed') OR NOT EXISTS (SELECT 1 FROM announcements e
            WHERE e.type = 'rotations' AND e.seq < a.seq AND e.held_until >= clock.at AND a.rotation_id = ANY (e.task_ids)))
    ORDER BY a.seq LIMIT sqlc.arg('max') FOR UPDATE OF a SKIP LOCKED
), held AS (
    UPDATE announcements a SET held_until = clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond'
    FROM oldest, clock WHERE a.seq = oldest.seq
        AND (a.topic = '' OR NOT EXISTS (SELECT 1 FROM announcements e
            WHERE e.topic = a.topic AND e.topic <> '' AND e.seq < a.seq AND NOT EXISTS (SELECT 1 FROM oldest o WHERE o.seq = e.seq)))
        AND (a.type NOT IN ('rotation.started', 'rotation.completed') OR NOT EXISTS (SELECT 1 FROM announcements e
            WHERE e.type = 'rotations' AND e.seq < a.seq AND NOT EXISTS (SELECT 1 FROM oldest o WHERE o.seq = e.seq) AND a.rotation_id = ANY (e.task_ids)))
    RETURNING a.seq, a.id, a.type, a.rotation_id, a.notice_id, a.task_ids
)
SELECT id, type, rotation_id, notice_id, task_ids FROM held ORDER BY seq;

-- name: Announced :exec
DELETE FROM announcements WHERE id = ANY (sqlc.arg('ids')::uuid[]);

-- name: TasksByID :many
SELECT id, rotation_id, unit_id, state, resolution, reason, attempts, key_before, key_after, started_at, finished_at
FROM tasks WHERE id = ANY (sqlc.arg('ids')::uuid[]) ORDER BY id;

-- name: KeyRecordsOfTasks :many
-- Found through their units: an index on task_id would cost every result two entries more. A key's end
-- is what the task itself made: looking for later records would cost more than all the rest.
SELECT sqlc.embed(k),
    coalesce(lead(k.used_from) OVER (PARTITION BY k.task_id ORDER BY k.used_from, k.id), 'epoch')::timestamptz AS used_until -- epoch: none
FROM tasks t JOIN key_records k ON k.unit_id = t.unit_id AND k.task_id = t.id
WHERE t.id = ANY (sqlc.arg('ids')::uuid[]) ORDER BY k.used_from, k.id;
