//! A copy of several databases as of one moment, while others write them.
//!
//! What is in one file follows from what is in another: a credit from its
//! opening, an active envelope from its payment. So the copies must all be of
//! one moment, and no order of copying them one after the other would do.
//!
//! For that moment the copier holds the write lock of every file. It starts
//! `VACUUM INTO` on all of them, and gives the locks back as soon as each has
//! begun to read: from then on it reads what was there, whatever is written
//! (<https://sqlite.org/isolation.html>). That it has begun is seen from outside:
//! the first byte of a copy is written after its transaction was opened. So
//! writers wait until the copies have begun, however large the files are.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::task::JoinHandle;

use super::failure::unavailable;
use crate::DatabaseError;
use hongbao_core::limits::{SQLITE_LOCK_TRIES, SQLITE_LOCK_WITHIN, SQLITE_LOCKS_HELD_MAX};

/// Between two tries, for those who have waited.
const LOCK_PAUSE: Duration = Duration::from_millis(300);
/// How often it is looked whether all copies have begun.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// The cache of a connection that copies, in KiB: little, so that the first bytes are written soon.
const COPY_CACHE_KIB: u32 = 128;

/// A file and where its copy goes.
pub struct Copy {
    /// A database, which may be in use.
    pub from: PathBuf,
    /// A file that is not there yet.
    pub to: PathBuf,
}

/// Copies all files as of one moment; gives the time for which writers had to wait.
/// The caller has to flush the copies: to do it on the way would hold up the writers.
///
/// # Errors
/// [`DatabaseError::Unavailable`]: a lock was not to be had, or a file not to be read
/// or written. What is there of the copies is worthless then.
pub async fn copy(files: &[Copy]) -> Result<Duration, DatabaseError> {
    let mut writers = Vec::new();
    for file in files {
        let options = SqliteConnectOptions::new().filename(&file.from).busy_timeout(Duration::ZERO);
        writers.push(connect(&file.from, options).await?);
    }
    let mut readers = Vec::new();
    for file in files {
        let options = SqliteConnectOptions::new().filename(&file.from).read_only(true);
        // A copy has the settings of its source.
        let options = options.synchronous(SqliteSynchronous::Off);
        readers.push(connect(&file.from, options.pragma("cache_size", format!("-{COPY_CACHE_KIB}"))).await?);
    }
    let locked_at = lock_all(&mut writers).await?;
    let copies: Vec<JoinHandle<_>> =
        files.iter().zip(readers).map(|(file, reader)| tokio::spawn(copy_one(reader, file.to.clone()))).collect();
    let begun = all_have_begun(files, &copies, locked_at).await;
    unlock_all(&mut writers).await;
    let waited = locked_at.elapsed();
    if !begun {
        copies.iter().for_each(JoinHandle::abort);
        let reason =
            format!("the copies did not begin within {SQLITE_LOCKS_HELD_MAX:?}: the disk is too slow for it now");
        return Err(DatabaseError::Unavailable(reason));
    }
    let mut readers = Vec::new();
    for (copy, file) in copies.into_iter().zip(files) {
        let done = copy.await.map_err(|error| DatabaseError::Unavailable(error.to_string()))?;
        readers.push(done.map_err(|error| cannot(&file.from, &error))?);
    }
    // The last connection to a database empties its log, unless it may only read:
    // where no process serves, these are the last, and the files stay as they were.
    for connection in writers.into_iter().chain(readers) {
        connection.close().await.map_err(unavailable)?;
    }
    Ok(waited)
}

async fn connect(path: &Path, options: SqliteConnectOptions) -> Result<SqliteConnection, DatabaseError> {
    options.disable_statement_logging().connect().await.map_err(|error| cannot(path, &error))
}

async fn copy_one(mut reader: SqliteConnection, to: PathBuf) -> Result<SqliteConnection, sqlx::Error> {
    let to = to.to_str().ok_or_else(|| sqlx::Error::Configuration("the name is not UTF-8".into()))?.to_owned();
    sqlx::query("VACUUM INTO ?").bind(to).execute(&mut reader).await?;
    Ok(reader)
}

/// Takes the write lock of every file. The files of a busy service are locked
/// most of the time, so it asks again without a pause, but not for long while
/// it holds others; and no holder of one of these locks waits for another.
async fn lock_all(writers: &mut [SqliteConnection]) -> Result<Instant, DatabaseError> {
    let mut failure = None;
    for _ in 0..SQLITE_LOCK_TRIES {
        let started = Instant::now();
        match lock_within(writers, started + SQLITE_LOCK_WITHIN).await {
            Ok(()) => return Ok(started),
            Err(error) => failure = Some(error),
        }
        unlock_all(writers).await;
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Err(failure.map_or_else(|| DatabaseError::Unavailable("no lock".to_owned()), unavailable))
}

async fn lock_within(writers: &mut [SqliteConnection], deadline: Instant) -> Result<(), sqlx::Error> {
    for writer in writers {
        while let Err(error) = sqlx::query("BEGIN IMMEDIATE").execute(&mut *writer).await {
            if Instant::now() >= deadline {
                return Err(error);
            }
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

async fn unlock_all(writers: &mut [SqliteConnection]) {
    for writer in writers {
        // It fails for those that had no lock.
        let _ = sqlx::query("ROLLBACK").execute(writer).await;
    }
}

async fn all_have_begun<T>(files: &[Copy], copies: &[JoinHandle<T>], locked_at: Instant) -> bool {
    let has_begun = |(file, copy): (&Copy, &JoinHandle<T>)| {
        copy.is_finished() || std::fs::metadata(&file.to).is_ok_and(|found| found.len() > 0)
    };
    while locked_at.elapsed() < SQLITE_LOCKS_HELD_MAX {
        if files.iter().zip(copies).all(has_begun) {
            return true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    false
}

fn cannot(path: &Path, why: &dyn std::fmt::Display) -> DatabaseError {
    DatabaseError::Unavailable(format!("{}: {why}", path.display()))
}
