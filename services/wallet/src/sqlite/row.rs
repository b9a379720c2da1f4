//! Rows and what they mean.

use hongbao_core::{Fen, Timestamp, Transfer, TransferId, TransferKind, UserId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::ledger::Content;
use crate::{Posted, WalletError};

/// Names and numbers of the kinds, as stored. They must never change.
const KINDS: [(TransferKind, i64); 5] = [
    (TransferKind::TopUp, 1),
    (TransferKind::Send, 2),
    (TransferKind::Open, 3),
    (TransferKind::Refund, 4),
    (TransferKind::Cancel, 5),
];

/// The number that a kind is stored as.
pub(super) fn code_of(kind: TransferKind) -> i64 {
    KINDS.iter().find(|(known, _)| *known == kind).expect("KINDS lists all of them").1
}

/// Reads `id, user_id, kind, amount_fen`.
pub(super) fn content(row: &SqliteRow) -> Result<(TransferId, Content), WalletError> {
    let key: &[u8] = field(row, 0)?;
    let id = TransferId::from_key(key).ok_or_else(|| damaged(row, "its id"))?;
    let user = UserId::parse(field(row, 1)?).ok_or_else(|| damaged(row, "its user"))?;
    let code: i64 = field(row, 2)?;
    let kind = KINDS.iter().find(|(_, known)| *known == code).ok_or_else(|| damaged(row, "its kind"))?.0;
    let amount = Fen::new(field(row, 3)?).ok_or_else(|| damaged(row, "its amount"))?;
    Ok((id, Content { kind, user, amount }))
}

/// Reads `id, user_id, kind, amount_fen, at_ms`.
pub(super) fn transfer(row: &SqliteRow) -> Result<Transfer, WalletError> {
    let (id, Content { kind, user, amount }) = content(row)?;
    Ok(Transfer { id, kind, user, amount, at: Timestamp::from_millis(field(row, 4)?) })
}

/// Reads `id, user_id, kind, amount_fen, at_ms, position`.
pub(super) fn posted(row: &SqliteRow) -> Result<Posted, WalletError> {
    Ok(Posted { transfer: transfer(row)?, position: field(row, 5)? })
}

/// Reads one column.
pub(super) fn field<'r, T>(row: &'r SqliteRow, column: usize) -> Result<T, WalletError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|error| WalletError::Damaged(error.to_string()))
}

fn damaged(row: &SqliteRow, what: &str) -> WalletError {
    // The id comes first in every list of columns here; it is shown as it is stored.
    let key: Vec<u8> = row.try_get(0).unwrap_or_default();
    WalletError::Damaged(format!("transfer x'{}': {what} means nothing", hex(&key)))
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A JSON list of texts, for `json_each`. They must hold nothing that JSON
/// escapes, which is true of ids, account names and hexadecimal digits.
pub(super) fn json_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut list = String::from("[");
    for text in texts {
        if list.len() > 1 {
            list.push(',');
        }
        list.push('"');
        list.push_str(text);
        list.push('"');
    }
    list.push(']');
    list
}
