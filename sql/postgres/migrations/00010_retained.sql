-- Which keys must be kept: the snapshots that need them, and what KMIP servers say of them.

-- +goose Up
-- The snapshots of units, as they were last listed. What is not listed any more goes.
CREATE TABLE snapshots (
    unit_id      text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL CHECK (id <> ''),
    target       text COLLATE "C" NOT NULL,
    cluster_name text        NOT NULL,
    key_id       text        NOT NULL, -- empty: the system does not say
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,          -- NULL: it is kept until someone deletes it
    complete     boolean     NOT NULL,
    keep         boolean     NOT NULL,
    look         bigint      NOT NULL CHECK (look >= 1), -- the last look that saw it
    PRIMARY KEY (unit_id, id)
) WITH (fillfactor = 70);
CREATE INDEX snapshots_time ON snapshots (unit_id, created_at);
CREATE INDEX snapshots_key ON snapshots (key_id, target) WHERE key_id <> '';

-- The looks at the snapshots of each unit. A look that began before another one changes nothing any more.
CREATE TABLE snapshot_looks (
    unit_id   text COLLATE "C" PRIMARY KEY,
    began     bigint NOT NULL CHECK (began >= 1), -- the number of the last look that began
    began_at  timestamptz NOT NULL,
    done      bigint NOT NULL DEFAULT 0 CHECK (done BETWEEN 0 AND began), -- and of the last that came to its end
    looked_at timestamptz, -- when that began
    trouble   text   NOT NULL DEFAULT '', -- why none came to its end since
    CHECK ((done > 0) = (looked_at IS NOT NULL))
) WITH (fillfactor = 70);

-- What the KMIP server of a target, or a KMS, last said of a key.
CREATE TABLE key_states (
    target          text COLLATE "C" NOT NULL,
    key_id          text COLLATE "C" NOT NULL CHECK (key_id <> ''),
    state           text        NOT NULL CHECK (state IN
        ('pre-active', 'active', 'deactivated', 'compromised', 'destroyed', 'missing', 'disabled', 'unclear')),
    name            text        NOT NULL,
    initial_at      timestamptz,
    activation_at   timestamptz,
    deactivation_at timestamptz,
    compromise_at   timestamptz,
    destroy_at      timestamptz,
    orphan          boolean     NOT NULL, -- it bears a name of the estate and is in no history
    detail          text        NOT NULL,
    seen_at         timestamptz NOT NULL,
    audit           bigint      NOT NULL, -- the turn of the job that asked
    PRIMARY KEY (target, key_id)
) WITH (fillfactor = 70);
-- Those of which somebody may have to be told.
CREATE INDEX key_states_bad ON key_states (target, key_id)
    WHERE orphan OR state IN ('deactivated', 'compromised', 'destroyed', 'missing');

-- Looks at snapshots, and audits: who is at it, and when the last one ended.
CREATE TABLE key_jobs (
    target      text   NOT NULL,
    kind        text   NOT NULL CHECK (kind IN ('snapshots', 'audit')),
    turn        bigint NOT NULL DEFAULT 0, -- counts the claims
    asked_at    timestamptz,
    began_at    timestamptz,
    done_at     timestamptz,
    not_before  timestamptz, -- after a failure
    owner       text,
    lease_until timestamptz,
    trouble     text   NOT NULL DEFAULT '', -- why the last try did not come to its end
    result      jsonb,
    PRIMARY KEY (target, kind),
    CHECK (num_nulls(owner, lease_until) IN (0, 2))
);

-- Keys that Keyturn disabled, or is about to.
CREATE TABLE key_retirements (
    id          uuid        PRIMARY KEY,
    target      text COLLATE "C" NOT NULL,
    key_id      text COLLATE "C" NOT NULL CHECK (key_id <> ''),
    requested_by text       NOT NULL,
    reason      text        NOT NULL,
    asked_at    timestamptz NOT NULL,
    disabled_at timestamptz, -- NULL: the answer did not come yet
    UNIQUE (target, key_id)
);

-- Who used a key.
CREATE INDEX key_records_key ON key_records (key_id, unit_id);
CREATE INDEX key_names_key ON key_names (key_id, unit_id);

-- +goose Down
DROP INDEX key_names_key, key_records_key;
DROP TABLE key_retirements, key_jobs, key_states, snapshot_looks, snapshots;
