-- Keys under which clients repeat requests, each with the id that was chosen for the
-- first one: committed before anything is made under that id. Removed two days later.
CREATE TABLE request_key (
    user_id     TEXT    NOT NULL CHECK (user_id >= '-'),
    -- 1 an envelope.
    call_kind   INTEGER NOT NULL,
    request_key TEXT    NOT NULL,
    -- SHA-256: hongbao_core::KeyedRequest.
    body_hash   BLOB    NOT NULL CHECK (length(body_hash) = 32),
    id          BLOB    NOT NULL CHECK (length(id) = 16),
    at_ms       INTEGER NOT NULL,
    UNIQUE (user_id, call_kind, request_key)
) STRICT;
CREATE INDEX request_key_by_time ON request_key (at_ms);
