-- What users have sent and had paid out by the day, where a limit of users is configured:
-- counted in the transaction of the payment or the payout. Removed two days later.
CREATE TABLE user_day (
    user_id        TEXT    NOT NULL CHECK (user_id >= '-'),
    -- Days since 1970-01-01, in the zone of the installation.
    day            INTEGER NOT NULL,
    sent_fen       INTEGER NOT NULL CHECK (sent_fen >= 0),
    sent_count     INTEGER NOT NULL CHECK (sent_count >= 0),
    paid_out_fen   INTEGER NOT NULL CHECK (paid_out_fen >= 0),
    paid_out_count INTEGER NOT NULL CHECK (paid_out_count >= 0),
    UNIQUE (user_id, day)
) STRICT;
CREATE INDEX user_day_by_day ON user_day (day);
-- Orders that are not over and are counted there: what fails is counted no longer.
CREATE TABLE counted_order (
    -- The payout; of a charge the envelope that it is for.
    subject        BLOB    NOT NULL UNIQUE CHECK (length(subject) = 16),
    user_id        TEXT    NOT NULL CHECK (user_id >= '-'),
    -- 1 sent, 2 paid out.
    daily          INTEGER NOT NULL,
    day            INTEGER NOT NULL,
    amount_fen     INTEGER NOT NULL CHECK (amount_fen >= 0)
) STRICT;
CREATE INDEX counted_order_by_day ON counted_order (day);
-- Envelopes that wait for their payment, where their number is limited: written before the
-- envelope is made, gone with its payment, and void after the time until which it can be paid.
CREATE TABLE reservation (
    user_id        TEXT    NOT NULL CHECK (user_id >= '-'),
    envelope_id    BLOB    NOT NULL CHECK (length(envelope_id) = 16),
    until_ms       INTEGER NOT NULL,
    UNIQUE (user_id, envelope_id)
) STRICT;
CREATE INDEX reservation_by_time ON reservation (until_ms);
