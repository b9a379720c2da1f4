//! Whether the files under an open database are still those that it was opened
//! with, and whether another process writes them.
//!
//! Nothing is compared before [`Watch::start`], which the owner of the folder
//! calls. From then on each use of the writer is preceded by a look, and each
//! commit is followed by one, before it is acknowledged: three lookups of names
//! each, a few microseconds beside a flush of the disk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::{Row as _, SqliteConnection};

use super::failure::unavailable;
use super::seen::Seen;
use crate::DatabaseError;

/// How long nothing may have been written before a commit is tried, to see
/// whether the disk takes one.
const TRY_A_COMMIT_AFTER: Duration = Duration::from_secs(5);

/// What is known of the files of one database.
#[derive(Default)]
pub struct Watch {
    known: Mutex<Option<Known>>,
    /// Why the file is refused.
    fault: Mutex<Option<String>>,
    /// Whether there is a fault: what each verb asks.
    refused: AtomicBool,
}

#[derive(Clone, Copy)]
struct Known {
    seen: Seen,
    /// Changes when another connection commits.
    data_version: i64,
    /// `seen` holds what the last user of the writer wrote. It does not while
    /// the writer is in use, nor after a verb that failed or was dropped.
    settled: bool,
    written_at: Instant,
}

impl Watch {
    /// Begins to compare with what is there now.
    pub async fn start(&self, path: &Path, connection: &mut SqliteConnection) -> Result<(), DatabaseError> {
        let data_version = data_version(connection).await?;
        let seen = Seen::take(path).map_err(DatabaseError::Unavailable)?;
        *self.known.lock() = Some(Known { seen, data_version, settled: true, written_at: Instant::now() });
        Ok(())
    }

    /// Whether the file may be used.
    pub fn usable(&self) -> Result<(), DatabaseError> {
        if !self.refused.load(Ordering::Acquire) {
            return Ok(());
        }
        let reason = self.fault.lock().clone();
        reason.map_or(Ok(()), |reason| Err(DatabaseError::Unavailable(reason)))
    }

    /// Refuses the file until [`Watch::accept`].
    pub fn refuse(&self, reason: String) -> DatabaseError {
        *self.fault.lock() = Some(reason.clone());
        self.refused.store(true, Ordering::Release);
        DatabaseError::Unavailable(reason)
    }

    /// Ends a refusal.
    pub fn accept(&self) {
        if self.refused.swap(false, Ordering::AcqRel) {
            *self.fault.lock() = None;
        }
    }

    /// To be called with the writer before it is used.
    pub async fn before(&self, path: &Path, connection: &mut SqliteConnection) -> Result<(), DatabaseError> {
        let Some(mut known) = *self.known.lock() else { return Ok(()) };
        known.seen = if known.settled {
            self.unchanged(path, &mut known, connection).await?
        } else {
            // A statement of a verb that was dropped may still be under way on
            // the connection's thread; it is over when this one is answered.
            sqlx::query("SELECT 1").execute(connection).await.map_err(unavailable)?;
            self.same_files(path, &known.seen)?
        };
        known.settled = false;
        *self.known.lock() = Some(known);
        Ok(())
    }

    /// To be called with the writer after a commit, before it is acknowledged.
    pub fn after_commit(&self, path: &Path) -> Result<(), DatabaseError> {
        self.settle(path, Some(Instant::now()))
    }

    /// To be called with the writer after a use that wrote nothing.
    pub fn after_reading(&self, path: &Path) -> Result<(), DatabaseError> {
        self.settle(path, None)
    }

    /// Whether it is time to find out by a commit if the disk takes one: after a
    /// write that did not succeed, and now and then while nothing is written.
    /// Asked by the holder of the writer, with what was so before it took it.
    pub fn commit_is_due(&self) -> bool {
        self.known.lock().is_some_and(|known| known.written_at.elapsed() >= TRY_A_COMMIT_AFTER)
    }

    /// Whether the last use of the writer ended in order.
    pub fn is_settled(&self) -> bool {
        self.known.lock().is_none_or(|known| known.settled)
    }

    fn settle(&self, path: &Path, written_at: Option<Instant>) -> Result<(), DatabaseError> {
        let Some(mut known) = *self.known.lock() else { return Ok(()) };
        // The commit went into a file that may be gone: it must not be acknowledged.
        known.seen = self.same_files(path, &known.seen).map_err(|error| match error {
            DatabaseError::Unavailable(reason) => DatabaseError::Unknown(reason),
            other => other,
        })?;
        known.settled = true;
        known.written_at = written_at.unwrap_or(known.written_at);
        *self.known.lock() = Some(known);
        Ok(())
    }

    fn same_files(&self, path: &Path, seen: &Seen) -> Result<Seen, DatabaseError> {
        let now = Seen::take(path).and_then(|now| seen.same_files(&now, path).map(|()| now));
        now.map_err(|reason| self.refuse(reason))
    }

    /// What another connection commits is in order: SQLite has seen to it.
    /// Whatever else has changed between our writes, SQLite knows nothing of.
    async fn unchanged(
        &self,
        path: &Path,
        known: &mut Known,
        connection: &mut SqliteConnection,
    ) -> Result<Seen, DatabaseError> {
        let now = self.same_files(path, &known.seen)?;
        if let Err(reason) = known.seen.same_content(&now, path) {
            let data_version = data_version(connection).await?;
            if data_version == known.data_version {
                return Err(self.refuse(reason));
            }
            known.data_version = data_version;
        }
        Ok(now)
    }
}

async fn data_version(connection: &mut SqliteConnection) -> Result<i64, DatabaseError> {
    let row = sqlx::query("PRAGMA data_version").fetch_one(connection).await;
    row.and_then(|row| row.try_get(0)).map_err(unavailable)
}
