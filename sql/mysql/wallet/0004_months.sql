-- Sealed months: the transfers behind the position at which the month before ended, up
-- to last_position. They never change, since each transfer is behind all before it.
-- Each row holds the hash of the one before it: hongbao_core::manifest::Month.
CREATE TABLE IF NOT EXISTS {db}.sealed_month (
    -- Its place in the chain, from 1.
    number         BIGINT       NOT NULL PRIMARY KEY,
    -- 202611.
    month          BIGINT       NOT NULL,
    -- The zone in which months and dates were counted.
    zone_offset_s  BIGINT       NOT NULL,
    -- As in `fence` when it was sealed: with others it counts no more.
    moved_slots    VARCHAR(300) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    last_position  BIGINT       NOT NULL,
    transfers      BIGINT       NOT NULL,
    -- By kind, of this month.
    topped_up_fen  BIGINT       NOT NULL,
    sent_fen       BIGINT       NOT NULL,
    opened_fen     BIGINT       NOT NULL,
    refunded_fen   BIGINT       NOT NULL,
    rows_hash      BINARY(32)   NOT NULL,
    balances_hash  BINARY(32)   NOT NULL,
    ties_hash      BINARY(32)   NOT NULL,
    -- At its end, of all transfers up to it: users, their balances, those of the system.
    users          BIGINT       NOT NULL,
    balances_fen   BIGINT       NOT NULL,
    clearing_fen   BIGINT       NOT NULL,
    top_ups_fen    BIGINT       NOT NULL,
    previous_hash  BINARY(32)   NOT NULL,
    hash           BINARY(32)   NOT NULL
) ENGINE=InnoDB;

-- The transfers of a month in parts, so that an audit can read some of them again.
CREATE TABLE IF NOT EXISTS {db}.month_block (
    number        BIGINT     NOT NULL,
    last_position BIGINT     NOT NULL,
    transfers     BIGINT     NOT NULL,
    rows_hash     BINARY(32) NOT NULL,
    PRIMARY KEY (number, last_position)
) ENGINE=InnoDB;

-- What the users who had transfers in a month have at its end. So what a user has at
-- the end of a month stands in the newest row up to it.
CREATE TABLE IF NOT EXISTS {db}.month_balance (
    user_id     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number      BIGINT      NOT NULL,
    balance_fen BIGINT      NOT NULL,
    PRIMARY KEY (user_id, number),
    KEY of_month (number, user_id, balance_fen)
) ENGINE=InnoDB;

-- The transfers of a month that belong to the envelopes of a date, as a set:
-- hongbao_core::manifest::Tie. Without cancels, whose envelopes are removed.
CREATE TABLE IF NOT EXISTS {db}.month_tie (
    number     BIGINT     NOT NULL,
    -- 20261126.
    date       BIGINT     NOT NULL,
    transfers  BIGINT     NOT NULL,
    amount_fen BIGINT     NOT NULL,
    hash       BINARY(32) NOT NULL,
    PRIMARY KEY (number, date)
) ENGINE=InnoDB;

-- One row: which attempt to seal a month may write. Each one takes the next number, and
-- each of its writes finds it here, or is refused: of two workers one goes on.
CREATE TABLE IF NOT EXISTS {db}.month_attempt (
    one     TINYINT NOT NULL PRIMARY KEY,
    attempt BIGINT  NOT NULL,
    writes  BIGINT  NOT NULL
) ENGINE=InnoDB;
INSERT IGNORE INTO {db}.month_attempt VALUES (1, 0, 0);
