//! What each database of a server has to keep, besides the server's own settings.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::MySqlConnection;

use super::failure::{QueryError, reading};
use crate::DatabaseError;

/// What one database has to keep.
#[async_trait]
pub trait Promise: Send + Sync + 'static {
    /// The name of the database.
    fn database(&self) -> &str;

    /// Looks whether it is kept. Each statement has the time `limit`.
    async fn look(&self, connection: &mut MySqlConnection, limit: Duration) -> Result<(), Unkept>;
}

/// Why a promise is not known to be kept.
#[derive(Debug)]
pub enum Unkept {
    /// It is not, and what is wrong: for the operator.
    Broken(String),
    /// The database could not be asked.
    Unasked(QueryError),
}

/// What is said of a database makes no sense.
impl From<DatabaseError> for Unkept {
    fn from(error: DatabaseError) -> Unkept {
        Unkept::Broken(error.to_string())
    }
}

impl From<Unkept> for DatabaseError {
    fn from(unkept: Unkept) -> DatabaseError {
        match unkept {
            Unkept::Broken(reason) => DatabaseError::Unavailable(reason),
            Unkept::Unasked(broken) => reading(broken),
        }
    }
}
