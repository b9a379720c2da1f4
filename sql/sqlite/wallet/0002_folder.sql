-- Which folder this file belongs to. All files of a folder have this table, the
-- wallet's too, with the same id and the same count of starts; so a file that is
-- missing, empty, another folder's, or an old copy is noticed before anything
-- is served. The file db_00 comes first: it is complete when all of them agree.
CREATE TABLE folder (
    one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id       BLOB    NOT NULL CHECK (length(id) = 16),
    -- The names of all files of the folder, the first one first, a space between them.
    files    TEXT    NOT NULL,
    -- How often the folder was opened to be written; 0 until it has taken the file in.
    starts   INTEGER NOT NULL CHECK (starts >= 0),
    complete INTEGER NOT NULL CHECK (complete IN (0, 1)),
    -- Counts commits that only try whether the disk takes one.
    tries    INTEGER NOT NULL
) STRICT;

INSERT INTO folder (one, id, files, starts, complete, tries) VALUES (1, randomblob(16), '', 0, 0, 0);
