-- Commits that change a row of this table make durable what was read before
-- them: InnoDB shows a commit before its redo log is on the disk. The figures
-- mean nothing. The table exists in every database; of those on one server, a
-- process uses that of the first.
CREATE TABLE IF NOT EXISTS {db}.barrier (
    place   TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    commits BIGINT           NOT NULL
) ENGINE=InnoDB;
