-- Keyturn's tables for SQLite: those of sql/postgres/migrations, under the same numbers and names.
--
-- Times are INTEGER: UTC milliseconds since 1970, by the clock of the one process that has the file.
-- Ids are the 36 character form of a UUIDv7; the store makes each greater than the one before.
--
-- Lists of states in the CHECKs of units and tasks come in pairs: for a longer IN SQLite fills a table
-- in memory each time a row is written, which costs more than all else.

-- +goose Up
-- What `apply` manages, as it was asked for.
CREATE TABLE resources (
    kind       TEXT    NOT NULL CHECK (kind IN ('Target', 'Policy', 'Webhook', 'Hook', 'Silence')),
    name       TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    spec       TEXT    NOT NULL CHECK (json_type(spec) = 'object'),
    generation INTEGER NOT NULL CHECK (generation >= 1),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL CHECK (updated_at >= created_at),
    PRIMARY KEY (kind, name)
) STRICT;

-- What happens to a policy, as opposed to what was asked for.
CREATE TABLE policies (
    name          TEXT    NOT NULL PRIMARY KEY,
    paused        INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    paused_by     TEXT    NOT NULL DEFAULT '',
    pause_note    TEXT    NOT NULL DEFAULT '',
    paused_until  INTEGER, -- when a scheduler resumes it; NULL: a person does
    resumed_at    INTEGER,
    next_local    TEXT,
    next_timezone TEXT,
    next_at       INTEGER,
    -- When a scheduler looks at the policy: at next_at; later if its slot could not be computed; earlier
    -- if a key may get too old until then.
    wake_at       INTEGER,
    deadline_at   INTEGER, -- when a key gets too old, if no window opens before
    -- The last slot that came and did not fire, and why.
    skipped_slot   TEXT,
    skipped_reason TEXT,
    skipped_at     INTEGER,
    CHECK ((skipped_slot IS NULL) = (skipped_reason IS NULL)),
    CHECK ((skipped_slot IS NULL) = (skipped_at IS NULL)),
    CHECK (paused OR paused_until IS NULL),
    CHECK ((next_at IS NULL) = (next_local IS NULL)),
    CHECK ((next_at IS NULL) = (next_timezone IS NULL)),
    CHECK ((next_at IS NULL) = (wake_at IS NULL))
) STRICT;
CREATE INDEX policies_due ON policies (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX policies_deadline ON policies (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX policies_resume ON policies (paused_until) WHERE paused_until IS NOT NULL;

-- What happens to a target. The row outlives the resource: open tasks may still need it.
CREATE TABLE targets (
    name        TEXT NOT NULL PRIMARY KEY,
    hold_until  INTEGER,
    hold_reason TEXT NOT NULL DEFAULT '',
    -- The look at the keys in use: when the last one ended, since when somebody asks for one, not before when
    -- the next may begin, and who is at it until when.
    observed_at   INTEGER,
    observe_asked INTEGER,
    observe_after INTEGER,
    observe_owner TEXT,
    observe_until INTEGER,
    -- What is wrong with it since when, until a call succeeds.
    trouble       TEXT NOT NULL DEFAULT '' CHECK (trouble IN ('', 'unreachable', 'rejected')),
    trouble_since INTEGER,
    trouble_words TEXT NOT NULL DEFAULT '',
    CHECK ((observe_owner IS NULL) = (observe_until IS NULL)),
    CHECK ((trouble = '') = (trouble_since IS NULL))
) STRICT;

-- Units as the planner last saw them.
CREATE TABLE units (
    id           TEXT    NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 5 AND 302),
    target       TEXT    NOT NULL,
    system       TEXT    NOT NULL,
    project_id   TEXT    NOT NULL,
    project_name TEXT    NOT NULL,
    cluster_id   TEXT    NOT NULL,
    cluster_name TEXT    NOT NULL,
    component    TEXT    NOT NULL 
        CHECK (component IN ('shard', 'config') OR component IN ('replica-set', 'project')),
    name         TEXT    NOT NULL,
    fcv          TEXT    NOT NULL,
    rotatable    INTEGER NOT NULL CHECK (rotatable IN (0, 1)),
    reason       TEXT    NOT NULL,
    CHECK (rotatable OR reason <> '')
) STRICT;

-- The key that each unit uses, as far as it is known. Apart from units, because a narrow row is cheap to rewrite.
CREATE TABLE unit_keys (
    unit_id   TEXT    NOT NULL PRIMARY KEY REFERENCES units (id),
    key_id    TEXT    NOT NULL DEFAULT '',
    key_since INTEGER,
    key_exact INTEGER NOT NULL DEFAULT 0 CHECK (key_exact IN (0, 1)),
    turned_at INTEGER, -- when a task turned it last, whatever was seen since
    CHECK ((key_id = '') = (key_since IS NULL)),
    CHECK (key_id <> '' OR NOT key_exact)
) STRICT, WITHOUT ROWID;

CREATE TABLE rotations (
    id           TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    policy       TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    "trigger"    TEXT    NOT NULL CHECK ("trigger" IN ('schedule', 'manual', 'webhook', 'retry')),
    trigger_id   TEXT    CHECK (trigger_id <> ''),
    slot         TEXT    CHECK (slot <> ''),
    reason       TEXT    NOT NULL, -- why it was asked for
    trouble      TEXT    NOT NULL DEFAULT '', -- why it failed, or has to wait for its planner
    requested_by TEXT    NOT NULL,
    only_units   TEXT    NOT NULL CHECK (json_type(only_units) = 'object'),
    state        TEXT    NOT NULL DEFAULT 'requested'
        CHECK (state IN ('requested', 'planning', 'running', 'succeeded', 'partial', 'failed', 'cancelled')),
    owner        TEXT, -- the planner that has it
    lease_until  INTEGER,
    not_before   INTEGER,
    -- The policy's windows: it may work until then (NULL: always), and at look_at a scheduler asks again.
    open_until   INTEGER,
    look_at      INTEGER,
    opened_at    INTEGER, -- when it was last let go on
    supersedes   INTEGER NOT NULL DEFAULT 0 CHECK (supersedes IN (0, 1)), -- those of its policy before it are to be stopped
    min_interval INTEGER NOT NULL DEFAULT 0 CHECK (min_interval >= 0), -- milliseconds, as it was planned
    -- Tasks by state, stored when the rotation ends; until then they are counted.
    total        INTEGER NOT NULL DEFAULT 0 CHECK (total >= 0),
    succeeded    INTEGER NOT NULL DEFAULT 0 CHECK (succeeded >= 0),
    failed       INTEGER NOT NULL DEFAULT 0 CHECK (failed >= 0),
    skipped      INTEGER NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    parked       INTEGER NOT NULL DEFAULT 0 CHECK (parked >= 0),
    -- While a large plan is saved in parts: the last turn that is. NULL: it is whole, or not begun.
    plan_turn    INTEGER CHECK (plan_turn >= 1),
    plan_left    INTEGER NOT NULL DEFAULT 0 CHECK (plan_left >= 0), -- units that are not saved yet, or never were
    requested_at INTEGER NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER,
    retry_of     TEXT    CHECK (length(retry_of) = 36), -- the rotation whose missing units this one turns
    halted       INTEGER NOT NULL DEFAULT 0 CHECK (halted IN (0, 1)), -- what had not begun was stopped
    stop_reason  TEXT    NOT NULL DEFAULT '',
    cancelled_by TEXT    NOT NULL DEFAULT '',
    cancelled_at INTEGER, -- it was a person who stopped it
    -- The rollout (table waves); NULL: there is none. Tasks of later turns than turn_limit are not handed out yet.
    wave         INTEGER CHECK (wave >= 1),
    waves        INTEGER CHECK (waves >= wave),
    turn_limit   INTEGER,
    next_wave_at INTEGER, -- the wave has ended, and the next one waits
    canary_turn  INTEGER, -- the last turn of those that must succeed before any other begins
    max_failures INTEGER CHECK (max_failures >= 0),
    CHECK ((wave IS NULL) = (waves IS NULL)),
    CHECK ((wave IS NULL) = (turn_limit IS NULL)),
    CHECK (wave IS NOT NULL OR (next_wave_at IS NULL AND canary_turn IS NULL AND max_failures IS NULL)),
    CHECK (("trigger" = 'schedule') = (slot IS NOT NULL)),
    CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'partial', 'failed', 'cancelled'))),
    CHECK (started_at IS NOT NULL OR state IN ('requested', 'failed', 'cancelled')),
    CHECK (plan_turn IS NULL OR state = 'running'),
    CHECK (state = 'planning' OR plan_turn IS NOT NULL OR (owner IS NULL AND lease_until IS NULL AND not_before IS NULL)),
    CHECK ((owner IS NULL) = (lease_until IS NULL)),
    CHECK (state <> 'failed' OR trouble <> ''),
    CHECK (total = succeeded + failed + skipped + parked),
    CHECK (halted OR (stop_reason = '' AND cancelled_by = '' AND cancelled_at IS NULL))
) STRICT;
CREATE UNIQUE INDEX rotations_slot ON rotations (policy, slot) WHERE slot IS NOT NULL;
CREATE UNIQUE INDEX rotations_trigger_id ON rotations (trigger_id) WHERE trigger_id IS NOT NULL;
CREATE INDEX rotations_unplanned ON rotations (id) WHERE state IN ('requested', 'planning') OR plan_turn IS NOT NULL;
CREATE INDEX rotations_retries ON rotations (retry_of) WHERE retry_of IS NOT NULL;
-- What has not ended, by policy: a scheduled one waits for those before it.
CREATE INDEX rotations_open ON rotations (policy, id) WHERE finished_at IS NULL;
CREATE INDEX rotations_superseding ON rotations (policy) WHERE supersedes AND finished_at IS NULL;
CREATE INDEX rotations_looks ON rotations (look_at) WHERE look_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX rotations_running ON rotations (target, id) WHERE state = 'running';

-- A planned task counts as handed to the queue as soon as the newest of its rotation's feeds is at or
-- after its place: handing it out does not touch it. What is put back waits in `back`, and is marked by
-- itself, in handed_at, when it is handed out again.
CREATE TABLE tasks (
    seq         INTEGER PRIMARY KEY, -- for those who have read the row: cheaper to find than the id
    id          TEXT    NOT NULL UNIQUE CHECK (length(id) = 36),
    rotation_id TEXT    NOT NULL REFERENCES rotations (id),
    epoch       INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    turn        INTEGER NOT NULL CHECK (turn >= 1), -- its place among those of its project, and of its wave
    attempts    INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    failures    INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    not_before  INTEGER NOT NULL,
    lease_until INTEGER,
    handed_at   INTEGER, -- when it was handed to the queue by itself
    back        TEXT CHECK (back IN ('pending', 'intended')), -- it waits to be handed out by itself
    intended_at INTEGER,
    apply_by    INTEGER, -- from when on the change can't be sent any more
    answered_at INTEGER, -- when the system accepted the change
    accepted    INTEGER NOT NULL DEFAULT 0 CHECK (accepted IN (0, 1)), -- it had done so when the change was sent again
    started_at  INTEGER, -- the first intent
    finished_at INTEGER,
    stopped     INTEGER NOT NULL DEFAULT 0 CHECK (stopped IN (0, 1)), -- skipped because its rotation was stopped
    unit_id     TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    project_id  TEXT    NOT NULL,
    state       TEXT    NOT NULL 
        CHECK (state IN ('pending', 'intended') OR state IN ('succeeded', 'failed') OR state IN ('skipped', 'parked')),
    resolution  TEXT    NOT NULL DEFAULT '' 
        CHECK (resolution IN ('', 'confirmed') OR resolution IN ('inferred', 'resolved-by-person')),
    reason      TEXT    NOT NULL DEFAULT '',
    owner       TEXT    NOT NULL DEFAULT '',
    key_before  TEXT    NOT NULL DEFAULT '',
    key_want    TEXT    NOT NULL DEFAULT '',
    key_after   TEXT    NOT NULL DEFAULT '',
    intent_data BLOB, -- as it was given, to the byte
    -- What the intent alone may change while it is open, over all units: a project whose configuration is replaced as a whole.
    exclusive   TEXT CHECK (exclusive <> ''),
    CHECK ((finished_at IS NOT NULL) = (state NOT IN ('pending', 'intended'))),
    CHECK (state <> 'intended' OR (key_before <> '' AND intended_at IS NOT NULL AND apply_by IS NOT NULL AND epoch > 0 AND attempts > 0)),
    CHECK (state <> 'succeeded' OR (key_after <> '' AND resolution <> '')),
    CHECK (state = 'succeeded' OR key_after = ''),
    CHECK (reason <> '' OR state IN ('pending', 'intended') OR state = 'succeeded'),
    CHECK (NOT stopped OR state = 'skipped'),
    CHECK (lease_until IS NULL OR state = 'intended'),
    CHECK (handed_at IS NULL OR state IN ('pending', 'intended')),
    CHECK (back IS NULL OR (back = state AND handed_at IS NULL)),
    CHECK ((intended_at IS NULL) = (apply_by IS NULL)),
    CHECK (answered_at IS NULL OR intended_at IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX tasks_rotation_unit ON tasks (rotation_id, unit_id);
CREATE INDEX tasks_turns ON tasks (rotation_id, turn);
-- Two rotations never work on one unit at the same time.
CREATE UNIQUE INDEX tasks_one_intent ON tasks (unit_id) WHERE state = 'intended';
CREATE UNIQUE INDEX tasks_exclusive ON tasks (exclusive) WHERE state = 'intended' AND exclusive IS NOT NULL;
-- What is left of a rotation, in the order of its turn: as it was planned, and put back.
CREATE INDEX tasks_planned ON tasks (rotation_id, turn) WHERE finished_at IS NULL AND back IS NULL AND handed_at IS NULL;
CREATE INDEX tasks_returned ON tasks (rotation_id, turn) WHERE back = 'pending';
-- Open intents that nobody works on, whatever became of their rotation or policy.
CREATE INDEX tasks_orphaned ON tasks (target, turn) WHERE back = 'intended';
-- What a person has to look at.
CREATE INDEX tasks_parked ON tasks (unit_id) WHERE state = 'parked';
CREATE INDEX tasks_handed ON tasks (target, handed_at) WHERE handed_at IS NOT NULL;

-- How far a rotation's planned tasks were handed out at which time: one row for each hand-out, until
-- the tasks of later turns are all that is left of it. The last one stays until the rotation ends.
CREATE TABLE feeds (
    rotation_id TEXT    NOT NULL,
    turn        INTEGER NOT NULL,
    seq         INTEGER NOT NULL, -- of the last task
    target      TEXT    NOT NULL,
    handed_at   INTEGER NOT NULL,
    PRIMARY KEY (rotation_id, turn, seq)
) STRICT, WITHOUT ROWID;

-- The history, in the order of its ids. `until` is not stored: it is used_from of the unit's next record.
CREATE TABLE key_records (
    seq             INTEGER PRIMARY KEY, -- the order in which they were added, of a unit's above all
    id              TEXT    NOT NULL UNIQUE CHECK (length(id) = 36),
    unit_id         TEXT    NOT NULL,
    key_id          TEXT    NOT NULL CHECK (key_id <> ''),
    previous_key_id TEXT    NOT NULL,
    used_from       INTEGER NOT NULL,
    origin          TEXT    NOT NULL CHECK (origin IN ('rotated', 'observed')),
    rotation_id     TEXT,
    task_id         TEXT,
    CHECK (origin <> 'rotated' OR (task_id IS NOT NULL AND rotation_id IS NOT NULL AND previous_key_id <> ''))
) STRICT;
CREATE INDEX key_records_unit ON key_records (unit_id); -- in the order of seq
CREATE UNIQUE INDEX key_records_one_turn ON key_records (task_id) WHERE origin = 'rotated';

CREATE VIEW key_history AS
SELECT id, unit_id, key_id, previous_key_id, used_from,
    CAST(coalesce((
        SELECT later.used_from FROM key_records AS later
        WHERE later.unit_id = key_records.unit_id AND later.seq > key_records.seq
        ORDER BY later.seq LIMIT 1
    ), 0) AS INTEGER) AS used_until, -- 0: it is in use
    origin, rotation_id, task_id
FROM key_records;

-- +goose StatementBegin
CREATE TRIGGER key_records_no_update BEFORE UPDATE ON key_records
BEGIN
    SELECT RAISE(ABORT, 'key_records is append-only: UPDATE is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER key_records_no_delete BEFORE DELETE ON key_records
BEGIN
    SELECT RAISE(ABORT, 'key_records is append-only: DELETE is refused');
END;
-- +goose StatementEnd

-- The outbox: what the world is to be told. A row goes when it was told.
CREATE TABLE announcements (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT, -- "oldest first"
    id          TEXT NOT NULL UNIQUE CHECK (length(id) = 36),
    type        TEXT NOT NULL CHECK (type IN ('rotation.requested', 'rotation.started', 'rotation.completed', 'tasks', 'keys', 'retired', 'notice')),
    rotation_id TEXT,
    notice_id   TEXT,
    notice_group TEXT, -- of the notice
    task_ids    TEXT NOT NULL DEFAULT '[]' CHECK (json_type(task_ids) = 'array'), -- with type keys: of key records
    held_until  INTEGER,
    -- What is told in order: a rotation, or a group of alerts. Empty: in any order.
    topic       TEXT NOT NULL GENERATED ALWAYS AS (coalesce(rotation_id, notice_group, '')) STORED,
    CHECK ((type IN ('tasks', 'keys', 'retired', 'notice')) = (rotation_id IS NULL)),
    CHECK ((type = 'notice') = (notice_id IS NOT NULL)),
    CHECK ((type = 'notice') = (notice_group IS NOT NULL)),
    CHECK ((type IN ('tasks', 'keys', 'retired')) = (task_ids <> '[]'))
) STRICT;
CREATE INDEX announcements_topic ON announcements (topic, seq) WHERE topic <> '';
CREATE INDEX announcements_notice ON announcements (notice_id) WHERE notice_id IS NOT NULL;

-- API tokens: only the SHA-256 of the secret.
CREATE TABLE tokens (
    id         TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    name       TEXT    NOT NULL CHECK (name <> ''),
    role       TEXT    NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    hash       BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

-- +goose Down
DROP TABLE tokens;
DROP TABLE announcements;
DROP VIEW key_history;
DROP TABLE key_records;
DROP TABLE feeds;
DROP TABLE tasks;
DROP TABLE rotations;
DROP TABLE unit_keys;
DROP TABLE units;
DROP TABLE targets;
DROP TABLE policies;
DROP TABLE resources;
