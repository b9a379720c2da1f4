//! Rows of whatever database, as they are read.

use crate::DatabaseError;

/// A row of a database: plain columns by their place.
pub trait StoredRow {
    /// A whole number that may be null.
    fn int_or_null(&self, column: usize) -> Result<Option<i64>, DatabaseError>;

    /// Text that may be null.
    fn text_or_null(&self, column: usize) -> Result<Option<&str>, DatabaseError>;

    /// Bytes that may be null.
    fn bytes_or_null(&self, column: usize) -> Result<Option<&[u8]>, DatabaseError>;

    /// A whole number.
    fn int(&self, column: usize) -> Result<i64, DatabaseError> {
        self.int_or_null(column)?.ok_or_else(|| damaged("number", "null"))
    }

    /// Bytes.
    fn bytes(&self, column: usize) -> Result<&[u8], DatabaseError> {
        self.bytes_or_null(column)?.ok_or_else(|| damaged("bytes", "null"))
    }

    /// Text.
    fn text(&self, column: usize) -> Result<&str, DatabaseError> {
        self.text_or_null(column)?.ok_or_else(|| damaged("text", "null"))
    }
}

/// The error of a column that holds what it must not.
pub fn damaged(what: &str, found: impl std::fmt::Debug) -> DatabaseError {
    DatabaseError::Damaged(format!("{what}: {found:?}"))
}
