-- Keys under which clients repeat requests, each with the id that was chosen for the
-- first one: committed before anything is made under that id. Removed two days later.
CREATE TABLE IF NOT EXISTS {db}.request_key (
    user_id     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (user_id >= '-'),
    -- 1 an envelope.
    call_kind   BIGINT      NOT NULL,
    request_key VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- SHA-256: hongbao_core::KeyedRequest.
    body_hash   BINARY(32)  NOT NULL,
    id          BINARY(16)  NOT NULL,
    at_ms       BIGINT      NOT NULL,
    PRIMARY KEY (user_id, call_kind, request_key),
    KEY by_time (at_ms)
) ENGINE=InnoDB;
