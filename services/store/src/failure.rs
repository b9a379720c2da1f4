//! What an error of a database means for the store: as
//! [`hongbao_database`] has it, and in the store's terms.

use hongbao_database::{mysql, sqlite};

use crate::StoreError;

/// See [`mysql::failure::reading`].
pub fn reading(broken: mysql::failure::QueryError) -> StoreError {
    mysql::failure::reading(broken).into()
}

/// See [`mysql::failure::committing`].
pub fn committing(broken: mysql::failure::QueryError) -> StoreError {
    mysql::failure::committing(broken).into()
}

/// See [`sqlite::failure::unavailable`].
pub fn unavailable(error: sqlx::Error) -> StoreError {
    sqlite::failure::unavailable(error).into()
}

/// See [`sqlite::failure::commit_failed`].
pub fn commit_failed(error: sqlx::Error) -> StoreError {
    sqlite::failure::commit_failed(error).into()
}
