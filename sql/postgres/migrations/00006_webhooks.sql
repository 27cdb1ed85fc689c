-- Webhooks out and hooks in.

-- +goose Up
-- What happens to a webhook, as opposed to what was asked for. A webhook that never got anything has no row.
CREATE TABLE webhook_states (
    webhook           text        PRIMARY KEY,
    failing_since     timestamptz,           -- NULL: it took the last one
    failures          integer     NOT NULL DEFAULT 0 CHECK (failures >= 0), -- in a row
    held_until        timestamptz,           -- nothing is sent before
    last_error        text        NOT NULL DEFAULT '',
    last_delivered_at timestamptz,
    gone_generation   bigint                 -- it answered 410 when its resource was at this generation
);

-- One event for one webhook. The body is the CloudEvent, to the byte.
CREATE TABLE deliveries (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order in which they are told
    id          uuid        NOT NULL UNIQUE,
    webhook     text        NOT NULL,
    event_id    text        NOT NULL CHECK (event_id <> ''),
    event       text        NOT NULL CHECK (event <> ''),
    order_key   text        NOT NULL,
    state       text        NOT NULL CHECK (state IN ('pending', 'delivered', 'parked', 'ended')),
    attempts    integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    claimed     boolean     NOT NULL DEFAULT false, -- somebody sends it, until next_at
    created_at  timestamptz NOT NULL,
    begun_at    timestamptz NOT NULL, -- when it was created, or replayed
    next_at     timestamptz NOT NULL,
    finished_at timestamptz,
    last_status integer     NOT NULL DEFAULT 0,
    last_error  text        NOT NULL DEFAULT '',
    body        text        NOT NULL,
    CHECK ((finished_at IS NULL) = (state = 'pending')),
    CHECK (state = 'pending' OR NOT claimed),
    CHECK (state IN ('pending', 'delivered') OR last_error <> ''),
    UNIQUE (webhook, event_id)
);
CREATE INDEX deliveries_due ON deliveries (webhook, next_at) WHERE state = 'pending';
CREATE INDEX deliveries_order ON deliveries (webhook, order_key, seq) WHERE order_key <> '';
CREATE INDEX deliveries_parked ON deliveries (webhook, seq) WHERE state = 'parked';
CREATE INDEX deliveries_newest ON deliveries (webhook, seq);
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE state IN ('delivered', 'ended');

-- What came in and was verified. It is written before the caller gets its answer.
CREATE TABLE hook_requests (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          uuid        NOT NULL UNIQUE,
    hook        text        NOT NULL,
    received_at timestamptz NOT NULL,
    event_id    text        NOT NULL CHECK (event_id <> ''),
    event       text        NOT NULL,
    status      text        NOT NULL,
    verdict     text        NOT NULL CHECK (verdict IN ('rotated', 'repeated', 'alerted', 'ignored')),
    reason      text        NOT NULL,
    rotation_id uuid,
    excerpt     text        NOT NULL CHECK (length(excerpt) <= 2000),
    remote      text        NOT NULL,
    CHECK (verdict <> 'rotated' OR rotation_id IS NOT NULL),
    UNIQUE (hook, event_id)
);

-- +goose Down
DROP TABLE hook_requests, deliveries, webhook_states;
