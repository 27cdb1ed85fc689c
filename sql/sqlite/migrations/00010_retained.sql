-- Which keys must be kept: the tables of sql/postgres/migrations, under the same numbers and names.

-- +goose Up
CREATE TABLE snapshots (
    unit_id      TEXT    NOT NULL,
    id           TEXT    NOT NULL CHECK (id <> ''),
    target       TEXT    NOT NULL,
    cluster_name TEXT    NOT NULL,
    key_id       TEXT    NOT NULL, -- empty: the system does not say
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,          -- NULL: it is kept until someone deletes it
    complete     INTEGER NOT NULL CHECK (complete IN (0, 1)),
    keep         INTEGER NOT NULL CHECK (keep IN (0, 1)),
    look         INTEGER NOT NULL CHECK (look >= 1), -- the last look that saw it
    PRIMARY KEY (unit_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshots_time ON snapshots (unit_id, created_at);
CREATE INDEX snapshots_key ON snapshots (key_id, target) WHERE key_id <> '';

CREATE TABLE snapshot_looks (
    unit_id   TEXT    NOT NULL PRIMARY KEY,
    began     INTEGER NOT NULL CHECK (began >= 1), -- the number of the last look that began
    began_at  INTEGER NOT NULL,
    done      INTEGER NOT NULL DEFAULT 0 CHECK (done BETWEEN 0 AND began), -- and of the last that came to its end
    looked_at INTEGER, -- when that began
    trouble   TEXT    NOT NULL DEFAULT '', -- why none came to its end since
    CHECK ((done > 0) = (looked_at IS NOT NULL))
) STRICT;

CREATE TABLE key_states (
    target          TEXT    NOT NULL,
    key_id          TEXT    NOT NULL CHECK (key_id <> ''),
    state           TEXT    NOT NULL CHECK (state IN ('pre-active', 'active', 'deactivated', 'compromised')
        OR state IN ('destroyed', 'missing', 'disabled', 'unclear')),
    name            TEXT    NOT NULL,
    initial_at      INTEGER,
    activation_at   INTEGER,
    deactivation_at INTEGER,
    compromise_at   INTEGER,
    destroy_at      INTEGER,
    orphan          INTEGER NOT NULL CHECK (orphan IN (0, 1)), -- it bears a name of the estate and is in no history
    detail          TEXT    NOT NULL,
    seen_at         INTEGER NOT NULL,
    audit           INTEGER NOT NULL, -- the turn of the job that asked
    PRIMARY KEY (target, key_id)
) STRICT;
-- Those of which somebody may have to be told. SQLite's parser in sqlc knows no longer lists.
CREATE INDEX key_states_bad ON key_states (target, key_id)
    WHERE orphan OR state = 'deactivated' OR state = 'compromised' OR state = 'destroyed' OR state = 'missing';

CREATE TABLE key_jobs (
    target      TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('snapshots', 'audit')),
    turn        INTEGER NOT NULL DEFAULT 0, -- counts the claims
    asked_at    INTEGER,
    began_at    INTEGER,
    done_at     INTEGER,
    not_before  INTEGER, -- after a failure
    owner       TEXT,
    lease_until INTEGER,
    trouble     TEXT    NOT NULL DEFAULT '', -- why the last try did not come to its end
    result      TEXT    CHECK (json_valid(result)),
    PRIMARY KEY (target, kind),
    CHECK ((owner IS NULL) = (lease_until IS NULL))
) STRICT;

CREATE TABLE key_retirements (
    id           TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    target       TEXT    NOT NULL,
    key_id       TEXT    NOT NULL CHECK (key_id <> ''),
    requested_by TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    asked_at     INTEGER NOT NULL,
    disabled_at  INTEGER, -- NULL: the answer did not come yet
    UNIQUE (target, key_id)
) STRICT;

-- Which units used a key. The history has no index for that: ids of keys are at random, so each record would write a
-- page that no other one writes. What was recorded since is entered, many at once, before anybody asks.
CREATE TABLE key_uses (
    key_id  TEXT NOT NULL,
    unit_id TEXT NOT NULL,
    PRIMARY KEY (key_id, unit_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE key_uses_entered (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL CHECK (seq >= 0) -- of the last record that is in key_uses
) STRICT;
INSERT INTO key_uses_entered (one, seq) VALUES (1, 0);
-- +goose StatementBegin
CREATE TRIGGER key_uses_no_update BEFORE UPDATE ON key_uses
BEGIN
    SELECT RAISE(ABORT, 'key_uses is append-only: UPDATE is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER key_uses_no_delete BEFORE DELETE ON key_uses
BEGIN
    SELECT RAISE(ABORT, 'key_uses is append-only: DELETE is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER key_uses_entered_no_skip BEFORE UPDATE ON key_uses_entered
WHEN new.seq < old.seq OR new.seq > coalesce((SELECT max(seq) FROM key_records), 0)
BEGIN
    SELECT RAISE(ABORT, 'key_uses_entered only follows the history');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER key_uses_entered_no_delete BEFORE DELETE ON key_uses_entered
BEGIN
    SELECT RAISE(ABORT, 'key_uses_entered is one row');
END;
-- +goose StatementEnd

CREATE INDEX key_names_key ON key_names (key_id, unit_id);

-- +goose Down
DROP INDEX key_names_key;
DROP TABLE key_uses_entered;
DROP TABLE key_uses;
DROP TABLE key_retirements;
DROP TABLE key_jobs;
DROP TABLE key_states;
DROP TABLE snapshot_looks;
DROP TABLE snapshots;
