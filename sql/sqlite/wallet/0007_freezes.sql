-- Whom operators have frozen and set free again: the newest row of a user says which. A
-- frozen user keeps the money and cannot use it. Rows are only ever added.
CREATE TABLE freeze_log (
    -- Given by the writer, without gaps: so its maximum tells whether something is new.
    number      INTEGER NOT NULL PRIMARY KEY,
    user_id     TEXT    NOT NULL CHECK (user_id >= '-'),
    is_frozen   INTEGER NOT NULL CHECK (is_frozen IN (0, 1)),
    reason      TEXT    NOT NULL,
    -- Who did it.
    operator_id TEXT    NOT NULL,
    at_ms       INTEGER NOT NULL
) STRICT;
CREATE INDEX freeze_log_of_user ON freeze_log (user_id, number, is_frozen);
