-- One row: the balances of the other sides, written in the transaction of the
-- transfers that change them, and how far the transfers are numbered. The source
-- of top-ups is below zero by nature.
--
-- The row is also what writers queue for. Each transaction locks it first, so
-- that those of several processes come one after another and never in a circle.
-- Each one writes it, even one that adds no transfer: it found rows of another
-- that may not have reached the disk yet, and its own commit flushes them. On a
-- cluster where two nodes let a writer through, that they both wrote this row
-- is what lets only one of them commit.
CREATE TABLE IF NOT EXISTS {db}.ledger (
    one           TINYINT NOT NULL PRIMARY KEY,
    clearing_fen  BIGINT  NOT NULL,
    top_ups_fen   BIGINT  NOT NULL,
    last_position BIGINT  NOT NULL,
    transactions  BIGINT  NOT NULL
) ENGINE=InnoDB;
INSERT IGNORE INTO {db}.ledger VALUES (1, 0, 0, 0, 0);

-- The transfers, which are only ever added, each with the balance it leads to.
--
-- One row is both sides of a transfer: the user's account, and by its kind the
-- source of top-ups (1) or the clearing account (all others), which sees the
-- opposite. So all accounts of this database together always add up to zero.
--
-- A user's balance stands in the user's newest row; `history` gives it without a
-- look at the row. position is given by the writer, from `ledger`, and not by
-- the database: so it has no gaps and rises in the order of the commits, also
-- on a cluster, and a cursor over it misses nothing.
--
-- The checks are kept by MariaDB and MySQL 8. TiDB keeps them with
-- tidb_enable_check_constraint; the writer checks the same before it writes.
CREATE TABLE IF NOT EXISTS {db}.transfer (
    position    BIGINT      NOT NULL PRIMARY KEY,
    -- hongbao_core::TransferId::to_key: class, 16 bytes of id, seq.
    id          BINARY(21)  NOT NULL,
    -- '-' is the least character of a user's id: '#' begins the system's accounts.
    user_id     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (user_id >= '-'),
    -- 1 top-up, 2 send, 3 open, 4 refund, 5 cancel.
    kind        BIGINT      NOT NULL CHECK (kind >= 1 AND kind <= 5),
    amount_fen  BIGINT      NOT NULL CHECK (amount_fen >= 0),
    -- What user_id has after it.
    balance_fen BIGINT      NOT NULL CHECK (balance_fen >= 0),
    -- Milliseconds since 1970, as the caller gave them.
    at_ms       BIGINT      NOT NULL,
    UNIQUE KEY taken (id),
    KEY history (user_id, position, balance_fen),
    -- A cancel takes an id and moves nothing.
    CHECK (kind <> 5 OR amount_fen = 0)
) ENGINE=InnoDB;
