-- Events in the feeds of users and groups whose slots this database holds: rows that
-- workers add in transactions that they make anyway, and that are removed after some days.
--
-- position is given under the lock of `ledger`, as that of transfers: it rises in the
-- order of the commits, so a cursor over it misses nothing, also where a slot is moved.
CREATE TABLE IF NOT EXISTS {db}.event (
    position BIGINT      NOT NULL PRIMARY KEY,
    -- "u:" and a user, "g:" and a group.
    feed     VARCHAR(66) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- 1 where another feed has the same.
    is_copy  TINYINT     NOT NULL,
    -- The id of the envelope or of the order.
    subject  BINARY(16)  NOT NULL,
    -- hongbao_core::event::Series: within each, what happened to a subject has a rising seq.
    series   BIGINT      NOT NULL,
    -- That of the last event of the row.
    last_seq BIGINT      NOT NULL,
    -- When that happened, in milliseconds since 1970.
    at_ms    BIGINT      NOT NULL,
    -- hongbao_core::event::EventBody, as JSON.
    body     MEDIUMBLOB  NOT NULL,
    KEY feed (feed, position),
    -- Of two that write the same the second finds it, or is refused.
    UNIQUE KEY written (subject, series, feed, last_seq)
) ENGINE=InnoDB;

-- One row: how far the events are numbered, and up to where they were removed.
CREATE TABLE IF NOT EXISTS {db}.event_end (
    one              TINYINT NOT NULL PRIMARY KEY,
    last_position    BIGINT  NOT NULL,
    purged_position  BIGINT  NOT NULL,
    -- All that was removed had happened before.
    purged_before_ms BIGINT  NOT NULL
) ENGINE=InnoDB;
INSERT IGNORE INTO {db}.event_end VALUES (1, 0, 0, 0);

-- How far the installation's webhook has got the events of this database.
CREATE TABLE IF NOT EXISTS {db}.webhook (
    one              TINYINT  NOT NULL PRIMARY KEY,
    -- All up to here were taken by the endpoint.
    position         BIGINT   NOT NULL,
    -- Deliveries in a row that were not taken.
    failures         BIGINT   NOT NULL,
    -- Not before this time is the next one tried, in milliseconds since 1970.
    due_at_ms        BIGINT   NOT NULL,
    -- The process that delivers, and until when no other does.
    claimed_by       CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    claimed_until_ms BIGINT   NOT NULL
) ENGINE=InnoDB;
INSERT IGNORE INTO {db}.webhook VALUES (1, 0, 0, 0, '', 0);
