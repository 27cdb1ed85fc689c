-- What was worth saying of the attempts of tasks.

-- +goose Up
-- Lines are added by the transactions that move tasks, and only when something did not go as it should: a clean
-- success writes none. Of a task's lines the first and the last are kept (keyturn.TaskLogFirst, TaskLogLast).
CREATE TABLE task_log (
    task_id TEXT    NOT NULL CHECK (length(task_id) = 36),
    n       INTEGER NOT NULL CHECK (n >= 1),
    at      INTEGER NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    what    TEXT    NOT NULL CHECK (what IN ('put-back', 'waits', 'taken-over', 'sent-again', 'inferred', 'failed', 'parked', 'resolved')),
    text    TEXT    NOT NULL CHECK (length(text) <= 2000),
    PRIMARY KEY (task_id, n)
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER task_log_no_update BEFORE UPDATE ON task_log
BEGIN
    SELECT RAISE(ABORT, 'task_log is append-only: UPDATE is refused');
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE task_log;
