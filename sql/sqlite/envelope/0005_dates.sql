-- Which date each day table holds. A table that has no row here was made by 0002,
-- and may hold several dates with its day of month: the next rotation sorts them.
CREATE TABLE day_table (
    y    INTEGER NOT NULL,
    dd   INTEGER NOT NULL CHECK (dd BETWEEN 1 AND 31),
    date INTEGER NOT NULL,
    PRIMARY KEY (y, dd)
) STRICT, WITHOUT ROWID;
