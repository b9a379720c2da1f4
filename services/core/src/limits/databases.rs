//! Bounds of what databases are asked.

use std::time::Duration;

/// Tries of a reading during which the database server was started anew or replaced by another node.
pub const DURABLE_READ_TRIES_MAX: u32 = 3;
/// Tries of a transaction that the database rolled back because of a deadlock.
pub const DEADLOCK_TRIES_MAX: u32 = 8;
/// The longest pause before the second of them, which is twice as long before each further one: half a second in all.
pub const DEADLOCK_PAUSE_MAX: Duration = Duration::from_millis(4);
/// Tries of a migration's statement that met another process.
pub const MIGRATION_TRIES_MAX: u32 = 20;
/// How long a connection that is not needed any more may take to close.
pub const CONNECTION_CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Prepared statements that a connection to MariaDB keeps: a dozen for each of the few
/// tables that are in use. The database allows 16,382 over all connections
/// (`max_prepared_stmt_count`), and a SET has some processes with some dozens
/// of connections each.
pub const MYSQL_STATEMENTS_MAX: usize = 96;
/// Values in one list of a statement. MariaDB rewrites longer lists into joins with tables
/// that it makes for them (`in_predicate_conversion_threshold`, 1,000), and may then
/// read the whole table instead of looking for each.
pub const SQL_LIST_MAX: usize = 500;
/// Tables that one statement looks at.
pub const TABLES_AT_ONCE_MAX: usize = 100;
/// How long a writer of SQLite waits for the write lock of another process.
pub const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read one SQLite file at the same time.
pub const SQLITE_READERS_MAX: u32 = 4;
/// Prepared statements that a connection to SQLite keeps: the hot ones of some ten tables.
pub const SQLITE_STATEMENTS_MAX: usize = 128;
/// Tries to empty the write-ahead log at the end, each for [`SQLITE_BUSY_TIMEOUT`].
pub const SQLITE_CLOSE_TRIES: u32 = 2;
/// How long a backup may make writers wait.
pub const SQLITE_LOCKS_HELD_MAX: Duration = Duration::from_secs(2);
/// Tries of a backup to get the locks of all files.
pub const SQLITE_LOCK_TRIES: u32 = 5;
/// How long such a try may take.
pub const SQLITE_LOCK_WITHIN: Duration = Duration::from_millis(500);
