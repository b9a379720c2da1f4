-- Orders at the provider: charges, payouts, and refunds of charges. Each has its number before its first request.

-- Transfers of further kinds: 6 charge, 7 payout, 8 payout paid, 9 payout failed, 10 payout returned. MariaDB keeps the
-- check with the column and changes it at once; MySQL gave it a name.
ALTER TABLE {db}.transfer
    /*M! MODIFY kind BIGINT NOT NULL CHECK (kind >= 1 AND kind <= 10) */
    /*!80016 DROP CHECK transfer_chk_2, ADD CONSTRAINT known_kinds CHECK (kind >= 1 AND kind <= 10) */;

-- What was paid out at the provider, less what was charged there; payouts on their way.
ALTER TABLE {db}.ledger ADD COLUMN provider_fen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE {db}.ledger ADD COLUMN payouts_fen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE {db}.slot_move ADD COLUMN provider_fen BIGINT NULL;
ALTER TABLE {db}.slot_move ADD COLUMN payouts_fen BIGINT NULL;
ALTER TABLE {db}.sealed_month ADD COLUMN provider_fen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE {db}.sealed_month ADD COLUMN payouts_fen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE {db}.sealed_month ADD COLUMN charged_fen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE {db}.sealed_month ADD COLUMN paid_out_fen BIGINT NOT NULL DEFAULT 0;

-- hongbao_core::Order. It moves money only in a transaction that adds the transfers for it.
CREATE TABLE IF NOT EXISTS {db}.provider_order (
    id           BINARY(16)   NOT NULL PRIMARY KEY,
    user_id      VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (user_id >= '-'),
    -- 1 charge, 2 payout, 3 refund of a charge.
    kind         BIGINT       NOT NULL CHECK (kind >= 1 AND kind <= 3),
    -- 1 created, 2 pending, 3 closing, 4 succeeded, 5 failed, 6 held, 7 returned.
    state        BIGINT       NOT NULL CHECK (state >= 1 AND state <= 7),
    amount_fen   BIGINT       NOT NULL CHECK (amount_fen > 0),
    -- The envelope that a charge pays for.
    envelope_id  BINARY(16)   NULL,
    -- The charge that a refund takes back, and which has one at most.
    of_id        BINARY(16)   NULL,
    created_ms   BIGINT       NOT NULL,
    -- From then on nothing is sent for it any more.
    close_ms     BIGINT       NOT NULL,
    -- When it was last sent, or may have been: written before the request.
    sent_ms      BIGINT       NULL,
    -- When it is asked for next; null once there is nothing to ask.
    due_ms       BIGINT       NULL,
    attempts     BIGINT       NOT NULL,
    reference    VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NULL,
    action_url   VARCHAR(512) CHARACTER SET ascii COLLATE ascii_bin NULL,
    failure      VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NULL,
    -- When it happened, by the provider's clock.
    happened_ms  BIGINT       NULL,
    -- Why a person has to look at it: 1 wrong amount, 2 contradicted, 3 overdue.
    attention    BIGINT       NULL CHECK (attention >= 1 AND attention <= 3),
    -- Rises with each change: a change is of what was read.
    version      BIGINT       NOT NULL,
    UNIQUE KEY of_user (user_id, kind, id),
    KEY due (due_ms),
    KEY happened (happened_ms, id),
    KEY of_envelope (envelope_id),
    UNIQUE KEY refund_of (of_id),
    KEY needs_attention (attention, id)
) ENGINE=InnoDB;
