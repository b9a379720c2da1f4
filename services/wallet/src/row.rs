//! Rows and what they mean, whatever database they come from.

use hongbao_core::{Fen, Timestamp, Transfer, TransferId, TransferKind, UserId};
use hongbao_database::row::StoredRow;

use crate::ledger::Content;
use crate::{FreezeChange, Line, Posted, WalletError};

/// Names and numbers of the kinds, as stored. They must never change.
const KINDS: [(TransferKind, i64); 10] = [
    (TransferKind::TopUp, 1),
    (TransferKind::Send, 2),
    (TransferKind::Open, 3),
    (TransferKind::Refund, 4),
    (TransferKind::Cancel, 5),
    (TransferKind::Charge, 6),
    (TransferKind::Payout, 7),
    (TransferKind::PayoutPaid, 8),
    (TransferKind::PayoutFailed, 9),
    (TransferKind::PayoutReturned, 10),
];

/// The number that a kind is stored as.
pub(crate) fn code_of(kind: TransferKind) -> i64 {
    KINDS.iter().find(|(known, _)| *known == kind).expect("KINDS lists all of them").1
}

/// The kind that a number stands for; `None` for one that stands for none.
pub(crate) fn kind_of(code: i64) -> Option<TransferKind> {
    KINDS.iter().find(|(_, known)| *known == code).map(|(kind, _)| *kind)
}

/// Reads `id, user_id, kind, amount_fen`, which begin at `start`.
pub(crate) fn content(row: &impl StoredRow, start: usize) -> Result<(TransferId, Content), WalletError> {
    let key = row.bytes(start)?;
    // The id is shown as it is stored.
    let damaged = |what| WalletError::Damaged(format!("transfer x'{}': {what} means nothing", hex(key)));
    let id = TransferId::from_key(key).ok_or_else(|| damaged("its id"))?;
    let user = UserId::parse(row.text(start + 1)?).ok_or_else(|| damaged("its user"))?;
    let kind = kind_of(row.int(start + 2)?).ok_or_else(|| damaged("its kind"))?;
    let amount = Fen::new(row.int(start + 3)?).ok_or_else(|| damaged("its amount"))?;
    Ok((id, Content { kind, user, amount }))
}

/// Reads `id, user_id, kind, amount_fen, at_ms`.
pub(crate) fn transfer(row: &impl StoredRow) -> Result<Transfer, WalletError> {
    let (id, Content { kind, user, amount }) = content(row, 0)?;
    Ok(Transfer { id, kind, user, amount, at: Timestamp::from_millis(row.int(4)?) })
}

/// Reads `id, user_id, kind, amount_fen, at_ms, position`.
pub(crate) fn posted(row: &impl StoredRow) -> Result<Posted, WalletError> {
    Ok(Posted { transfer: transfer(row)?, position: row.int(5)? })
}

/// What a [`Line`] is read from, where the table is called `t`; the balance before it follows.
pub(crate) const LINE_COLUMNS: &str = "t.id, t.user_id, t.kind, t.amount_fen, t.at_ms, t.position, t.balance_fen";

/// Reads [`LINE_COLUMNS`] and the balance before it, which may be null.
pub(crate) fn line(row: &impl StoredRow) -> Result<Line, WalletError> {
    let Posted { position, transfer } = posted(row)?;
    Ok(Line { position, transfer, balance_fen: row.int(6)?, before_fen: row.int_or_null(7)?.unwrap_or(0) })
}

/// Reads `user_id, is_frozen, reason, operator_id, at_ms`.
pub(crate) fn freeze_change(row: &impl StoredRow) -> Result<FreezeChange, WalletError> {
    let user = |column| {
        let name = row.text(column)?;
        UserId::parse(name).ok_or_else(|| WalletError::Damaged(format!("a freeze is of or by a user {name:?}")))
    };
    Ok(FreezeChange {
        user: user(0)?,
        is_frozen: row.int(1)? != 0,
        reason: row.text(2)?.to_owned(),
        operator: user(3)?,
        at: Timestamp::from_millis(row.int(4)?),
    })
}

/// A balance of this user.
pub(crate) fn balance(row: &impl StoredRow, column: usize, user: &UserId) -> Result<Fen, WalletError> {
    let fen = row.int(column)?;
    Fen::new(fen).ok_or_else(|| WalletError::Damaged(format!("the balance of {user} is {fen} fen")))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
