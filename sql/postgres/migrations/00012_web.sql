-- What was worth saying of the attempts of tasks.

-- +goose Up
-- Lines are added by the statements that move tasks, and only when something did not go as it should: a clean
-- success writes none. Of a task's lines the first and the last are kept (keyturn.TaskLogFirst, TaskLogLast).
CREATE TABLE task_log (
    task_id uuid        NOT NULL,
    n       integer     NOT NULL CHECK (n >= 1),
    at      timestamptz NOT NULL,
    attempt integer     NOT NULL CHECK (attempt >= 0),
    what    text        NOT NULL CHECK (what IN ('put-back', 'waits', 'taken-over', 'sent-again', 'inferred', 'failed', 'parked', 'resolved')),
    text    text        NOT NULL CHECK (length(text) <= 2000),
    PRIMARY KEY (task_id, n)
);

-- +goose StatementBegin
CREATE FUNCTION task_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'task_log is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER task_log_append_only BEFORE UPDATE ON task_log FOR EACH ROW EXECUTE FUNCTION task_log_refuse();

-- +goose Down
DROP TABLE task_log;
DROP FUNCTION task_log_refuse();
