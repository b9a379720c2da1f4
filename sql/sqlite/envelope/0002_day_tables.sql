-- One day table: the envelopes that were made on day of month {dd} and belong
-- to table {y}, and their journals. It is run for every day and every table
-- that the file holds, ahead of time and never on the path of a request.
--
-- An opening updates nothing. The envelope row says what was paid for; what is
-- left of it stands in the journal's last entry. So an opening is one insert,
-- many openings are one multi-row insert, and no row is hot. The envelope row
-- changes when it is paid, when it is cancelled, and when the credit worker
-- moves settled_seq behind the openings' back.
--
-- stage is 0 created, 1 active, 2 cancelled, 3 settled. The partial indexes hold
-- only rows that wait for something (a payment, a credit, the expiry), so they
-- stay small however many envelopes the table has seen.
CREATE TABLE envelope_{y}_{dd} (
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
    settled_seq   INTEGER NOT NULL CHECK (settled_seq >= 0)
) STRICT, WITHOUT ROWID;

CREATE INDEX envelope_{y}_{dd}_unpaid ON envelope_{y}_{dd} (id) WHERE stage = 0;
CREATE INDEX envelope_{y}_{dd}_active ON envelope_{y}_{dd} (id) WHERE stage = 1;
CREATE INDEX envelope_{y}_{dd}_expiry ON envelope_{y}_{dd} (expires_at_ms) WHERE stage = 1;

-- The journal. Its two unique keys are the fence, and nothing else is needed:
-- two writers that decided on the same state insert the same seq, and the first
-- key lets one of them win (invariant I5); a user's second opening meets the
-- second key (I2). Caches, queues and counters may be wrong about an envelope;
-- these keys are not.
--
-- position is the order of writing: there is one writer at a time and no row is
-- ever deleted, so it grows without hiding a late row behind an early one, and
-- the credit worker can follow it. user_id is '#refund' for the refund, the
-- last entry: no user can have this name, and the second key lets an envelope
-- be refunded once.
--
-- No CHECK here calls a function. With one, SQLite copies every page that a
-- multi-row insert touches into a statement journal, although OR ROLLBACK makes
-- that needless: twice the writes for the hottest statement of all. The length
-- of envelope_id is checked where the row is read.
CREATE TABLE entry_{y}_{dd} (
    position      INTEGER NOT NULL PRIMARY KEY,
    envelope_id   BLOB    NOT NULL,
    seq           INTEGER NOT NULL CHECK (seq >= 1),
    user_id       TEXT    NOT NULL,
    amount_fen    INTEGER NOT NULL CHECK (amount_fen >= 1),
    remaining_fen INTEGER NOT NULL CHECK (remaining_fen >= 0),
    at_ms         INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX entry_{y}_{dd}_seq ON entry_{y}_{dd} (envelope_id, seq);
CREATE UNIQUE INDEX entry_{y}_{dd}_user ON entry_{y}_{dd} (envelope_id, user_id);
