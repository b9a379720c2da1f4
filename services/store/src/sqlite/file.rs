//! One SQLite file: a single writer, a few readers, and its durability.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio::sync::{Mutex, MutexGuard};

/// How long a writer waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read one file at the same time.
const READERS_MAX: u32 = 4;
/// Pages that the write-ahead log may hold before they go into the file: 64 MiB.
/// Fewer would write the same index pages again and again under load.
const CHECKPOINT_PAGES: u32 = 16_384;
/// Prepared statements that a connection keeps: the hot ones of some ten tables.
const STATEMENTS_MAX: usize = 128;
/// Page cache of a connection, in KiB.
const CACHE_KIB: u32 = 65_536;

/// What may differ between files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every commit is on the disk when it returns (WAL, `synchronous=FULL`).
    Durable,
    /// For simulations that do not survive their process: commits are not flushed.
    Volatile,
    /// Nothing is written: for the audit of files that a service may be using.
    ReadOnly,
}

/// An open SQLite file.
pub struct SqliteFile {
    path: PathBuf,
    durability: String,
    writer: Option<Mutex<SqliteConnection>>,
    /// The writer may still be inside a transaction whose verb failed or was dropped.
    unfinished: AtomicBool,
    readers: SqlitePool,
}

impl SqliteFile {
    /// Opens the file, making it unless the mode is read-only, and reads back
    /// the durability in force.
    pub async fn open(path: &Path, mode: Mode) -> Result<SqliteFile, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENTS_MAX)
            .disable_statement_logging()
            .pragma("cache_size", format!("-{CACHE_KIB}"));
        let (options, mut writer) = if mode == Mode::ReadOnly {
            (options.read_only(true), None)
        } else {
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(if mode == Mode::Durable { SqliteSynchronous::Full } else { SqliteSynchronous::Off })
                .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string());
            let mut writer = SqliteConnection::connect_with(&options).await?;
            check_writable(&mut writer).await?;
            sync_what_was_left(&mut writer).await?;
            (options.read_only(true), Some(writer))
        };
        let durability = match &mut writer {
            Some(writer) => durability_of(writer).await?,
            None => "read-only".to_owned(),
        };
        // A connection to a file does not go stale, and a new one has to read the whole schema.
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await?;
        Ok(SqliteFile {
            path: path.to_owned(),
            durability,
            writer: writer.map(Mutex::new),
            unfinished: AtomicBool::new(false),
            readers,
        })
    }

    /// The one connection that writes; callers queue for it in order.
    ///
    /// # Panics
    /// If the file was opened read-only: a caller that writes has no such file.
    pub async fn writer(&self) -> MutexGuard<'_, SqliteConnection> {
        let mut writer = self.writer.as_ref().expect("the file was not opened read-only").lock().await;
        if self.unfinished.load(Ordering::Acquire) {
            // It fails when SQLite has rolled back by itself, which is just as well.
            let _ = sqlx::query("ROLLBACK").execute(&mut *writer).await;
            self.unfinished.store(false, Ordering::Release);
        }
        writer
    }

    /// Begins a write transaction, as soon as the writer is free.
    ///
    /// It is sqlx' own `begin` that this avoids: when a full disk makes SQLite
    /// roll back by itself, sqlx keeps counting the transaction as open, and
    /// its connection begins none ever after.
    ///
    /// # Panics
    /// If the file was opened read-only.
    pub async fn begin(&self) -> Result<WriteTransaction<'_>, sqlx::Error> {
        let mut writer = self.writer().await;
        self.unfinished.store(true, Ordering::Release);
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *writer).await?;
        Ok(WriteTransaction { writer, unfinished: &self.unfinished })
    }

    /// Connections that read.
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The durability in force, as read back: `journal_mode=wal synchronous=FULL`.
    pub fn durability(&self) -> &str {
        &self.durability
    }
}

/// A write transaction. Dropped without a commit it is rolled back, by the next
/// that asks for the writer.
pub struct WriteTransaction<'a> {
    writer: MutexGuard<'a, SqliteConnection>,
    unfinished: &'a AtomicBool,
}

impl WriteTransaction<'_> {
    /// Commits; durable when it returns. After an error, see
    /// [`commit_failed`](super::failure::commit_failed) for what it may mean.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        match sqlx::query("COMMIT").execute(&mut *self.writer).await {
            Ok(_) => {
                self.unfinished.store(false, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                self.rollback().await;
                Err(error)
            }
        }
    }

    /// Takes everything back, and frees the file for other processes at once.
    pub async fn rollback(mut self) {
        if sqlx::query("ROLLBACK").execute(&mut *self.writer).await.is_ok() {
            self.unfinished.store(false, Ordering::Release);
        }
    }
}

impl Deref for WriteTransaction<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.writer
    }
}

impl DerefMut for WriteTransaction<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.writer
    }
}

/// Fails if the file may not be written: SQLite then opens it to be read, without
/// a word, and says so no earlier than at the first statement that writes.
async fn check_writable(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql("BEGIN IMMEDIATE; CREATE TABLE write_probe (one); ROLLBACK;")).await?;
    Ok(())
}

/// A process that was killed while it synced a commit has left frames that can be
/// read now and are not on the disk. A checkpoint syncs the log before it does anything else.
async fn sync_what_was_left(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").await?;
    Ok(())
}

async fn durability_of(connection: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    let mode: String = sqlx::query("PRAGMA journal_mode").fetch_one(&mut *connection).await?.try_get(0)?;
    let synchronous: i64 = sqlx::query("PRAGMA synchronous").fetch_one(&mut *connection).await?.try_get(0)?;
    let synchronous = ["OFF", "NORMAL", "FULL", "EXTRA"].get(synchronous as usize).copied().unwrap_or("unknown");
    Ok(format!("journal_mode={mode} synchronous={synchronous}"))
}
