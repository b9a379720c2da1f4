-- What users have sent and had paid out by the day, where a limit of users is configured:
-- counted in the transaction of the payment or the payout. Removed two days later.
CREATE TABLE IF NOT EXISTS {db}.user_day (
    user_id        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (user_id >= '-'),
    -- Days since 1970-01-01, in the zone of the installation.
    day            BIGINT      NOT NULL,
    sent_fen       BIGINT      NOT NULL CHECK (sent_fen >= 0),
    sent_count     BIGINT      NOT NULL CHECK (sent_count >= 0),
    paid_out_fen   BIGINT      NOT NULL CHECK (paid_out_fen >= 0),
    paid_out_count BIGINT      NOT NULL CHECK (paid_out_count >= 0),
    PRIMARY KEY (user_id, day),
    KEY by_day (day)
) ENGINE=InnoDB;
-- Orders that are not over and are counted there: what fails is counted no longer.
CREATE TABLE IF NOT EXISTS {db}.counted_order (
    -- The payout; of a charge the envelope that it is for.
    subject        BINARY(16)  NOT NULL PRIMARY KEY,
    user_id        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (user_id >= '-'),
    -- 1 sent, 2 paid out.
    daily          BIGINT      NOT NULL,
    day            BIGINT      NOT NULL,
    amount_fen     BIGINT      NOT NULL CHECK (amount_fen >= 0),
    KEY by_day (day)
) ENGINE=InnoDB;
-- Envelopes that wait for their payment, where their number is limited: written before the
-- envelope is made, gone with its payment, and void after the time until which it can be paid.
CREATE TABLE IF NOT EXISTS {db}.reservation (
    user_id        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (user_id >= '-'),
    envelope_id    BINARY(16)  NOT NULL,
    until_ms       BIGINT      NOT NULL,
    PRIMARY KEY (user_id, envelope_id),
    KEY by_time (until_ms)
) ENGINE=InnoDB;
