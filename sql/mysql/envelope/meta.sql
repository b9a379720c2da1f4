-- What a database is. One row, written when it is made: where an envelope lies
-- follows from these figures, so using the database with others would look for
-- money in the wrong place. `version` is that of the schema; it is written last,
-- so a database whose migration stopped half way does not look complete.
CREATE TABLE IF NOT EXISTS {db}.meta (
    one           TINYINT NOT NULL PRIMARY KEY,
    version       INT     NOT NULL,
    db_number     INT     NOT NULL,
    db_count      INT     NOT NULL,
    table_count   INT     NOT NULL,
    zone_offset_s INT     NOT NULL
) ENGINE=InnoDB;
