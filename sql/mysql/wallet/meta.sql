-- What a database is. One row, written when it is made: in which database a
-- user's money lies follows from these values, so with others a wallet would
-- look for it in the wrong place. `slots` are the slots of users whose money is
-- here, "00 02 04"; a slot that is to move has to take its transfers along.
-- `version` is that of the schema and is written last.
CREATE TABLE IF NOT EXISTS {db}.meta (
    one       TINYINT      NOT NULL PRIMARY KEY,
    version   INT          NOT NULL,
    db_number INT          NOT NULL,
    db_count  INT          NOT NULL,
    slots     VARCHAR(300) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE=InnoDB;
