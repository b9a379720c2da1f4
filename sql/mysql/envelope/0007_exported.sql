-- Sealed tables whose rows lie in a file of the archive: which file, and by what it is
-- known. A row is written once, after the file was read back and compared with the
-- manifest, and before the table is dropped. From then on the file is what is read.
--
-- `manifest_hash` is the hash of the manifest, so that the row says of what it is also where
-- the manifests were changed. Hashes are SHA-256; that of the footer is over the
-- last `footer_bytes` bytes of the file.
CREATE TABLE IF NOT EXISTS {db}.exported (
    y             BIGINT         NOT NULL,
    date          BIGINT         NOT NULL,
    number        BIGINT         NOT NULL,
    manifest_hash BINARY(32)     NOT NULL,
    path          VARBINARY(500) NOT NULL,
    bytes         BIGINT         NOT NULL,
    sha256        BINARY(32)     NOT NULL,
    footer_bytes  BIGINT         NOT NULL,
    footer_sha256 BINARY(32)     NOT NULL,
    PRIMARY KEY (y, date)
) ENGINE=InnoDB;
