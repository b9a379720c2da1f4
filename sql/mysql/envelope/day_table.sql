-- A table of the envelopes of one date, and its journal: what 0001_day_tables made,
-- and refuses the ids of all other dates. A writer that knows it by an older date
-- writes nothing into it, and reads again. The comment says the date, and goes with
-- the table when it is renamed. {from} and {until} are the first bytes of ids.
CREATE TABLE IF NOT EXISTS {envelope} (
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
    KEY expiry (stage, expires_at_ms),
    CONSTRAINT envelope_{y}_ids_of_{date} CHECK (id >= x'{from}' AND id < x'{until}')
) ENGINE=InnoDB COMMENT='ids of {date}';

CREATE TABLE IF NOT EXISTS {entry} (
    envelope_id   BINARY(16)  NOT NULL,
    seq           BIGINT      NOT NULL CHECK (seq >= 1),
    user_id       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    amount_fen    BIGINT      NOT NULL CHECK (amount_fen >= 1),
    remaining_fen BIGINT      NOT NULL CHECK (remaining_fen >= 0),
    at_ms         BIGINT      NOT NULL,
    position      BIGINT      NOT NULL AUTO_INCREMENT,
    PRIMARY KEY (envelope_id, seq),
    UNIQUE KEY one_share_a_user (envelope_id, user_id),
    KEY tail (position),
    CONSTRAINT entry_{y}_ids_of_{date} CHECK (envelope_id >= x'{from}' AND envelope_id < x'{until}')
) ENGINE=InnoDB COMMENT='ids of {date}' /*T![auto_id_cache] AUTO_ID_CACHE=1 */;
