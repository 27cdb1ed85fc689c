-- Webhooks out and hooks in.

-- +goose Up
-- What happens to a webhook, as opposed to what was asked for. A webhook that never got anything has no row.
CREATE TABLE webhook_states (
    webhook           TEXT    NOT NULL PRIMARY KEY,
    failing_since     INTEGER,           -- NULL: it took the last one
    failures          INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0), -- in a row
    held_until        INTEGER,           -- nothing is sent before
    last_error        TEXT    NOT NULL DEFAULT '',
    last_delivered_at INTEGER,
    gone_generation   INTEGER            -- it answered 410 when its resource was at this generation
) STRICT;

-- One event for one webhook. The body is the CloudEvent, to the byte.
CREATE TABLE deliveries (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they are told
    id          TEXT    NOT NULL UNIQUE CHECK (length(id) = 36),
    webhook     TEXT    NOT NULL,
    event_id    TEXT    NOT NULL CHECK (event_id <> ''),
    event       TEXT    NOT NULL CHECK (event <> ''),
    order_key   TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('pending', 'delivered') OR state IN ('parked', 'ended')),
    attempts    INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    claimed     INTEGER NOT NULL DEFAULT 0 CHECK (claimed IN (0, 1)), -- somebody sends it, until next_at
    created_at  INTEGER NOT NULL,
    begun_at    INTEGER NOT NULL, -- when it was created, or replayed
    next_at     INTEGER NOT NULL,
    finished_at INTEGER,
    last_status INTEGER NOT NULL DEFAULT 0,
    last_error  TEXT    NOT NULL DEFAULT '',
    body        TEXT    NOT NULL,
    CHECK ((finished_at IS NULL) = (state = 'pending')),
    CHECK (state = 'pending' OR NOT claimed),
    CHECK (state IN ('pending', 'delivered') OR last_error <> ''),
    UNIQUE (webhook, event_id)
) STRICT;
CREATE INDEX deliveries_due ON deliveries (webhook, next_at) WHERE state = 'pending';
CREATE INDEX deliveries_order ON deliveries (webhook, order_key, seq) WHERE order_key <> '';
CREATE INDEX deliveries_parked ON deliveries (webhook, seq) WHERE state = 'parked';
CREATE INDEX deliveries_newest ON deliveries (webhook, seq);
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE state IN ('delivered', 'ended');

-- What came in and was verified. It is written before the caller gets its answer.
CREATE TABLE hook_requests (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE CHECK (length(id) = 36),
    hook        TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    event_id    TEXT    NOT NULL CHECK (event_id <> ''),
    event       TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    verdict     TEXT    NOT NULL CHECK (verdict IN ('rotated', 'repeated') OR verdict IN ('alerted', 'ignored')),
    reason      TEXT    NOT NULL,
    rotation_id TEXT,
    excerpt     TEXT    NOT NULL CHECK (length(excerpt) <= 2000),
    remote      TEXT    NOT NULL,
    CHECK (verdict <> 'rotated' OR rotation_id IS NOT NULL),
    UNIQUE (hook, event_id)
) STRICT;

-- +goose Down
DROP TABLE hook_requests;
DROP TABLE deliveries;
DROP TABLE webhook_states;
