-- One day table: the envelopes that were made on day of month {dd} and belong
-- to table {y}, and their journals. Made for every day and every table ahead of
-- time, never on the path of a request; repeating it does nothing.
--
-- Only what MariaDB, MySQL 8 and TiDB all understand: no partial indexes, so the
-- stage comes first in the keys that workers use. stage is 0 created, 1 active,
-- 2 cancelled, 3 settled. `waiting` finds by id what waits for a payment, a credit
-- or its removal; `expiry` finds by time what is over. An opening touches neither, for
-- it changes no envelope row.
CREATE TABLE IF NOT EXISTS {db}.envelope_{y}_{dd} (
    id            BINARY(16)    NOT NULL PRIMARY KEY,
    sender        VARCHAR(64)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    kind          VARCHAR(8)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    total_fen     BIGINT        NOT NULL CHECK (total_fen >= 1),
    shares        BIGINT        NOT NULL CHECK (shares >= 1),
    share_cap_fen BIGINT        NOT NULL CHECK (share_cap_fen >= 1),
    greeting      VARCHAR(1000) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    audience_type VARCHAR(8)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    audience_id   VARCHAR(64)   CHARACTER SET ascii COLLATE ascii_bin NULL,
    seed          BINARY(32)    NOT NULL,
    created_at_ms BIGINT        NOT NULL,
    lifetime_ms   BIGINT        NOT NULL CHECK (lifetime_ms >= 0),
    stage         BIGINT        NOT NULL CHECK (stage >= 0 AND stage <= 3),
    expires_at_ms BIGINT        NULL,
    settled_seq   BIGINT        NOT NULL CHECK (settled_seq >= 0),
    KEY waiting (stage),
    KEY expiry (stage, expires_at_ms)
) ENGINE=InnoDB;

-- The journal. Its primary key and its unique key are the fence, and nothing
-- else is needed: two writers that decided on the same state insert the same
-- seq, and the first key lets one of them win (invariant I5); a user's second
-- opening meets the second key (I2). Caches, queues and counters may be wrong
-- about an envelope; these keys are not. user_id is '#refund' for the refund,
-- the last entry: no user can have this name, and the second key lets an
-- envelope be refunded once.
--
-- position is handed out when a row is inserted, and writers may commit in
-- another order: a credit worker that follows it can miss a row that was
-- committed late. It is a hint, and settled_seq is the truth: the worker's sweep
-- finds what the tail has missed. TiDB's servers hand out positions in order only
-- when they keep none in store, which the comment at the end tells it, and it alone.
CREATE TABLE IF NOT EXISTS {db}.entry_{y}_{dd} (
    envelope_id   BINARY(16)  NOT NULL,
    seq           BIGINT      NOT NULL CHECK (seq >= 1),
    user_id       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    amount_fen    BIGINT      NOT NULL CHECK (amount_fen >= 1),
    remaining_fen BIGINT      NOT NULL CHECK (remaining_fen >= 0),
    at_ms         BIGINT      NOT NULL,
    position      BIGINT      NOT NULL AUTO_INCREMENT,
    PRIMARY KEY (envelope_id, seq),
    UNIQUE KEY one_share_a_user (envelope_id, user_id),
    KEY tail (position)
) ENGINE=InnoDB /*T![auto_id_cache] AUTO_ID_CACHE=1 */;
