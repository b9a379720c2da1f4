-- The manifests of sealed tables (core/src/manifest): what each of them holds, in a
-- chain by hash. A row is written once and never changed.
--
-- A row without a number is a table that is closed: it takes no rows, because each
-- writer of a dated table puts a row of the same table here and takes it away again, in
-- the transaction that writes. `closing` tells a closing from those before it that were
-- taken back: a manifest is of the rows that were read after its own closing.
CREATE TABLE IF NOT EXISTS {db}.manifest (
    closing        BIGINT     NOT NULL AUTO_INCREMENT PRIMARY KEY,
    y              BIGINT     NOT NULL,
    date           BIGINT     NOT NULL,
    number         BIGINT     NULL,
    envelopes      BIGINT     NULL,
    entries        BIGINT     NULL,
    paid_fen       BIGINT     NULL,
    opened_fen     BIGINT     NULL,
    refunded_fen   BIGINT     NULL,
    first_id       BINARY(16) NULL,
    last_id        BINARY(16) NULL,
    rows_hash      BINARY(32) NULL,
    transfers      BIGINT     NULL,
    transfers_fen  BIGINT     NULL,
    transfers_hash BINARY(32) NULL,
    previous_hash  BINARY(32) NULL,
    hash           BINARY(32) NULL,
    UNIQUE KEY sealed_table (y, date),
    UNIQUE KEY chain (number)
) ENGINE=InnoDB;
