-- The ids of keys that the history knows by the time of their rotation only.

-- +goose Up
CREATE TABLE key_names (
    unit_id text COLLATE "C" NOT NULL,
    marker  text        NOT NULL CHECK (marker LIKE 'kmip-rotated-at:%'),
    key_id  text        NOT NULL CHECK (key_id <> '' AND key_id <> marker),
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (unit_id, marker)
);
CREATE TRIGGER key_names_append_only BEFORE UPDATE OR DELETE ON key_names
    FOR EACH ROW EXECUTE FUNCTION key_records_refuse();
CREATE TRIGGER key_names_no_truncate BEFORE TRUNCATE ON key_names
    FOR EACH STATEMENT EXECUTE FUNCTION key_records_refuse();

-- +goose Down
DROP TABLE key_names;
