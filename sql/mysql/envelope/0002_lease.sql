-- Which process runs which background job of the SET, until when by this
-- database's clock. Advisory: it saves doing everything twice. That nothing is
-- done twice follows from the keys of journals and transfers, whoever holds a
-- lease. The table exists in every database; a SET uses that of its first one.
CREATE TABLE IF NOT EXISTS {db}.worker_lease (
    job        VARCHAR(32)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    holder     VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    held_until DATETIME(3)  NOT NULL
) ENGINE=InnoDB;
