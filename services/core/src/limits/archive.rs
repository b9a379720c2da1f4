//! Bounds of tables that are sealed and exported, and of the store that they are exported to.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::OLD_READS_MAX;

/// Tries of a manifest that met another one at its place in the chain.
pub const SEAL_TRIES_MAX: u32 = 8;
/// Days after which a configuration may let a dated table be sealed. What may still be paid, opened or refunded is
/// younger than the fewest of them, which is asserted below.
pub const SEAL_AFTER_DAYS: RangeInclusive<u32> = 45..=3_650;
/// Days after which a configuration may let a sealed table be exported.
pub const EXPORT_AFTER_DAYS: RangeInclusive<u32> = 45..=36_500;
/// Rows, envelopes and entries, of one part of an exported table, unless a single envelope has more: what a lookup reads.
pub const EXPORT_PART_ROWS_MAX: usize = 16_384;
/// Bytes of the file of one exported table: it is made in memory. A larger table stays where it is.
pub const EXPORT_FILE_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes of footers of exported tables that a process remembers, as they stand in the files.
pub const EXPORT_FOOTERS_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Rows of exported tables that a process remembers, of the parts that it has read last.
pub const EXPORT_ROWS_KEPT_MAX: u64 = 4 * EXPORT_PART_ROWS_MAX as u64;
/// Characters of the id of an archive, all of them ASCII.
pub const ARCHIVE_ID_CHARS_MAX: usize = 64;
/// Ids of exported tables that a process remembers, of the parts in which it has looked for one last.
pub const EXPORT_IDS_KEPT_MAX: u64 = 16 * EXPORT_PART_ROWS_MAX as u64;
/// Threads of a process that wait for one archive at the same time, or requests to one in S3: old reads, and what else it
/// does there.
pub const EXPORT_THREADS_MAX: usize = OLD_READS_MAX + 2;
/// Bytes of a file of the archive that are read at once, where all of it is compared with its hash.
pub const EXPORT_READ_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bytes that are read at once of a file that users wait for.
pub const EXPORT_ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// How long the archive may take for one answer. The whole of a file may take longer.
pub const EXPORT_ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How long it may take to read [`EXPORT_READ_BYTES_MAX`].
pub const EXPORT_READ_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to write a file, or to read the whole of one.
pub const EXPORT_FILE_WITHIN: Duration = Duration::from_secs(600);
/// How often a request to S3 is made again that failed, within the time that it has.
pub const S3_RETRIES_MAX: usize = 2;
/// How long it may take to connect to S3. The client divides it by the addresses of the server's name, of which there
/// may be eight.
pub const S3_CONNECT_WITHIN: Duration = Duration::from_secs(8);
/// How long a connection to S3 is kept that is not used: less than its servers keep one.
pub const S3_IDLE_WITHIN: Duration = Duration::from_secs(4);
/// Bytes that are read of what S3 says of an error.
pub const S3_ERROR_BYTES_MAX: usize = 64 * 1024;
/// Days after the end of a month at which the wallet's transfers of it are sealed. Nothing rests on their number: what
/// comes later belongs to a later month.
pub const MONTH_SEALED_AFTER_DAYS: i32 = 7;
/// Transfers of a block, which is what an audit reads again of a sealed month.
pub const MONTH_BLOCK_TRANSFERS: u32 = 10_000;
/// Rows of a month that are written in one statement.
pub const MONTH_ROWS_AT_ONCE_MAX: usize = 1_000;
