-- The manifests of sealed tables (core/src/manifest): what each of them holds, in a
-- chain by hash. A row is written once and never changed.
--
-- A row without a number is a table that is closed: its triggers (sealed.sql) refuse every
-- change. `closing` tells a closing from those before it that were taken back: a manifest
-- is of the rows that were read after its own closing.
CREATE TABLE manifest (
    closing        INTEGER PRIMARY KEY AUTOINCREMENT,
    y              INTEGER NOT NULL,
    date           INTEGER NOT NULL,
    number         INTEGER UNIQUE,
    envelopes      INTEGER,
    entries        INTEGER,
    paid_fen       INTEGER,
    opened_fen     INTEGER,
    refunded_fen   INTEGER,
    first_id       BLOB,
    last_id        BLOB,
    rows_hash      BLOB,
    transfers      INTEGER,
    transfers_fen  INTEGER,
    transfers_hash BLOB,
    previous_hash  BLOB,
    hash           BLOB,
    UNIQUE (y, date)
) STRICT;
