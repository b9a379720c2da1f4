//! Values as the MySQL protocol takes and gives them.
//!
//! Rows are written as text with literals, so that a batch of any size is one
//! statement and one round trip, and nothing has to be prepared for each size.
//! That is safe because of what can stand in a row: numbers; bytes, as
//! hexadecimal; and names whose types admit only letters, digits, `_`, `-` and
//! a leading `#`. The greeting, which users choose, is written as hexadecimal too.

use std::fmt::Write as _;

use sqlx::Row as _;
use sqlx::mysql::MySqlRow;

use super::failure::{QueryError, reading};
use crate::{DatabaseError, StoredRow};

/// Writes bytes as a hexadecimal literal.
pub fn put_bytes(sql: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    sql.push_str("0x");
    for byte in bytes {
        sql.push(char::from(DIGITS[usize::from(byte >> 4)]));
        sql.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Writes anything that has a plain form.
pub fn put(sql: &mut String, what: std::fmt::Arguments<'_>) {
    sql.write_fmt(what).expect("a String takes everything");
}

impl StoredRow for MySqlRow {
    fn int_or_null(&self, column: usize) -> Result<Option<i64>, DatabaseError> {
        self.try_get(column).map_err(damaged)
    }

    fn text_or_null(&self, column: usize) -> Result<Option<&str>, DatabaseError> {
        // sqlx takes text that is compared byte by byte (a `_bin` collation) for bytes, so its check is left out.
        let bytes: Option<&[u8]> = self.try_get_unchecked(column).map_err(damaged)?;
        bytes
            .map(|bytes| std::str::from_utf8(bytes).map_err(|error| DatabaseError::Damaged(error.to_string())))
            .transpose()
    }

    fn bytes_or_null(&self, column: usize) -> Result<Option<&[u8]>, DatabaseError> {
        self.try_get(column).map_err(damaged)
    }
}

fn damaged(error: sqlx::Error) -> DatabaseError {
    reading(QueryError::Sql(error))
}
