-- A table of the envelopes of one date, and its journal: what 0002 and 0003 made,
-- and refuses the ids of all other dates. A writer that knows it by an older date
-- writes nothing into it, and reads again.
--
-- {span} stands in the tables' names: the day of month in a day table, the date in
-- a dated one. Indexes have the date in their names, for they keep them when the
-- tables are renamed. {from} and {until} are the first bytes of ids.
CREATE TABLE envelope_{y}_{span} (
    id            BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    sender        TEXT    NOT NULL,
    kind          TEXT    NOT NULL CHECK (kind IN ('lucky', 'equal')),
    total_fen     INTEGER NOT NULL CHECK (total_fen >= 1),
    shares        INTEGER NOT NULL CHECK (shares >= 1),
    share_cap_fen INTEGER NOT NULL CHECK (share_cap_fen >= 1),
    greeting      TEXT    NOT NULL,
    audience_type TEXT    NOT NULL CHECK (audience_type IN ('link', 'group', 'user')),
    audience_id   TEXT    CHECK ((audience_type = 'link') = (audience_id IS NULL)),
    seed          BLOB    NOT NULL CHECK (length(seed) = 32),
    created_at_ms INTEGER NOT NULL,
    lifetime_ms   INTEGER NOT NULL CHECK (lifetime_ms >= 0),
    stage         INTEGER NOT NULL CHECK (stage IN (0, 1, 2, 3)),
    expires_at_ms INTEGER CHECK ((stage IN (1, 3)) = (expires_at_ms IS NOT NULL)),
    settled_seq   INTEGER NOT NULL CHECK (settled_seq >= 0),
    CONSTRAINT ids_of_{date} CHECK (id >= x'{from}' AND id < x'{until}')
) STRICT, WITHOUT ROWID;

CREATE INDEX envelope_{y}_{date}_unpaid ON envelope_{y}_{span} (id) WHERE stage = 0;
CREATE INDEX envelope_{y}_{date}_active ON envelope_{y}_{span} (id) WHERE stage = 1;
CREATE INDEX envelope_{y}_{date}_expiry ON envelope_{y}_{span} (expires_at_ms) WHERE stage = 1;
CREATE INDEX envelope_{y}_{date}_cancelled ON envelope_{y}_{span} (id) WHERE stage = 2;

CREATE TABLE entry_{y}_{span} (
    position      INTEGER NOT NULL PRIMARY KEY,
    envelope_id   BLOB    NOT NULL,
    seq           INTEGER NOT NULL CHECK (seq >= 1),
    user_id       TEXT    NOT NULL,
    amount_fen    INTEGER NOT NULL CHECK (amount_fen >= 1),
    remaining_fen INTEGER NOT NULL CHECK (remaining_fen >= 0),
    at_ms         INTEGER NOT NULL,
    CONSTRAINT ids_of_{date} CHECK (envelope_id >= x'{from}' AND envelope_id < x'{until}')
) STRICT;

CREATE UNIQUE INDEX entry_{y}_{date}_seq ON entry_{y}_{span} (envelope_id, seq);
CREATE UNIQUE INDEX entry_{y}_{date}_user ON entry_{y}_{span} (envelope_id, user_id);
