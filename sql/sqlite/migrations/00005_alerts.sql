-- What a person must know, how it went on, and who was told what: the tables of
-- sql/postgres/migrations, under the same numbers and names.

-- +goose Up
CREATE TABLE alerts (
    id           TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    kind         TEXT    NOT NULL CHECK (kind <> ''),
    subject      TEXT    NOT NULL CHECK (subject <> ''),
    severity     TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    rank         INTEGER NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('firing', 'acknowledged', 'resolved')),
    open         INTEGER NOT NULL,
    version      INTEGER NOT NULL DEFAULT 1,
    policy       TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    project      TEXT    NOT NULL,
    cluster      TEXT    NOT NULL,
    group_policy TEXT    NOT NULL, -- a policy, webhook or hook; with kind and target: who is told of it together
    message      TEXT    NOT NULL,
    since        INTEGER NOT NULL,
    gone_since   INTEGER, -- its fact is gone, but not for long enough to be over
    resolved_at  INTEGER,
    acked_by     TEXT    NOT NULL DEFAULT '',
    acked_until  INTEGER,
    ack_note     TEXT    NOT NULL DEFAULT '',
    silenced     INTEGER NOT NULL DEFAULT 0 CHECK (silenced IN (0, 1)), -- when its group was last told of
    told_at      INTEGER, -- of a resolved one: when somebody was last told that it fires
    CHECK ((resolved_at IS NOT NULL) = (state = 'resolved')),
    CHECK (open = (state <> 'resolved')),
    CHECK (rank = CASE severity WHEN 'critical' THEN 3 WHEN 'warning' THEN 2 ELSE 1 END)
) STRICT;
CREATE UNIQUE INDEX alerts_one_open ON alerts (kind, subject) WHERE open;
CREATE INDEX alerts_listing ON alerts (open, id);
CREATE INDEX alerts_of_group ON alerts (kind, group_policy, target, rank DESC, since, id) WHERE open;
CREATE INDEX alerts_acked ON alerts (acked_until) WHERE state = 'acknowledged' AND acked_until IS NOT NULL;
CREATE INDEX alerts_resolved ON alerts (resolved_at) WHERE resolved_at IS NOT NULL;

-- The history of alerts. It goes with its alert, long after that is over, and not before.
CREATE TABLE alert_changes (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('firing', 'acknowledged', 'resolved')),
    severity TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    by       TEXT    NOT NULL DEFAULT '',
    note     TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX alert_changes_alert ON alert_changes (alert_id, seq);
-- +goose StatementBegin
CREATE TRIGGER alert_changes_no_update BEFORE UPDATE ON alert_changes
BEGIN
    SELECT RAISE(ABORT, 'alert_changes is append-only: UPDATE is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER alert_changes_no_delete BEFORE DELETE ON alert_changes
WHEN EXISTS (SELECT 1 FROM alerts WHERE id = OLD.alert_id)
BEGIN
    SELECT RAISE(ABORT, 'alert_changes is append-only: DELETE is refused');
END;
-- +goose StatementEnd

-- What was told of the alerts of one kind, policy (or webhook, or hook) and target, and when to look at them again. The
-- alerts are the outbox of notices: a change sets due_at in its own transaction.
CREATE TABLE alert_groups (
    kind          TEXT    NOT NULL,
    policy        TEXT    NOT NULL,
    target        TEXT    NOT NULL,
    version       INTEGER NOT NULL DEFAULT 1,
    urgent        INTEGER NOT NULL DEFAULT 0 CHECK (urgent IN (0, 1)),
    due_at        INTEGER,
    told_state    TEXT    NOT NULL DEFAULT '' CHECK (told_state IN ('', 'firing', 'resolved')),
    told_severity TEXT    NOT NULL DEFAULT '',
    told_at       INTEGER,
    told_since    INTEGER,
    told_version  INTEGER NOT NULL DEFAULT 0, -- the version when it was told
    PRIMARY KEY (kind, policy, target)
) STRICT;
CREATE INDEX alert_groups_due ON alert_groups (due_at) WHERE due_at IS NOT NULL;

-- What was told.
CREATE TABLE notices (
    id     TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    kind   TEXT    NOT NULL,
    policy TEXT    NOT NULL,
    target TEXT    NOT NULL,
    state  TEXT    NOT NULL CHECK (state IN ('firing', 'acknowledged', 'resolved')),
    at     INTEGER NOT NULL,
    body   TEXT    NOT NULL CHECK (json_type(body) = 'object')
) STRICT;
CREATE INDEX notices_of_group ON notices (kind, policy, target, at);

-- Who evaluates alerts, and how far they got: one row.
CREATE TABLE alert_sweeper (
    one         INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    owner       TEXT    NOT NULL DEFAULT '',
    lease_until INTEGER,
    keys_at     INTEGER,
    facts_at    INTEGER,
    turned_at   INTEGER
) STRICT;
INSERT INTO alert_sweeper (one) VALUES (1);

-- The oldest keys first, of those who turned lately, and how each policy's rotations ended.
CREATE INDEX unit_keys_age ON unit_keys (key_since, unit_id) WHERE key_since IS NOT NULL;
CREATE INDEX rotations_bad ON rotations (policy, requested_at) WHERE state IN ('failed', 'partial');
CREATE INDEX rotations_ended ON rotations (policy, requested_at) WHERE finished_at IS NOT NULL;

-- +goose Down
DROP INDEX rotations_ended;
DROP INDEX rotations_bad;
DROP INDEX unit_keys_age;
DROP TABLE alert_sweeper;
DROP TABLE notices;
DROP TABLE alert_groups;
DROP TABLE alert_changes;
DROP TABLE alerts;
