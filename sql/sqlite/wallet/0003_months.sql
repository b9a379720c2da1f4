-- Sealed months: the transfers behind the position at which the month before ended, up
-- to last_position. They never change, since each transfer is behind all before it.
-- Each row holds the hash of the one before it: hongbao_core::manifest::Month.
CREATE TABLE sealed_month (
    -- Its place in the chain, from 1.
    number         INTEGER NOT NULL PRIMARY KEY,
    -- 202611.
    month          INTEGER NOT NULL,
    -- The zone in which months and dates were counted.
    zone_offset_s  INTEGER NOT NULL,
    -- Slots of users who had left: of this file none ever do.
    moved_slots    TEXT    NOT NULL,
    last_position  INTEGER NOT NULL,
    transfers      INTEGER NOT NULL,
    -- By kind, of this month.
    topped_up_fen  INTEGER NOT NULL,
    sent_fen       INTEGER NOT NULL,
    opened_fen     INTEGER NOT NULL,
    refunded_fen   INTEGER NOT NULL,
    rows_hash      BLOB    NOT NULL,
    balances_hash  BLOB    NOT NULL,
    ties_hash      BLOB    NOT NULL,
    -- At its end, of all transfers up to it: users, their balances, those of the system.
    users          INTEGER NOT NULL,
    balances_fen   INTEGER NOT NULL,
    clearing_fen   INTEGER NOT NULL,
    top_ups_fen    INTEGER NOT NULL,
    previous_hash  BLOB    NOT NULL,
    hash           BLOB    NOT NULL
) STRICT;

-- The transfers of a month in parts, so that an audit can read some of them again.
CREATE TABLE month_block (
    number        INTEGER NOT NULL,
    last_position INTEGER NOT NULL,
    transfers     INTEGER NOT NULL,
    rows_hash     BLOB    NOT NULL,
    UNIQUE (number, last_position)
) STRICT;

-- What the users who had transfers in a month have at its end. So what a user has at
-- the end of a month stands in the newest row up to it.
CREATE TABLE month_balance (
    user_id     TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    balance_fen INTEGER NOT NULL,
    UNIQUE (number, user_id)
) STRICT;
CREATE INDEX month_balance_by_user ON month_balance (user_id, number, balance_fen);

-- The transfers of a month that belong to the envelopes of a date, as a set:
-- hongbao_core::manifest::Tie. Without cancels, whose envelopes are removed.
CREATE TABLE month_tie (
    number     INTEGER NOT NULL,
    -- 20261126.
    date       INTEGER NOT NULL,
    transfers  INTEGER NOT NULL,
    amount_fen INTEGER NOT NULL,
    hash       BLOB    NOT NULL,
    UNIQUE (number, date)
) STRICT;

-- One row: which attempt to seal a month may write. Each one takes the next number, and
-- each of its writes finds it here, or is refused: of two workers one goes on.
CREATE TABLE month_attempt (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    attempt INTEGER NOT NULL,
    writes  INTEGER NOT NULL
) STRICT;

INSERT INTO month_attempt (one, attempt, writes) VALUES (1, 0, 0);
