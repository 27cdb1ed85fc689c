-- Rollouts in waves, and what is asked of keys that somebody else turned.

-- +goose Up
-- The waves of a rotation, as they were planned: the turns from first_turn to last_turn are worked on together,
-- when all before have ended and pause microseconds have passed since.
CREATE TABLE waves (
    rotation_id uuid    NOT NULL REFERENCES rotations (id),
    wave        integer NOT NULL CHECK (wave >= 1),
    first_turn  integer NOT NULL CHECK (first_turn >= 1),
    last_turn   integer NOT NULL CHECK (last_turn >= first_turn),
    pause       bigint  NOT NULL CHECK (pause >= 0),
    PRIMARY KEY (rotation_id, wave)
);
CREATE INDEX rotations_rolling ON rotations (id) WHERE state = 'running' AND wave IS NOT NULL;
-- Tasks that ended without a new key. Without the state in its condition: the intent changes that, and must not
-- touch an index.
CREATE INDEX tasks_unturned ON tasks (rotation_id, turn) WHERE finished_at IS NOT NULL AND key_after = '';
-- Keys that somebody else turned.
CREATE INDEX key_records_drift ON key_records (used_from, id) WHERE origin = 'observed' AND previous_key_id <> '';

-- +goose Down
DROP INDEX key_records_drift, tasks_unturned, rotations_rolling;
DROP TABLE waves;
