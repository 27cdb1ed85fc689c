-- What people, and the bearers of tokens, changed.

-- +goose Up
CREATE TABLE audit (
    id      TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36), -- ids are in the order of time
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL CHECK (actor <> ''),
    action  TEXT    NOT NULL CHECK (action <> ''),
    subject TEXT    NOT NULL,
    remote  TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    detail  TEXT    CHECK (json_valid(detail))
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit is append-only: UPDATE is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit is append-only: DELETE is refused');
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE audit;
