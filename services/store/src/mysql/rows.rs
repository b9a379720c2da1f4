//! Values as the MySQL protocol takes and gives them.
//!
//! Rows are written as text with literals, so that a batch of any size is one
//! statement and one round trip, and nothing has to be prepared for each size.
//! That is safe because of what can stand in a row: numbers; bytes, as
//! hexadecimal; and names whose types admit only letters, digits, `_`, `-` and
//! a leading `#`. The greeting, which users choose, is written as hexadecimal too.

use std::fmt::Write as _;

use hongbao_core::{Entry, Envelope, Timestamp};
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;

use super::failure::{Broken, reading};
use crate::StoreError;
use crate::rows::{StoredRow, audience_columns, entry_user, kind_name, stage_number};

/// Writes an envelope as `(…)`.
pub fn put_envelope(sql: &mut String, envelope: &Envelope) {
    let (audience_type, audience_id) = audience_columns(&envelope.audience);
    sql.push('(');
    put_bytes(sql, envelope.id.as_bytes());
    put(sql, format_args!(",'{}','{}'", envelope.sender, kind_name(envelope.kind)));
    put(sql, format_args!(",{},{},{},", envelope.total.get(), envelope.shares, envelope.share_cap.get()));
    put_text(sql, &envelope.greeting);
    match audience_id {
        Some(id) => put(sql, format_args!(",'{audience_type}','{id}',")),
        None => put(sql, format_args!(",'{audience_type}',NULL,")),
    }
    put_bytes(sql, envelope.seed.as_bytes());
    put(sql, format_args!(",{},{}", envelope.created_at.millis(), envelope.lifetime_ms));
    put(sql, format_args!(",{}", stage_number(envelope.stage)));
    match envelope.expires_at.map(Timestamp::millis) {
        Some(millis) => put(sql, format_args!(",{millis}")),
        None => sql.push_str(",NULL"),
    }
    put(sql, format_args!(",{})", envelope.settled_seq));
}

/// Writes an entry as `(…)`.
pub fn put_entry(sql: &mut String, entry: &Entry) {
    sql.push('(');
    put_bytes(sql, entry.envelope_id.as_bytes());
    let (amount, remaining) = (entry.amount.get(), entry.remaining.get());
    put(sql, format_args!(",{},'{}',{amount},{remaining},{})", entry.seq, entry_user(entry), entry.at.millis()));
}

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

fn put_text(sql: &mut String, text: &str) {
    if text.is_empty() {
        sql.push_str("''");
        return;
    }
    sql.push_str("_utf8mb4 ");
    put_bytes(sql, text.as_bytes());
}

impl StoredRow for MySqlRow {
    fn int_or_null(&self, column: usize) -> Result<Option<i64>, StoreError> {
        self.try_get(column).map_err(damaged)
    }

    fn text_or_null(&self, column: usize) -> Result<Option<&str>, StoreError> {
        // sqlx takes text that is compared byte by byte (a `_bin` collation) for bytes, so its check is left out.
        let bytes: Option<&[u8]> = self.try_get_unchecked(column).map_err(damaged)?;
        bytes
            .map(|bytes| std::str::from_utf8(bytes).map_err(|error| StoreError::Damaged(error.to_string())))
            .transpose()
    }

    fn bytes(&self, column: usize) -> Result<&[u8], StoreError> {
        self.try_get(column).map_err(damaged)
    }
}

fn damaged(error: sqlx::Error) -> StoreError {
    reading(Broken::Sql(error))
}
