-- Orders at the provider: charges, payouts, and refunds of charges. Each has its number before its first request.

-- Transfers of further kinds. SQLite changes no CHECK of a table that exists, so the rows move to a new one. Which
-- account of the system is on the other side follows from the kind: hongbao_core::TransferKind::system_signs.
CREATE TABLE transfer_with_orders (
    position    INTEGER PRIMARY KEY,
    -- hongbao_core::TransferId::to_key: class, 16 bytes of id, seq.
    id          BLOB    NOT NULL UNIQUE,
    -- '-' is the least character of a user's id: '#' begins the system's accounts.
    user_id     TEXT    NOT NULL CHECK (user_id >= '-'),
    -- 1 top-up, 2 send, 3 open, 4 refund, 5 cancel, 6 charge, 7 payout, 8 payout paid, 9 payout failed, 10 payout returned.
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 10),
    amount_fen  INTEGER NOT NULL CHECK (amount_fen >= 0),
    -- What user_id has after it.
    balance_fen INTEGER NOT NULL CHECK (balance_fen >= 0),
    -- Milliseconds since 1970, as the caller gave them.
    at_ms       INTEGER NOT NULL,
    -- Not stored. A cancel and a paid payout do nothing to the user.
    user_fen    INTEGER NOT NULL AS
        (CASE WHEN kind IN (2, 7) THEN -amount_fen WHEN kind IN (5, 8) THEN 0 ELSE amount_fen END) VIRTUAL,
    -- A cancel takes an id and moves nothing.
    CHECK (kind <> 5 OR amount_fen = 0)
) STRICT;

INSERT INTO transfer_with_orders (position, id, user_id, kind, amount_fen, balance_fen, at_ms)
    SELECT position, id, user_id, kind, amount_fen, balance_fen, at_ms FROM transfer ORDER BY position;

DROP TABLE transfer;
ALTER TABLE transfer_with_orders RENAME TO transfer;

CREATE INDEX transfer_by_user ON transfer (user_id, position, balance_fen);

CREATE TRIGGER transfer_refuses_update BEFORE UPDATE ON transfer
BEGIN
    SELECT RAISE(ABORT, 'transfers are append-only');
END;

CREATE TRIGGER transfer_refuses_delete BEFORE DELETE ON transfer
BEGIN
    SELECT RAISE(ABORT, 'transfers are append-only');
END;

-- What was paid out at the provider, less what was charged there; payouts on their way.
INSERT INTO system_account (account, balance_fen) VALUES ('#provider', 0), ('#payouts', 0);

ALTER TABLE sealed_month ADD COLUMN provider_fen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sealed_month ADD COLUMN payouts_fen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sealed_month ADD COLUMN charged_fen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sealed_month ADD COLUMN paid_out_fen INTEGER NOT NULL DEFAULT 0;

-- hongbao_core::Order. It moves money only in a transaction that adds the transfers for it.
CREATE TABLE provider_order (
    id           BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    user_id      TEXT    NOT NULL CHECK (user_id >= '-'),
    -- 1 charge, 2 payout, 3 refund of a charge.
    kind         INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
    -- 1 created, 2 pending, 3 closing, 4 succeeded, 5 failed, 6 held, 7 returned.
    state        INTEGER NOT NULL CHECK (state BETWEEN 1 AND 7),
    amount_fen   INTEGER NOT NULL CHECK (amount_fen > 0),
    -- The envelope that a charge pays for.
    envelope_id  BLOB,
    -- The charge that a refund takes back, and which has one at most.
    of_id        BLOB,
    created_ms   INTEGER NOT NULL,
    -- From then on nothing is sent for it any more.
    close_ms     INTEGER NOT NULL,
    -- When it was last sent, or may have been: written before the request.
    sent_ms      INTEGER,
    -- When it is asked for next; null once there is nothing to ask.
    due_ms       INTEGER,
    attempts     INTEGER NOT NULL,
    reference    TEXT,
    action_url   TEXT,
    failure      TEXT,
    -- When it happened, by the provider's clock.
    happened_ms  INTEGER,
    -- Why a person has to look at it: 1 wrong amount, 2 contradicted, 3 overdue.
    attention    INTEGER CHECK (attention BETWEEN 1 AND 3),
    -- Rises with each change: a change is of what was read.
    version      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX provider_order_by_user ON provider_order (user_id, kind, id);
CREATE INDEX provider_order_due ON provider_order (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX provider_order_happened ON provider_order (happened_ms, id) WHERE happened_ms IS NOT NULL;
CREATE INDEX provider_order_of_envelope ON provider_order (envelope_id) WHERE envelope_id IS NOT NULL;
CREATE UNIQUE INDEX provider_order_of ON provider_order (of_id) WHERE of_id IS NOT NULL;
CREATE INDEX provider_order_attention ON provider_order (attention, id) WHERE attention IS NOT NULL;
