//! Rows as SQLite gives them.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::failure::unavailable;
use crate::{DatabaseError, StoredRow};

impl StoredRow for SqliteRow {
    fn int_or_null(&self, column: usize) -> Result<Option<i64>, DatabaseError> {
        self.try_get(column).map_err(unavailable)
    }

    fn text_or_null(&self, column: usize) -> Result<Option<&str>, DatabaseError> {
        self.try_get(column).map_err(unavailable)
    }

    fn bytes_or_null(&self, column: usize) -> Result<Option<&[u8]>, DatabaseError> {
        self.try_get(column).map_err(unavailable)
    }
}
