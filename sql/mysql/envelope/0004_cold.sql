-- The database of the tables that are renamed to the date that they hold.
CREATE DATABASE IF NOT EXISTS {db}_cold CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
