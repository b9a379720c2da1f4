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
-- Of which version of the topology the fence is, once there is one; and the SETs whose
-- databases were not reached and not asked, each with the reason that an operator gave.
CREATE TABLE IF NOT EXISTS {db}.slot_fence_version (
    one     TINYINT       NOT NULL PRIMARY KEY,
    version BIGINT        NOT NULL,
    forced  VARCHAR(1000) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
) ENGINE=InnoDB;
