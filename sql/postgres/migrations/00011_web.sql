-- Who is signed in to the pages.

-- +goose Up
CREATE TABLE sessions (
    hash       bytea       PRIMARY KEY CHECK (length(hash) = 32), -- SHA-256 of the cookie
    token_id   uuid        REFERENCES tokens (id), -- NULL: an OpenID Connect provider named the person
    name       text        NOT NULL CHECK (name <> ''),
    role       text        NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    remote     text        NOT NULL,
    created_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > created_at)
);
CREATE INDEX sessions_expired ON sessions (expires_at);

-- +goose Down
DROP TABLE sessions;
