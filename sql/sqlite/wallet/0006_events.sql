-- Events in the feeds of users and groups: rows that workers add in transactions that
-- they make anyway, and that are removed after some days.
--
-- position rises in the order of the commits, so a cursor over it misses nothing.
CREATE TABLE event (
    position INTEGER PRIMARY KEY,
    -- "u:" and a user, "g:" and a group.
    feed     TEXT    NOT NULL,
    -- 1 where another feed has the same.
    is_copy  INTEGER NOT NULL,
    -- The id of the envelope or of the order.
    subject  BLOB    NOT NULL,
    -- hongbao_core::event::Series: within each, what happened to a subject has a rising seq.
    series   INTEGER NOT NULL,
    -- That of the last event of the row.
    last_seq INTEGER NOT NULL,
    -- When that happened, in milliseconds since 1970.
    at_ms    INTEGER NOT NULL,
    -- hongbao_core::event::EventBody, as JSON.
    body     BLOB    NOT NULL,
    -- Of two that write the same the second finds it, or is refused.
    UNIQUE (subject, series, feed, last_seq)
) STRICT;
CREATE INDEX event_by_feed ON event (feed, position);

-- One row: how far the events are numbered, and up to where they were removed.
CREATE TABLE event_end (
    one              INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    last_position    INTEGER NOT NULL,
    purged_position  INTEGER NOT NULL,
    -- All that was removed had happened before.
    purged_before_ms INTEGER NOT NULL
) STRICT;

INSERT INTO event_end (one, last_position, purged_position, purged_before_ms) VALUES (1, 0, 0, 0);

-- How far the installation's webhook has got the events.
CREATE TABLE webhook (
    one              INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    -- All up to here were taken by the endpoint.
    position         INTEGER NOT NULL,
    -- Deliveries in a row that were not taken.
    failures         INTEGER NOT NULL,
    -- Not before this time is the next one tried, in milliseconds since 1970.
    due_at_ms        INTEGER NOT NULL,
    -- The process that delivers, and until when no other does.
    claimed_by       TEXT    NOT NULL,
    claimed_until_ms INTEGER NOT NULL
) STRICT;

INSERT INTO webhook (one, position, failures, due_at_ms, claimed_by, claimed_until_ms) VALUES (1, 0, 0, 0, '', 0);
