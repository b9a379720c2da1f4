-- What this file is. One row, written when the file is made and never changed:
-- where an envelope lies follows from these figures, so opening the file with
-- others would look for money in the wrong place.
--
-- The version of the schema stands in `PRAGMA user_version`, and
-- `PRAGMA application_id` says that the file is Hongbao's.
CREATE TABLE meta (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    database      INTEGER NOT NULL CHECK (database >= 0 AND database < databases),
    databases     INTEGER NOT NULL CHECK (databases >= 1),
    tables        INTEGER NOT NULL CHECK (tables >= 1),
    zone_offset_s INTEGER NOT NULL
) STRICT;
