-- name: InsertWave :exec
INSERT INTO waves (rotation_id, wave, first_turn, last_turn, pause)
VALUES (sqlc.arg(rotation_id), sqlc.arg(wave), sqlc.arg(first_turn), sqlc.arg(last_turn), sqlc.arg(pause));

-- name: BeginRollout :exec
UPDATE rotations SET wave = 1, waves = sqlc.arg(waves), turn_limit = sqlc.arg(turn_limit), next_wave_at = NULL,
    canary_turn = sqlc.narg(canary_turn), max_failures = sqlc.narg(max_failures)
WHERE id = sqlc.arg(id);

-- name: RollingRotations :many
SELECT * FROM rotations WHERE state = 'running' AND wave IS NOT NULL AND NOT halted ORDER BY id;

-- name: UnturnedTasks :one
-- How many tasks failed or were parked, and how many of those are canaries.
SELECT count(*) AS bad, count(CASE WHEN turn <= sqlc.arg(canary_turn) THEN 1 END) AS canary, CAST(coalesce(min(reason), '') AS TEXT) AS why
FROM tasks WHERE rotation_id = sqlc.arg(rotation_id) AND state IN ('failed', 'parked');

-- name: OpenUpTo :one
-- Whether a task of the rotation is open up to a turn. Every side is a partial index.
SELECT CAST(
    EXISTS (SELECT 1 FROM tasks AS p WHERE p.rotation_id = sqlc.arg(rotation_id) AND p.turn <= sqlc.arg(turn)
        AND p.finished_at IS NULL AND p.back IS NULL AND p.handed_at IS NULL)
    OR EXISTS (SELECT 1 FROM tasks AS b WHERE b.rotation_id = sqlc.arg(rotation_id) AND b.turn <= sqlc.arg(turn) AND b.back = 'pending')
    OR EXISTS (SELECT 1 FROM tasks AS o WHERE o.target = sqlc.arg(target) AND o.turn <= sqlc.arg(turn) AND o.back = 'intended'
        AND o.rotation_id = sqlc.arg(rotation_id))
    OR EXISTS (SELECT 1 FROM tasks AS h WHERE h.target = sqlc.arg(target) AND h.handed_at IS NOT NULL
        AND h.rotation_id = sqlc.arg(rotation_id) AND h.turn <= sqlc.arg(turn))
    AS INTEGER) AS open;

-- name: HasPending :one
SELECT CAST(
    EXISTS (SELECT 1 FROM tasks AS p WHERE p.rotation_id = sqlc.arg(rotation_id)
        AND p.finished_at IS NULL AND p.back IS NULL AND p.handed_at IS NULL AND p.state = 'pending')
    OR EXISTS (SELECT 1 FROM tasks AS b WHERE b.rotation_id = sqlc.arg(rotation_id) AND b.back = 'pending')
    OR EXISTS (SELECT 1 FROM tasks AS h WHERE h.target = sqlc.arg(target) AND h.handed_at IS NOT NULL
        AND h.rotation_id = sqlc.arg(rotation_id) AND h.state = 'pending')
    AS INTEGER) AS pending;

-- name: Wave :one
SELECT * FROM waves WHERE rotation_id = sqlc.arg(rotation_id) AND wave = sqlc.arg(wave);

-- name: OpenWave :execrows
UPDATE rotations SET wave = sqlc.arg(wave), turn_limit = sqlc.arg(turn_limit), next_wave_at = NULL
WHERE id = sqlc.arg(id) AND state = 'running' AND wave = sqlc.arg(was);

-- name: DelayWave :execrows
UPDATE rotations SET next_wave_at = sqlc.arg(next_wave_at) WHERE id = sqlc.arg(id) AND state = 'running' AND wave = sqlc.arg(was);
