//! What an error of SQLite says about what was written.

use crate::StoreError;

/// Result codes after which nothing was committed (<https://sqlite.org/rescode.html>).
///
/// `BUSY` and `LOCKED`: the lock was not to be had. `READONLY`, `ERROR` and
/// `CONSTRAINT`: refused before anything was written. `FULL`: a page found no
/// room; the frame that makes a commit valid is the last one written, so it is
/// not in the log, and SQLite has rolled back. All others, an I/O error of the
/// final flush above all, leave a log that may or may not hold the commit after
/// a crash.
const NOT_COMMITTED: [i32; 6] = [ERROR, BUSY, LOCKED, READONLY, FULL, CONSTRAINT];
const ERROR: i32 = 1;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const FULL: i32 = 13;
const CONSTRAINT: i32 = 19;

/// An error before the commit, or of a verb that only reads: nothing was written.
pub fn unavailable(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Damaged(error.to_string()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// An error of a commit, or of a statement that commits by itself.
pub fn commit_failed(error: sqlx::Error) -> StoreError {
    match primary_code(&error) {
        Some(code) if NOT_COMMITTED.contains(&code) => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Unknown(error.to_string()),
    }
}

/// A unique key was taken.
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

/// The result code without its extension, which stands in the higher bytes.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
