-- What a person must know, how it went on, and who was told what.

-- +goose Up
CREATE TABLE alerts (
    id           uuid        PRIMARY KEY,
    kind         text        NOT NULL CHECK (kind <> ''),
    subject      text COLLATE "C" NOT NULL CHECK (subject <> ''),
    severity     text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    rank         smallint    NOT NULL GENERATED ALWAYS AS (CASE severity WHEN 'critical' THEN 3 WHEN 'warning' THEN 2 ELSE 1 END) STORED,
    state        text        NOT NULL CHECK (state IN ('firing', 'acknowledged', 'resolved')),
    open         boolean     NOT NULL GENERATED ALWAYS AS (state <> 'resolved') STORED,
    version      bigint      NOT NULL DEFAULT 1,
    policy       text        NOT NULL,
    target       text        NOT NULL,
    project      text        NOT NULL,
    cluster      text        NOT NULL,
    group_policy text        NOT NULL, -- a policy, webhook or hook; with kind and target: who is told of it together
    message      text        NOT NULL,
    since        timestamptz NOT NULL,
    gone_since   timestamptz, -- its fact is gone, but not for long enough to be over
    resolved_at  timestamptz,
    acked_by     text        NOT NULL DEFAULT '',
    acked_until  timestamptz,
    ack_note     text        NOT NULL DEFAULT '',
    silenced     boolean     NOT NULL DEFAULT false, -- when its group was last told of
    told_at      timestamptz, -- of a resolved one: when somebody was last told that it fires
    CHECK ((resolved_at IS NOT NULL) = (state = 'resolved'))
);
CREATE UNIQUE INDEX alerts_one_open ON alerts (kind, subject) WHERE open;
CREATE INDEX alerts_listing ON alerts (open, id);
CREATE INDEX alerts_of_group ON alerts (kind, group_policy, target, rank DESC, since, id) WHERE open;
CREATE INDEX alerts_acked ON alerts (acked_until) WHERE state = 'acknowledged' AND acked_until IS NOT NULL;
CREATE INDEX alerts_gone ON alerts (gone_since) WHERE open AND gone_since IS NOT NULL;
CREATE INDEX alerts_resolved ON alerts (resolved_at) WHERE resolved_at IS NOT NULL;

-- The history of alerts. It goes with its alert, long after that is over, and not before.
CREATE TABLE alert_changes (
    seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id uuid        NOT NULL,
    at       timestamptz NOT NULL,
    state    text        NOT NULL CHECK (state IN ('firing', 'acknowledged', 'resolved')),
    severity text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    by       text        NOT NULL DEFAULT '',
    note     text        NOT NULL DEFAULT ''
);
CREATE INDEX alert_changes_alert ON alert_changes (alert_id, seq);
-- +goose StatementBegin
CREATE FUNCTION alert_changes_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT 1 FROM alerts WHERE id = OLD.alert_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'alert_changes is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER alert_changes_append_only BEFORE UPDATE OR DELETE ON alert_changes
    FOR EACH ROW EXECUTE FUNCTION alert_changes_refuse();
CREATE TRIGGER alert_changes_no_truncate BEFORE TRUNCATE ON alert_changes
    FOR EACH STATEMENT EXECUTE FUNCTION key_records_refuse();

-- What was told of the alerts of one kind, policy (or webhook, or hook) and target, and when to look at them again. The
-- alerts are the outbox of notices: a change sets due_at in its own transaction.
CREATE TABLE alert_groups (
    kind          text   NOT NULL,
    policy        text   NOT NULL,
    target        text   NOT NULL,
    version       bigint NOT NULL DEFAULT 1,
    urgent        boolean NOT NULL DEFAULT false,
    due_at        timestamptz,
    told_state    text   NOT NULL DEFAULT '' CHECK (told_state IN ('', 'firing', 'resolved')),
    told_severity text   NOT NULL DEFAULT '',
    told_at       timestamptz,
    told_since    timestamptz,
    told_version  bigint NOT NULL DEFAULT 0, -- the version when it was told
    PRIMARY KEY (kind, policy, target)
);
CREATE INDEX alert_groups_due ON alert_groups (due_at) WHERE due_at IS NOT NULL;

-- What was told.
CREATE TABLE notices (
    id     uuid        PRIMARY KEY,
    kind   text        NOT NULL,
    policy text        NOT NULL,
    target text        NOT NULL,
    state  text        NOT NULL CHECK (state IN ('firing', 'acknowledged', 'resolved')),
    at     timestamptz NOT NULL,
    body   jsonb       NOT NULL
);
CREATE INDEX notices_of_group ON notices (kind, policy, target, at);

-- Who evaluates alerts, and how far they got: one row.
CREATE TABLE alert_sweeper (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    owner       text    NOT NULL DEFAULT '',
    lease_until timestamptz,
    keys_at     timestamptz,
    facts_at    timestamptz,
    turned_at   timestamptz
);
INSERT INTO alert_sweeper DEFAULT VALUES;

-- The oldest keys first, of those who turned lately, and how each policy's rotations ended.
CREATE INDEX unit_keys_age ON unit_keys (key_since, unit_id) WHERE key_since IS NOT NULL;
CREATE INDEX rotations_bad ON rotations (policy, requested_at) WHERE state IN ('failed', 'partial');
CREATE INDEX rotations_ended ON rotations (policy, requested_at) WHERE finished_at IS NOT NULL;
CREATE INDEX resources_policies_of ON resources ((spec ->> 'target'), name) WHERE kind = 'Policy';

-- +goose Down
DROP INDEX resources_policies_of, rotations_ended, rotations_bad, unit_keys_age;
DROP TABLE alert_sweeper, notices, alert_groups, alert_changes, alerts;
DROP FUNCTION alert_changes_refuse();
