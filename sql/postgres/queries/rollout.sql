-- name: SaveWaves :exec
INSERT INTO waves (rotation_id, wave, first_turn, last_turn, pause)
SELECT sqlc.arg('rotation')::uuid, unnest(sqlc.arg('waves')::integer[]), unnest(sqlc.arg('firsts')::integer[]), unnest(sqlc.arg('lasts')::integer[]),
    unnest(sqlc.arg('pauses')::bigint[]);

-- name: BeginRollout :exec
UPDATE rotations r SET wave = 1, waves = sqlc.arg('waves')::integer, turn_limit = w.last_turn, next_wave_at = NULL,
    canary_turn = sqlc.narg('canary_turn'), max_failures = sqlc.narg('max_failures')
FROM waves w WHERE r.id = sqlc.arg('id') AND w.rotation_id = r.id AND w.wave = 1;

-- name: RolloutsToHalt :many
-- Running rollouts in which too much went wrong, and that have tasks that did not begin.
SELECT r.id, r.max_failures, b.bad, b.canary, b.why::text AS why
FROM rotations r CROSS JOIN LATERAL (
    SELECT count(*) AS bad, count(*) FILTER (WHERE t.turn <= r.canary_turn) AS canary, coalesce(min(t.reason), '') AS why
    FROM tasks t WHERE t.rotation_id = r.id AND t.finished_at IS NOT NULL AND t.key_after = '' AND t.state IN ('failed', 'parked')
) b
WHERE r.state = 'running' AND r.wave IS NOT NULL AND NOT r.halted AND (b.bad > r.max_failures OR b.canary > 0)
    AND (SELECT t.id FROM tasks t WHERE t.rotation_id = r.id AND t.finished_at IS NULL AND t.state = 'pending' LIMIT 1) IS NOT NULL
ORDER BY r.id;

-- name: OpenWaves :many
-- A wave begins when every task of those before has ended and its pause is over. Of two sweepers, the later one
-- finds the row locked, or moved on: then what it has seen of the tasks is older than the wave, and shows them open.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), ready AS MATERIALIZED (
    SELECT r.id, r.wave, r.next_wave_at FROM rotations r, clock
    WHERE r.state = 'running' AND r.wave IS NOT NULL AND NOT r.halted AND r.wave < r.waves
        AND (r.next_wave_at IS NULL OR r.next_wave_at <= clock.at)
        AND (SELECT t.id FROM tasks t WHERE t.rotation_id = r.id AND t.finished_at IS NULL AND t.turn <= r.turn_limit LIMIT 1) IS NULL
        AND (SELECT t.id FROM tasks t WHERE t.rotation_id = r.id AND t.finished_at IS NULL LIMIT 1) IS NOT NULL
        AND (SELECT count(*) FROM tasks t
            WHERE t.rotation_id = r.id AND t.finished_at IS NOT NULL AND t.key_after = '' AND t.state IN ('failed', 'parked')
        ) <= coalesce(r.max_failures, 2147483647)
        AND (SELECT t.id FROM tasks t
            WHERE t.rotation_id = r.id AND t.turn <= r.canary_turn AND t.finished_at IS NOT NULL AND t.key_after = ''
                AND t.state IN ('failed', 'parked') LIMIT 1) IS NULL
    ORDER BY r.id FOR UPDATE OF r SKIP LOCKED
)
UPDATE rotations r SET
    wave = CASE WHEN y.next_wave_at IS NULL AND w.pause > 0 THEN r.wave ELSE w.wave END,
    turn_limit = CASE WHEN y.next_wave_at IS NULL AND w.pause > 0 THEN r.turn_limit ELSE w.last_turn END,
    next_wave_at = CASE WHEN y.next_wave_at IS NULL AND w.pause > 0 THEN clock.at + w.pause * interval '1 microsecond' END
FROM ready y JOIN waves w ON w.rotation_id = y.id AND w.wave = y.wave + 1, clock
WHERE r.id = y.id
RETURNING r.*;
