//! One SQLite file: a single writer, a few readers, and its durability.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use super::failure::{commit_failed, unavailable};
use super::seen::beside;
use super::tables::Tables;
use super::watch::Watch;
use crate::{DatabaseError, Durability};
use hongbao_core::limits::{SQLITE_BUSY_TIMEOUT, SQLITE_CLOSE_TRIES, SQLITE_READERS_MAX, SQLITE_STATEMENTS_MAX};

/// Pages that the write-ahead log may hold before they go into the file: 64 MiB.
/// Fewer would write the same index pages again and again under load.
const CHECKPOINT_PAGES: u32 = 16_384;
/// Page cache of a connection, in KiB.
const CACHE_KIB: u32 = 65_536;
/// Bytes that the log keeps of the disk after something that read for long made
/// it grow: twice what it holds before a checkpoint.
const LOG_KEPT_BYTES: u32 = 2 * CHECKPOINT_PAGES * 4_096;
/// A commit that says nothing, to see whether the disk takes one.
const TRY_A_COMMIT: &str = "UPDATE folder SET tries = tries + 1";

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
    mode: Mode,
    durability: parking_lot::Mutex<Durability>,
    /// Absent when the file is only read, and inside when it was closed.
    writer: Option<Mutex<Option<SqliteConnection>>>,
    /// The writer may still be inside a transaction whose verb failed or was dropped.
    unfinished: AtomicBool,
    watch: Watch,
    /// Absent until [`SqliteFile::watch`].
    tables: Mutex<Option<Tables>>,
    /// What of them was missing at the last look.
    lacks: parking_lot::Mutex<Option<String>>,
    readers: SqlitePool,
}

impl SqliteFile {
    /// Opens the file, making it unless the mode is read-only, and reads back
    /// the durability in force.
    pub async fn open(path: &Path, mode: Mode) -> Result<SqliteFile, sqlx::Error> {
        // The name is looked up again later, when it must still mean the same.
        let path = std::path::absolute(path)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(SQLITE_BUSY_TIMEOUT)
            .statement_cache_capacity(SQLITE_STATEMENTS_MAX)
            .disable_statement_logging()
            .pragma("cache_size", format!("-{CACHE_KIB}"));
        let (options, mut writer) = if mode == Mode::ReadOnly {
            (options.read_only(true), None)
        } else {
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(if mode == Mode::Durable { SqliteSynchronous::Full } else { SqliteSynchronous::Off })
                .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
                .pragma("journal_size_limit", LOG_KEPT_BYTES.to_string());
            let mut writer = SqliteConnection::connect_with(&options).await?;
            check_writable(&mut writer).await?;
            sync_what_was_left(&mut writer).await?;
            (options.read_only(true), Some(writer))
        };
        let durability = match &mut writer {
            Some(writer) => durability_of(writer).await?,
            None => Durability { settings: "read-only".to_owned(), full: true },
        };
        // A connection to a file does not go stale, and a new one has to read the whole schema.
        let readers = SqlitePoolOptions::new()
            .max_connections(SQLITE_READERS_MAX)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await?;
        Ok(SqliteFile {
            path,
            mode,
            durability: parking_lot::Mutex::new(durability),
            writer: writer.map(|writer| Mutex::new(Some(writer))),
            unfinished: AtomicBool::new(false),
            watch: Watch::default(),
            tables: Mutex::new(None),
            lacks: parking_lot::Mutex::new(None),
            readers,
        })
    }

    /// The one connection that writes; callers queue for it in order.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when the file was closed, or is refused by [`SqliteFile::usable`].
    ///
    /// # Panics
    /// If the file was opened read-only: a caller that writes has no such file.
    pub async fn writer(&self) -> Result<Writer<'_>, DatabaseError> {
        self.usable()?;
        let mut writer = self.lock_writer().await?;
        self.watch.before(&self.path, &mut writer).await?;
        Ok(writer)
    }

    /// The same without a look at the file.
    pub async fn lock_writer(&self) -> Result<Writer<'_>, DatabaseError> {
        let writer = self.writer.as_ref().expect("the file was not opened read-only").lock().await;
        let connection = MutexGuard::try_map(writer, Option::as_mut);
        let connection = connection.map_err(|_| DatabaseError::Unavailable("the database was closed".to_owned()))?;
        let mut writer = Writer { file: self, connection };
        if self.unfinished.load(Ordering::Acquire) {
            // It fails when SQLite has rolled back by itself, which is just as well.
            let _ = sqlx::query("ROLLBACK").execute(&mut *writer).await;
            self.unfinished.store(false, Ordering::Release);
        }
        Ok(writer)
    }

    /// Begins a write transaction, as soon as the writer is free.
    ///
    /// It is sqlx' own `begin` that this avoids: when a full disk makes SQLite
    /// roll back by itself, sqlx keeps counting the transaction as open, and
    /// its connection begins none ever after.
    ///
    /// # Errors
    /// As [`SqliteFile::writer`], and when another process keeps the write lock.
    ///
    /// # Panics
    /// If the file was opened read-only.
    pub async fn begin(&self) -> Result<WriteTransaction<'_>, DatabaseError> {
        let mut writer = self.writer().await?;
        self.unfinished.store(true, Ordering::Release);
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *writer).await.map_err(unavailable)?;
        Ok(WriteTransaction { writer })
    }

    /// Connections that read.
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The durability in force, as last read back: `journal_mode=wal synchronous=FULL`.
    pub fn durability(&self) -> Durability {
        self.durability.lock().clone()
    }

    /// Whether the file may be used: it is not once a look, or a write, has found
    /// that it is not the file any more that was opened, or less durable.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] that says what was found.
    pub fn usable(&self) -> Result<(), DatabaseError> {
        self.watch.usable()
    }

    /// From now on the file must stay what it is: for the one process that owns its folder.
    pub async fn watch(&self) -> Result<(), DatabaseError> {
        let mut writer = self.lock_writer().await?;
        *self.tables.lock().await = Some(Tables::read(&mut writer).await.map_err(unavailable)?);
        self.watch.start(&self.path, &mut writer).await
    }

    /// What was there when [`SqliteFile::watch`] began and was missing at the last look: a table, a key, a trigger.
    pub fn lacks(&self) -> Option<String> {
        self.lacks.lock().clone()
    }

    /// Looks whether all still holds that is promised of the file: it is where it
    /// was and no other process writes it, commits are durable, its tables, keys and triggers
    /// are there, and the disk takes commits. All but the last are refused by
    /// [`SqliteFile::usable`] from here on, or no longer.
    pub async fn look(&self) -> Result<(), DatabaseError> {
        let mut writer = self.lock_writer().await?;
        let orderly = self.watch.is_settled();
        self.watch.before(&self.path, &mut writer).await?;
        let durability = durability_of(&mut writer).await.map_err(unavailable)?;
        *self.durability.lock() = durability.clone();
        if self.mode == Mode::Durable && !durability.full {
            let reason = format!("{}: commits are not durable any more: {}", self.path.display(), durability.settings);
            return Err(self.watch.refuse(reason));
        }
        let missing = match &mut *self.tables.lock().await {
            Some(tables) => tables.missing(&mut writer).await.map_err(unavailable)?,
            None => None,
        };
        *self.lacks.lock() = missing.clone();
        if let Some(missing) = missing {
            return Err(self.watch.refuse(format!("{}: {missing}", self.path.display())));
        }
        self.watch.accept();
        if orderly && !self.watch.commit_is_due() {
            return self.watch.after_reading(&self.path);
        }
        sqlx::query(TRY_A_COMMIT).execute(&mut *writer).await.map_err(commit_failed)?;
        writer.committed()
    }

    /// Puts all that the log holds into the file itself, and closes it. Then a
    /// copy of the file alone is complete.
    ///
    /// # Errors
    /// Why the log still holds commits. They are safe there.
    pub async fn close(&self) -> Result<(), String> {
        let named = |why: &dyn std::fmt::Display| {
            format!("{}: what its log holds could not be put into the file: {why}", self.path.display())
        };
        self.readers.close().await;
        let Some(writer) = &self.writer else { return Ok(()) };
        let Some(mut connection) = writer.lock().await.take() else { return Ok(()) };
        // Of a verb that failed or was dropped; without one it fails, which is just as well.
        let _ = sqlx::query("ROLLBACK").execute(&mut connection).await;
        let emptied = match self.watch.before(&self.path, &mut connection).await {
            Ok(()) => empty_log(&mut connection).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = emptied {
            // To close it now would try the same again, and on files that are not ours.
            std::mem::forget(connection);
            return Err(named(&reason));
        }
        connection.close().await.map_err(|error| named(&error))?;
        match std::fs::metadata(beside(&self.path, "-wal")) {
            Ok(log) if log.len() > 0 => Err(named(&"another program has written it")),
            _ => Ok(()),
        }
    }
}

/// The writer in use. Each write is followed by [`Writer::committed`].
pub struct Writer<'a> {
    file: &'a SqliteFile,
    connection: MappedMutexGuard<'a, SqliteConnection>,
}

impl Writer<'_> {
    /// To be called after a commit, before it is acknowledged.
    ///
    /// # Errors
    /// [`DatabaseError::Unknown`] if the file that it went into is not there any more.
    pub fn committed(&self) -> Result<(), DatabaseError> {
        self.file.watch.after_commit(&self.file.path)
    }
}

impl Deref for Writer<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Writer<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

/// A write transaction. Dropped without a commit it is rolled back, by the next
/// that asks for the writer.
pub struct WriteTransaction<'a> {
    writer: Writer<'a>,
}

impl WriteTransaction<'_> {
    /// Commits; durable when it returns.
    ///
    /// # Errors
    /// As [`commit_failed`] and [`Writer::committed`] say.
    pub async fn commit(mut self) -> Result<(), DatabaseError> {
        match sqlx::query("COMMIT").execute(&mut *self.writer).await {
            Ok(_) => {
                self.writer.file.unfinished.store(false, Ordering::Release);
                self.writer.committed()
            }
            Err(error) => {
                self.rollback().await;
                Err(commit_failed(error))
            }
        }
    }

    /// The same for a transaction that made, renamed or dropped tables: what is there
    /// now is what must be there from here on.
    ///
    /// # Errors
    /// As [`WriteTransaction::commit`].
    pub async fn commit_tables(mut self) -> Result<(), DatabaseError> {
        let file = self.writer.file;
        let tables = Tables::read(&mut self.writer).await.map_err(unavailable)?;
        // Held until it is known whether they are there.
        let mut known = file.tables.lock().await;
        self.commit().await?;
        if known.is_some() {
            *known = Some(tables);
        }
        Ok(())
    }

    /// Takes everything back, and frees the file for other processes at once.
    pub async fn rollback(mut self) {
        if sqlx::query("ROLLBACK").execute(&mut *self.writer).await.is_ok() {
            self.writer.file.unfinished.store(false, Ordering::Release);
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
/// read now and are not on the disk. A checkpoint syncs the log before it does anything
/// else; it does nothing where another connection checkpoints or recovers the log.
async fn sync_what_was_left(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let busy: i64 = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await?.try_get(0)?;
    match busy {
        0 => Ok(()),
        _ => Err(sqlx::Error::Protocol("another program is emptying the log; try again".to_owned())),
    }
}

async fn durability_of(connection: &mut SqliteConnection) -> Result<Durability, sqlx::Error> {
    let mode: String = sqlx::query("PRAGMA journal_mode").fetch_one(&mut *connection).await?.try_get(0)?;
    let synchronous: i64 = sqlx::query("PRAGMA synchronous").fetch_one(&mut *connection).await?.try_get(0)?;
    let synchronous = ["OFF", "NORMAL", "FULL", "EXTRA"].get(synchronous as usize).copied().unwrap_or("unknown");
    let full = mode == "wal" && matches!(synchronous, "FULL" | "EXTRA");
    Ok(Durability { settings: format!("journal_mode={mode} synchronous={synchronous}"), full })
}

/// Waits for readers of what the log holds, but not for ever.
async fn empty_log(connection: &mut SqliteConnection) -> Result<(), String> {
    for _ in 0..SQLITE_CLOSE_TRIES {
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
        let busy: i64 = row.and_then(|row| row.try_get(0)).map_err(|error| error.to_string())?;
        if busy == 0 {
            return Ok(());
        }
    }
    Err("another program is reading it".to_owned())
}
