-- Rollouts in waves, and what is asked of keys that somebody else turned.

-- +goose Up
-- The waves of a rotation, as they were planned: the turns from first_turn to last_turn are worked on together,
-- when all before have ended and pause milliseconds have passed since.
CREATE TABLE waves (
    rotation_id TEXT    NOT NULL REFERENCES rotations (id),
    wave        INTEGER NOT NULL CHECK (wave >= 1),
    first_turn  INTEGER NOT NULL CHECK (first_turn >= 1),
    last_turn   INTEGER NOT NULL CHECK (last_turn >= first_turn),
    pause       INTEGER NOT NULL CHECK (pause >= 0),
    PRIMARY KEY (rotation_id, wave)
) STRICT, WITHOUT ROWID;
CREATE INDEX rotations_rolling ON rotations (id) WHERE state = 'running' AND wave IS NOT NULL;
CREATE INDEX tasks_unturned ON tasks (rotation_id, turn) WHERE state IN ('failed', 'parked');
-- Keys that somebody else turned.
CREATE INDEX key_records_drift ON key_records (used_from) WHERE origin = 'observed' AND previous_key_id <> '';

-- +goose Down
DROP INDEX key_records_drift;
DROP INDEX tasks_unturned;
DROP INDEX rotations_rolling;
DROP TABLE waves;
