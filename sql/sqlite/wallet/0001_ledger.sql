-- The ledger: transfers that are only ever added, each with the balance it leads to.

-- One row is both sides of a transfer: user_id sees user_fen, contra sees the
-- opposite. So all accounts together always add up to zero.
--
-- A user's balance stands in the user's newest row. A table of balances would be
-- one more page to write for every transfer, since users are everywhere in it.
-- The checks call no function: a function might fail half way through a statement,
-- and SQLite would copy every page that it touches to be able to undo it.
CREATE TABLE transfer (
    position    INTEGER PRIMARY KEY,
    -- hongbao_core::TransferId::to_key: class, 16 bytes of id, seq.
    id          BLOB    NOT NULL UNIQUE,
    -- '-' is the least character of a user's id: '#' begins the system's accounts.
    user_id     TEXT    NOT NULL CHECK (user_id >= '-'),
    -- 1 top-up, 2 send, 3 open, 4 refund, 5 cancel.
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 5),
    amount_fen  INTEGER NOT NULL CHECK (amount_fen >= 0),
    contra      TEXT    NOT NULL CHECK (contra = CASE kind WHEN 1 THEN '#top_ups' ELSE '#clearing' END),
    -- What user_id has after it.
    balance_fen INTEGER NOT NULL CHECK (balance_fen >= 0),
    -- Milliseconds since 1970, as the caller gave them.
    at_ms       INTEGER NOT NULL,
    -- Not stored: only a send debits the user.
    user_fen    INTEGER NOT NULL AS (CASE kind WHEN 2 THEN -amount_fen ELSE amount_fen END) VIRTUAL,
    -- A cancel takes an id and moves nothing.
    CHECK (kind <> 5 OR amount_fen = 0)
) STRICT;

-- A user's history, newest first, and the balance without a look at the row.
CREATE INDEX transfer_by_user ON transfer (user_id, position, balance_fen);

-- History is what the balances are checked against, so it must not change:
-- a mistake is put right by a further transfer. This guards against defects and
-- slips; whoever may change the file can also drop a trigger.
CREATE TRIGGER transfer_refuses_update BEFORE UPDATE ON transfer
BEGIN
    SELECT RAISE(ABORT, 'transfers are append-only');
END;

CREATE TRIGGER transfer_refuses_delete BEFORE DELETE ON transfer
BEGIN
    SELECT RAISE(ABORT, 'transfers are append-only');
END;

-- The balances of the other sides, written in the transaction of the transfers
-- that change them. The source of top-ups is below zero by nature.
CREATE TABLE system_account (
    account     TEXT    NOT NULL PRIMARY KEY,
    balance_fen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO system_account (account, balance_fen) VALUES ('#clearing', 0), ('#top_ups', 0);
