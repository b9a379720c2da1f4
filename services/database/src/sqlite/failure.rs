//! What an error of SQLite says about what was written.

use crate::DatabaseError;

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
pub fn unavailable(error: sqlx::Error) -> DatabaseError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => DatabaseError::Damaged(error.to_string()),
        other => DatabaseError::Unavailable(other.to_string()),
    }
}

/// An error of a commit, or of a statement that commits by itself.
pub fn commit_failed(error: sqlx::Error) -> DatabaseError {
    match primary_code(&error) {
        Some(code) if NOT_COMMITTED.contains(&code) => DatabaseError::Unavailable(error.to_string()),
        _ => DatabaseError::Unknown(error.to_string()),
    }
}

/// A unique key was taken.
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

/// A value is not what the constraint of this name, or of a name that begins so, allows.
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().is_some_and(|error| error.is_check_violation() && error.message().contains(constraint))
}

/// A trigger has refused it with these words.
pub fn is_raised(error: &sqlx::Error, words: &str) -> bool {
    primary_code(error) == Some(CONSTRAINT) && error.as_database_error().is_some_and(|error| error.message() == words)
}

/// The result code without its extension, which stands in the higher bytes.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use sqlx::{ConnectOptions as _, Executor as _};

    use super::*;

    async fn connect(dir: &std::path::Path) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(dir.join("file")).create_if_missing(true);
        options.busy_timeout(Duration::ZERO).connect().await.unwrap()
    }

    #[tokio::test]
    async fn a_refused_write_is_unavailable_and_an_unconfirmed_one_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (connect(dir.path()).await, connect(dir.path()).await);
        one.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER CHECK (b > 0)) STRICT").await.unwrap();

        one.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES (1, 1)").await.unwrap();
        let busy = two.execute("INSERT INTO t VALUES (1, 1)").await.unwrap_err();
        assert!(!is_unique_violation(&busy));
        assert!(matches!(commit_failed(busy), DatabaseError::Unavailable(reason) if reason.contains("locked")));
        one.execute("COMMIT").await.unwrap();

        let taken = two.execute("INSERT INTO t VALUES (1, 1)").await.unwrap_err();
        assert!(is_unique_violation(&taken));
        let nonsense = two.execute("INSERT INTO t VALUES (2, 0)").await.unwrap_err();
        assert!(!is_unique_violation(&nonsense));
        assert!(matches!(commit_failed(nonsense), DatabaseError::Unavailable(_)));

        for unconfirmed in [sqlx::Error::WorkerCrashed, std::io::Error::other("the disk is gone").into()] {
            assert!(matches!(commit_failed(unconfirmed), DatabaseError::Unknown(_)));
        }
        assert!(matches!(unavailable(sqlx::Error::WorkerCrashed), DatabaseError::Unavailable(_)));
        assert!(matches!(unavailable(sqlx::Error::Decode("nonsense".into())), DatabaseError::Damaged(_)));
    }
}
