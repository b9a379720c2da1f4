-- Whom operators have frozen and set free again: the newest row of a user says which. A
-- frozen user keeps the money and cannot use it. Rows are only ever added.
CREATE TABLE IF NOT EXISTS {db}.freeze_log (
    -- Given by the writer, without gaps: so its maximum tells whether something is new.
    number      BIGINT      NOT NULL PRIMARY KEY,
    user_id     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (user_id >= '-'),
    is_frozen   BIGINT      NOT NULL,
    reason      VARCHAR(500) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    -- Who did it.
    operator_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    at_ms       BIGINT      NOT NULL,
    KEY of_user (user_id, number, is_frozen)
) ENGINE=InnoDB;
