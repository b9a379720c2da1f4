-- The fence: which ids this database accepts, of which slot and of which time. An
-- envelope is made by a statement that finds its id here, and otherwise makes nothing.
-- `hongbao migrate` writes it from the slot maps of the topology: what a SET loses is
-- taken from its databases, for ids of a time well ahead, before another one gets it.
-- db_count is the fold that leads here. Times are those in the ids, in milliseconds.
CREATE TABLE IF NOT EXISTS {db}.slot_fence (
    slot     INT    NOT NULL,
    from_ms  BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    db_count INT    NOT NULL,
    PRIMARY KEY (slot, from_ms)
) ENGINE=InnoDB;
-- Which topology has taken from this database last, and which has given to it, with the
-- maps of all SETs; and of the SETs whose databases were not asked the last one's
-- reason, as an operator gave it.
CREATE TABLE IF NOT EXISTS {db}.slot_fence_version (
    one          TINYINT       NOT NULL PRIMARY KEY,
    narrowed     BIGINT        NOT NULL,
    narrowed_maps MEDIUMTEXT   CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    widened      BIGINT        NOT NULL,
    widened_maps MEDIUMTEXT    CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    forced       VARCHAR(8000) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
) ENGINE=InnoDB;
