-- Keyturn's tables for Postgres.
--
-- State CHECKs follow the CanBecome tables of the root package. Every time is the database's
-- clock (or the one that a test injects), never a client's.

-- +goose Up
-- What `apply` manages, as it was asked for.
CREATE TABLE resources (
    kind       text        NOT NULL CHECK (kind IN ('Target', 'Policy', 'Webhook', 'Hook', 'Silence')),
    name       text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    spec       jsonb       NOT NULL CHECK (jsonb_typeof(spec) = 'object'),
    generation bigint      NOT NULL CHECK (generation >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL CHECK (updated_at >= created_at),
    PRIMARY KEY (kind, name)
);

-- Schedules that policies have in common (docs/decisions/0029). Rows are neither changed nor removed.
CREATE TABLE timetables (
    id       bigint PRIMARY KEY, -- the beginning of the schedule's SHA-256
    schedule text   NOT NULL CHECK (length(schedule) BETWEEN 2 AND 1000)
);

-- What happens to a policy, as opposed to what was asked for.
CREATE TABLE policies (
    name          text    PRIMARY KEY,
    -- What a scheduler needs of the spec, if its schedule is plain; both NULL: it reads the spec.
    target        text,
    timetable     bigint,
    paused        boolean NOT NULL DEFAULT false,
    paused_by     text    NOT NULL DEFAULT '',
    pause_note    text    NOT NULL DEFAULT '',
    paused_until  timestamptz, -- when a scheduler resumes it; NULL: a person does
    resumed_at    timestamptz,
    next_local    text,
    next_timezone text,
    next_at       timestamptz,
    -- When a scheduler looks at the policy: at next_at; later if its slot could not be computed; earlier
    -- if a key may get too old until then.
    wake_at       timestamptz,
    deadline_at   timestamptz, -- when a key gets too old, if no window opens before
    -- The last slot that came and did not fire, and why.
    skipped_slot   text,
    skipped_reason text,
    skipped_at     timestamptz,
    CHECK ((target IS NULL) = (timetable IS NULL)),
    CHECK (num_nulls(skipped_slot, skipped_reason, skipped_at) IN (0, 3)),
    CHECK (paused OR paused_until IS NULL),
    CHECK (num_nulls(next_local, next_timezone, next_at, wake_at) IN (0, 4))
);
CREATE INDEX policies_due ON policies (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX policies_deadline ON policies (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX policies_resume ON policies (paused_until) WHERE paused_until IS NOT NULL;

-- What happens to a target. The row outlives the resource: open tasks may still need it.
CREATE TABLE targets (
    name        text PRIMARY KEY,
    hold_until  timestamptz,
    hold_reason text NOT NULL DEFAULT '',
    -- The look at the keys in use: when the last one ended, since when somebody asks for one, not before when
    -- the next may begin, and who is at it until when.
    observed_at   timestamptz,
    observe_asked timestamptz,
    observe_after timestamptz,
    observe_owner text,
    observe_until timestamptz,
    -- What is wrong with it since when, until a call succeeds.
    trouble       text NOT NULL DEFAULT '' CHECK (trouble IN ('', 'unreachable', 'rejected')),
    trouble_since timestamptz,
    trouble_words text NOT NULL DEFAULT '',
    CHECK (num_nulls(observe_owner, observe_until) IN (0, 2)),
    CHECK ((trouble = '') = (trouble_since IS NULL))
);

-- Units as the planner last saw them.
CREATE TABLE units (
    id           text COLLATE "C" PRIMARY KEY CHECK (length(id) BETWEEN 5 AND 302),
    target       text        NOT NULL,
    system       text        NOT NULL,
    project_id   text        NOT NULL,
    project_name text        NOT NULL,
    cluster_id   text        NOT NULL,
    cluster_name text        NOT NULL,
    component    text        NOT NULL CHECK (component IN ('shard', 'config', 'replica-set', 'project')),
    name         text        NOT NULL,
    fcv          text        NOT NULL,
    rotatable    boolean     NOT NULL,
    reason       text        NOT NULL,
    CHECK (rotatable OR reason <> '')
);
CREATE INDEX units_name ON units (name);
CREATE INDEX units_cluster_id ON units (cluster_id);

-- The key that each unit uses, as far as it is known. Apart from units, so that a planner that
-- rewrites thousands of units never makes a result wait, and because a narrow row is cheap to rewrite.
CREATE TABLE unit_keys (
    unit_id   text COLLATE "C" PRIMARY KEY REFERENCES units (id),
    -- The unit's one open intent. There is room for one only: two rotations never work on one unit at the same time.
    intended  uuid,
    -- What that intent alone may change at this time, over all units: a project whose configuration is replaced as a whole.
    exclusive text CHECK (exclusive <> ''),
    key_id    text    NOT NULL DEFAULT '',
    key_since timestamptz,
    key_exact boolean NOT NULL DEFAULT false,
    turned_at timestamptz, -- when a task turned it last, whatever was seen since
    CHECK ((key_id = '') = (key_since IS NULL)),
    CHECK (key_id <> '' OR NOT key_exact),
    CHECK (exclusive IS NULL OR intended IS NOT NULL)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX unit_keys_exclusive ON unit_keys (exclusive) WHERE exclusive IS NOT NULL;

CREATE TABLE rotations (
    id           uuid        PRIMARY KEY,
    policy       text        NOT NULL,
    target       text        NOT NULL,
    trigger      text        NOT NULL CHECK (trigger IN ('schedule', 'manual', 'webhook', 'retry')),
    trigger_id   text        CHECK (trigger_id <> ''),
    slot         text        CHECK (slot <> ''),
    reason       text        NOT NULL, -- why it was asked for
    trouble      text        NOT NULL DEFAULT '', -- why it failed, or has to wait for its planner
    requested_by text        NOT NULL,
    only_units   jsonb       NOT NULL,
    state        text        NOT NULL DEFAULT 'requested'
        CHECK (state IN ('requested', 'planning', 'running', 'succeeded', 'partial', 'failed', 'cancelled')),
    owner        text, -- the planner that has it
    lease_until  timestamptz,
    not_before   timestamptz,
    -- The policy's windows: it may work until then (NULL: always), and at look_at a scheduler asks again.
    open_until   timestamptz,
    look_at      timestamptz,
    opened_at    timestamptz, -- when it was last let go on
    supersedes   boolean     NOT NULL DEFAULT false, -- those of its policy before it are to be stopped
    min_interval bigint      NOT NULL DEFAULT 0 CHECK (min_interval >= 0), -- microseconds, as it was planned
    -- Tasks by state, stored when the rotation ends; until then they are counted.
    total        integer     NOT NULL DEFAULT 0 CHECK (total >= 0),
    succeeded    integer     NOT NULL DEFAULT 0 CHECK (succeeded >= 0),
    failed       integer     NOT NULL DEFAULT 0 CHECK (failed >= 0),
    skipped      integer     NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    parked       integer     NOT NULL DEFAULT 0 CHECK (parked >= 0),
    -- While a large plan is saved in parts: the last turn that is. NULL: it is whole, or not begun.
    plan_turn    integer     CHECK (plan_turn >= 1),
    plan_left    integer     NOT NULL DEFAULT 0 CHECK (plan_left >= 0), -- units that are not saved yet, or never were
    requested_at timestamptz NOT NULL,
    started_at   timestamptz,
    finished_at  timestamptz,
    retry_of     uuid, -- the rotation whose missing units this one turns
    halted       boolean     NOT NULL DEFAULT false, -- what had not begun was stopped
    stop_reason  text        NOT NULL DEFAULT '',
    cancelled_by text        NOT NULL DEFAULT '',
    cancelled_at timestamptz, -- it was a person who stopped it
    -- The rollout (table waves); NULL: there is none. Tasks of later turns than turn_limit are not handed out yet.
    wave         integer     CHECK (wave >= 1),
    waves        integer     CHECK (waves >= wave),
    turn_limit   integer,
    next_wave_at timestamptz, -- the wave has ended, and the next one waits
    canary_turn  integer, -- the last turn of those that must succeed before any other begins
    max_failures integer     CHECK (max_failures >= 0),
    CHECK (num_nulls(wave, waves, turn_limit) IN (0, 3)),
    CHECK (wave IS NOT NULL OR (next_wave_at IS NULL AND canary_turn IS NULL AND max_failures IS NULL)),
    CHECK ((trigger = 'schedule') = (slot IS NOT NULL)),
    CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'partial', 'failed', 'cancelled'))),
    CHECK (started_at IS NOT NULL OR state IN ('requested', 'failed', 'cancelled')),
    CHECK (plan_turn IS NULL OR state = 'running'),
    CHECK (state = 'planning' OR plan_turn IS NOT NULL OR (owner IS NULL AND lease_until IS NULL AND not_before IS NULL)),
    CHECK (num_nulls(owner, lease_until) IN (0, 2)),
    CHECK (state <> 'failed' OR trouble <> ''),
    CHECK (total = succeeded + failed + skipped + parked),
    CHECK (halted OR (stop_reason = '' AND cancelled_by = '' AND cancelled_at IS NULL))
);
CREATE UNIQUE INDEX rotations_slot ON rotations (policy, slot) WHERE slot IS NOT NULL;
CREATE UNIQUE INDEX rotations_trigger_id ON rotations (trigger_id) WHERE trigger_id IS NOT NULL;
CREATE INDEX rotations_newest ON rotations (requested_at, id);
CREATE INDEX rotations_unplanned ON rotations (requested_at) WHERE state IN ('requested', 'planning') OR plan_turn IS NOT NULL;
CREATE INDEX rotations_retries ON rotations (retry_of) WHERE retry_of IS NOT NULL;
-- What has not ended, by policy: a scheduled one waits for those before it.
CREATE INDEX rotations_open ON rotations (policy, requested_at, id) WHERE finished_at IS NULL;
CREATE INDEX rotations_superseding ON rotations (policy) WHERE supersedes AND finished_at IS NULL;
CREATE INDEX rotations_looks ON rotations (look_at) WHERE look_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX rotations_running ON rotations (target) WHERE state = 'running';

-- Rows are rewritten twice in their life: by the intent, which changes nothing that an index knows and
-- finds room in the row's own page, and by the result. The fixed-width columns come first.
--
-- A planned task counts as handed to the queue as soon as the newest of its rotation's feeds is at or
-- after its place: handing it out does not touch it. What is put back waits in `back`, and is marked by
-- itself, in handed_at, when it is handed out again.
CREATE TABLE tasks (
    id          uuid        PRIMARY KEY,
    rotation_id uuid        NOT NULL REFERENCES rotations (id),
    epoch       bigint      NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    turn        integer     NOT NULL CHECK (turn >= 1), -- its place among those of its project, and of its wave
    attempts    integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    failures    integer     NOT NULL DEFAULT 0 CHECK (failures >= 0),
    not_before  timestamptz NOT NULL,
    lease_until timestamptz,
    handed_at   timestamptz, -- when it was handed to the queue by itself
    intended_at timestamptz,
    apply_by    timestamptz, -- from when on the change can't be sent any more
    answered_at timestamptz, -- when the system accepted the change
    started_at  timestamptz, -- the first intent
    finished_at timestamptz,
    stopped     boolean     NOT NULL DEFAULT false, -- skipped because its rotation was stopped
    accepted    boolean     NOT NULL DEFAULT false, -- the system had accepted the change when it was sent again
    key_known   boolean     NOT NULL DEFAULT false, -- the last intent found key_before in unit_keys
    unit_id     text COLLATE "C" NOT NULL,
    target      text        NOT NULL,
    project_id  text        NOT NULL,
    state       text        NOT NULL,
    back        text, -- it waits to be handed out by itself
    resolution  text        NOT NULL DEFAULT '' CHECK (resolution IN ('', 'confirmed', 'inferred', 'resolved-by-person')),
    reason      text        NOT NULL DEFAULT '',
    owner       text        NOT NULL DEFAULT '',
    key_before  text        NOT NULL DEFAULT '',
    key_want    text        NOT NULL DEFAULT '',
    key_after   text        NOT NULL DEFAULT '',
    intent_data bytea, -- as it was given, to the byte
    -- For the index of parked tasks: one over state itself would make the intent's write touch every index.
    parked      boolean     NOT NULL GENERATED ALWAYS AS (state = 'parked') STORED,
    -- One check, not one for each rule: all of them are tried whenever a row is written, and most begin with the state.
    CHECK (CASE state
        WHEN 'pending' THEN finished_at IS NULL AND key_after = '' AND lease_until IS NULL AND NOT stopped
            AND (back IS NULL OR (back = 'pending' AND handed_at IS NULL))
        WHEN 'intended' THEN finished_at IS NULL AND key_after = '' AND key_before <> '' AND intended_at IS NOT NULL
            AND epoch > 0 AND attempts > 0 AND NOT stopped AND (back IS NULL OR (back = 'intended' AND handed_at IS NULL))
        WHEN 'succeeded' THEN finished_at IS NOT NULL AND key_after <> '' AND resolution <> '' AND lease_until IS NULL
            AND handed_at IS NULL AND back IS NULL AND NOT stopped
        ELSE state IN ('failed', 'skipped', 'parked') AND finished_at IS NOT NULL AND key_after = '' AND reason <> ''
            AND lease_until IS NULL AND handed_at IS NULL AND back IS NULL AND (NOT stopped OR state = 'skipped')
    END),
    CHECK ((intended_at IS NULL) = (apply_by IS NULL)),
    CHECK (answered_at IS NULL OR intended_at IS NOT NULL)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
CREATE UNIQUE INDEX tasks_rotation_unit ON tasks (rotation_id, unit_id);
-- What is left of a rotation, in the order of its turn.
CREATE INDEX tasks_open ON tasks (rotation_id, turn, id) WHERE finished_at IS NULL;
CREATE INDEX tasks_returned ON tasks (rotation_id, turn, id) WHERE back = 'pending';
-- Open intents that nobody works on, whatever became of their rotation or policy.
CREATE INDEX tasks_orphaned ON tasks (target, turn, id) WHERE back = 'intended';
-- What a person has to look at.
CREATE INDEX tasks_parked ON tasks (unit_id) WHERE parked;
CREATE INDEX tasks_handed ON tasks (target, handed_at) WHERE handed_at IS NOT NULL;

-- How far a rotation's planned tasks were handed out at which time: one row for each hand-out, until
-- the tasks of later turns are all that is left of it. The last one stays until the rotation ends.
CREATE TABLE feeds (
    target      text        NOT NULL,
    rotation_id uuid        NOT NULL,
    turn        integer     NOT NULL,
    task_id     uuid        NOT NULL,
    handed_at   timestamptz NOT NULL,
    PRIMARY KEY (target, rotation_id, turn, task_id)
);

-- The history. `until` is not stored: it is used_from of the unit's next record.
CREATE TABLE key_records (
    id              uuid        PRIMARY KEY,
    unit_id         text COLLATE "C" NOT NULL,
    key_id          text        NOT NULL CHECK (key_id <> ''),
    previous_key_id text        NOT NULL,
    used_from       timestamptz NOT NULL,
    origin          text        NOT NULL CHECK (origin IN ('rotated', 'observed')),
    rotation_id     uuid,
    task_id         uuid,
    CHECK (origin <> 'rotated' OR (task_id IS NOT NULL AND rotation_id IS NOT NULL AND previous_key_id <> ''))
);
CREATE INDEX key_records_unit ON key_records (unit_id, used_from, id);
CREATE INDEX key_records_time ON key_records (used_from, id);
CREATE UNIQUE INDEX key_records_one_turn ON key_records (task_id) WHERE origin = 'rotated';

-- +goose StatementBegin
CREATE FUNCTION key_records_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'key_records is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER key_records_append_only BEFORE UPDATE OR DELETE ON key_records
    FOR EACH ROW EXECUTE FUNCTION key_records_refuse();
CREATE TRIGGER key_records_no_truncate BEFORE TRUNCATE ON key_records
    FOR EACH STATEMENT EXECUTE FUNCTION key_records_refuse();

-- The outbox: what the world is to be told. A row goes when it was told.
CREATE TABLE announcements (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- "oldest first"
    id          uuid   NOT NULL UNIQUE,
    type        text   NOT NULL CHECK (type IN ('rotation.requested', 'rotation.started', 'rotation.completed', 'rotations', 'tasks', 'keys', 'retired', 'notice')),
    rotation_id uuid,
    notice_id   uuid,
    notice_group text, -- of the notice
    task_ids    uuid[] NOT NULL DEFAULT '{}', -- with type keys: of key records; retired: of key retirements; rotations: of rotations requested together
    held_until  timestamptz,
    -- What is told in order: a rotation, or a group of alerts. Empty: in any order.
    topic       text   NOT NULL GENERATED ALWAYS AS (coalesce(rotation_id::text, notice_group, '')) STORED,
    CHECK ((type IN ('rotations', 'tasks', 'keys', 'retired', 'notice')) = (rotation_id IS NULL)),
    CHECK ((type = 'notice') = (notice_id IS NOT NULL)),
    CHECK ((type = 'notice') = (notice_group IS NOT NULL)),
    CHECK ((type IN ('rotations', 'tasks', 'keys', 'retired')) = (cardinality(task_ids) > 0))
);
CREATE INDEX announcements_topic ON announcements (topic, seq) WHERE topic <> '';
CREATE INDEX announcements_rotations ON announcements (seq) WHERE type = 'rotations';
CREATE INDEX announcements_notice ON announcements (notice_id) WHERE notice_id IS NOT NULL;

-- API tokens: only the SHA-256 of the secret.
CREATE TABLE tokens (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL CHECK (name <> ''),
    role       text        NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    hash       bytea       NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);

-- +goose Down
DROP TABLE tokens, announcements, key_records, feeds, tasks, rotations, unit_keys, units, targets, policies, timetables, resources;
DROP FUNCTION key_records_refuse();
