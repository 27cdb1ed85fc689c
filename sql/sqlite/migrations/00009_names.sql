-- The ids of keys that the history knows by the time of their rotation only.

-- +goose Up
CREATE TABLE key_names (
    unit_id TEXT    NOT NULL,
    marker  TEXT    NOT NULL CHECK (marker LIKE 'kmip-rotated-at:%'),
    key_id  TEXT    NOT NULL CHECK (key_id <> '' AND key_id <> marker),
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (unit_id, marker)
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER key_names_no_update BEFORE UPDATE ON key_names
BEGIN
    SELECT RAISE(ABORT, 'key_names is append-only: UPDATE is refused');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER key_names_no_delete BEFORE DELETE ON key_names
BEGIN
    SELECT RAISE(ABORT, 'key_names is append-only: DELETE is refused');
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE key_names;
