-- The ledger: transfers that are only ever added, and the balances they add up to.

-- One row is both sides of a transfer: user_id sees user_fen, contra sees the
-- opposite. So all accounts together always add up to zero.
CREATE TABLE transfer (
    position   INTEGER PRIMARY KEY,
    -- hongbao_core::TransferId::to_key: class, 16 bytes of id, seq.
    id         BLOB    NOT NULL UNIQUE CHECK (length(id) = 21),
    user_id    TEXT    NOT NULL CHECK (substr(user_id, 1, 1) <> '#'),
    -- 1 top-up, 2 send, 3 open, 4 refund, 5 cancel.
    kind       INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 5),
    amount_fen INTEGER NOT NULL CHECK (amount_fen >= 0),
    contra     TEXT    NOT NULL CHECK (contra = CASE kind WHEN 1 THEN '#top_ups' ELSE '#clearing' END),
    -- Milliseconds since 1970, as the caller gave them.
    at_ms      INTEGER NOT NULL,
    -- Not stored: only a send debits the user.
    user_fen   INTEGER NOT NULL AS (CASE kind WHEN 2 THEN -amount_fen ELSE amount_fen END) VIRTUAL,
    -- A cancel takes an id and moves nothing.
    CHECK (kind <> 5 OR amount_fen = 0)
) STRICT;

-- A user's history, newest first, and the sum of a user's transfers.
CREATE INDEX transfer_by_user ON transfer (user_id, position);

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

-- Balances, written in the transaction of the transfers that change them.
CREATE TABLE account (
    account     TEXT    NOT NULL PRIMARY KEY,
    balance_fen INTEGER NOT NULL,
    -- A user cannot owe; the source of top-ups is below zero by nature.
    CHECK (balance_fen >= 0 OR substr(account, 1, 1) = '#')
) STRICT, WITHOUT ROWID;

INSERT INTO account (account, balance_fen) VALUES ('#clearing', 0), ('#top_ups', 0);
