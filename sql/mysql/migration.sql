-- Which migrations this database has had: the names of their files, each written
-- after the last statement of its file.
CREATE TABLE IF NOT EXISTS {db}.migration (
    name       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    applied_at DATETIME    NOT NULL
) ENGINE=InnoDB;
