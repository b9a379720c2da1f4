//! What an error of the database says about what was written.

use std::fmt;
use std::time::Duration;

use sqlx::mysql::MySqlDatabaseError;

use crate::DatabaseError;

/// Why a statement has no answer that counts.
#[derive(Debug)]
pub enum QueryError {
    /// It took longer than this, and the caller has given up.
    TooSlow(Duration),
    /// The database said no, or the connection broke.
    Sql(sqlx::Error),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::TooSlow(limit) => write!(f, "no answer within {} ms", limit.as_millis()),
            QueryError::Sql(error) => error.fmt(f),
        }
    }
}

impl QueryError {
    /// The connection is of no further use: what the database would still say on it is not known.
    pub fn is_of_connection(&self) -> bool {
        match self {
            QueryError::TooSlow(_) => true,
            QueryError::Sql(error) => !matches!(number(error), Some(code) if !LEAVE_NODE.contains(&code)),
        }
    }

    /// A unique key was taken.
    pub fn is_duplicate(&self) -> bool {
        self.number() == Some(DUPLICATE)
    }

    /// The unique key of this name was taken. What was to be written stands in the message before it.
    pub fn takes_key(&self, key: &str) -> bool {
        self.is_duplicate() && self.to_string().trim_end_matches('\'').ends_with(key)
    }

    /// The transaction met another one, perhaps only at its commit on a cluster,
    /// and was taken back as a whole: it may be tried again as it is.
    pub fn is_deadlock(&self) -> bool {
        self.number() == Some(DEADLOCK)
    }

    /// A lock was waited for too long: the statement was taken back.
    pub fn is_locked(&self) -> bool {
        self.number() == Some(LOCKED)
    }

    /// A value is not what the constraint of this name, or with this in its name, allows.
    pub fn violates(&self, constraint: &str) -> bool {
        self.number().is_some_and(|number| CHECK_FAILED.contains(&number)) && self.to_string().contains(constraint)
    }

    /// A column that must not be NULL would have become so.
    pub fn is_null(&self) -> bool {
        self.number() == Some(NULL)
    }

    /// There is no such database, table or trigger.
    pub fn is_missing(&self) -> bool {
        self.number().is_some_and(|number| MISSING.contains(&number))
    }

    /// What a statement of a migration was to make is there, or what it was to drop is not.
    pub fn is_done_already(&self) -> bool {
        self.number().is_some_and(|number| DONE_ALREADY.contains(&number))
    }

    /// Our user may not do this.
    pub fn is_denied(&self) -> bool {
        self.number().is_some_and(|number| DENIED.contains(&number))
    }

    fn number(&self) -> Option<u16> {
        match self {
            QueryError::TooSlow(_) => None,
            QueryError::Sql(error) => number(error),
        }
    }
}

/// A CHECK failed: MariaDB's number, and MySQL's and TiDB's.
const CHECK_FAILED: [u16; 2] = [4025, 3819];
/// A column cannot be NULL.
const NULL: u16 = 1048;
/// A unique key was taken.
const DUPLICATE: u16 = 1062;
/// No such database, no such table, no such trigger.
const MISSING: [u16; 3] = [1049, 1146, 1360];
/// A table, column or key of this name exists; there is none to be dropped.
const DONE_ALREADY: [u16; 4] = [1050, 1060, 1061, 1091];
/// A command on a table, or on a column of it, is denied.
const DENIED: [u16; 3] = [1142, 1143, 1227];
/// Deadlock, or a failed certification on Galera: rolled back.
const DEADLOCK: u16 = 1213;
/// A lock was waited for too long: the statement was taken back.
const LOCKED: u16 = 1205;
/// The connection answers, but its node is not one to stay with: it is shutting
/// down (1053), it interrupted us (1317, 1927), it is not part of its cluster
/// (1047, Galera), or it has become read-only, as the old writer is after a
/// failover (1290, 1836).
const LEAVE_NODE: [u16; 6] = [1053, 1317, 1927, 1047, 1290, 1836];

/// What the database says when it ends a statement that may already have been committed.
///
/// 1317 and 1927 (interrupted), 1969 (interrupted because of its time) and 1053
/// (shutdown) can come while a commit waits for its log or for its cluster; 1180
/// is a commit that failed. All other errors of the database come before the commit: nothing
/// was written.
const UNCONFIRMED: [u16; 5] = [1053, 1317, 1969, 1180, 1927];

/// The number by which the database names an error.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// An error of a statement that only reads, or comes before the commit: nothing was written.
pub fn reading(broken: QueryError) -> DatabaseError {
    match broken {
        QueryError::Sql(error @ (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))) => {
            DatabaseError::Damaged(error.to_string())
        }
        other => DatabaseError::Unavailable(other.to_string()),
    }
}

/// An error of a commit, or of a statement that commits by itself.
pub fn committing(broken: QueryError) -> DatabaseError {
    match broken.number() {
        Some(LOCKED) => DatabaseError::Locked(broken.to_string()),
        Some(code) if !UNCONFIRMED.contains(&code) => DatabaseError::Unavailable(broken.to_string()),
        _ => DatabaseError::Unknown(broken.to_string()),
    }
}
