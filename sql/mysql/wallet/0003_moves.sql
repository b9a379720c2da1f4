-- Whose money this database does not have, though it holds their slots. One row,
-- read and locked with that of `ledger` by each transaction, in one statement: so a
-- transaction that comes after a change of it sees it, whatever process it is of.
CREATE TABLE IF NOT EXISTS {db}.fence (
    one         TINYINT      NOT NULL PRIMARY KEY,
    -- 1: this database is being filled from another one, and serves none of its slots
    -- yet. Set before the database is complete; once it is 0 it never is 1 again.
    is_arriving BIGINT       NOT NULL,
    -- "52 56": the slots whose users were carried to another database. Their
    -- transfers stay here as they were, and count no more.
    moved_slots VARCHAR(300) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE=InnoDB;
INSERT IGNORE INTO {db}.fence VALUES (1, 0, '');

-- Moves of slots: the one that this database was filled by, and those away from it.
-- Where slots leave, the row is written before anything is made at the other place, and
-- the database there has to have the id of a row here: so it has one source.
CREATE TABLE IF NOT EXISTS {db}.slot_move (
    -- The same in both databases of a move.
    id           CHAR(32)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    -- 1 where the slots came here, which happens once; null where they leave.
    arrival      TINYINT      NULL,
    slots        VARCHAR(300) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- Where they came: a name that this database alone has, from when it was made. Where
    -- they leave: the name of the one that has got them; null until then.
    target_id    CHAR(32)     CHARACTER SET ascii COLLATE ascii_bin NULL,
    -- Where they came: up to which position both databases were compared.
    compared_to  BIGINT       NOT NULL,
    -- Where they leave: what was taken out of the balances in `ledger`; null until then.
    clearing_fen BIGINT       NULL,
    top_ups_fen  BIGINT       NULL,
    UNIQUE KEY filled (arrival)
) ENGINE=InnoDB;
