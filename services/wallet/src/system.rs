//! The system's accounts: what they are called, and what each kind of transfer does to them, in SQL.

use std::fmt::Write as _;
use std::sync::LazyLock;

use hongbao_core::{SystemBalances, TransferKind};
use hongbao_database::row::StoredRow;

use crate::WalletError;
use crate::row::code_of;

/// The account that holds the money of all envelopes. No user can have this id.
pub const CLEARING: &str = "#clearing";
/// The source of top-ups. No user can have this id.
pub const TOP_UPS: &str = "#top_ups";
/// What was paid out at the provider, less what was charged there. No user can have this id.
pub const PROVIDER: &str = "#provider";
/// Payouts on their way. No user can have this id.
pub const PAYOUTS: &str = "#payouts";

/// In the order of [`SystemBalances::to_array`].
pub(crate) const ACCOUNTS: [&str; 4] = [CLEARING, TOP_UPS, PROVIDER, PAYOUTS];
/// Their columns in a row of the ledger, in the same order.
pub(crate) const COLUMNS: [&str; 4] = ["clearing_fen", "top_ups_fen", "provider_fen", "payouts_fen"];

/// What a transfer does to its user's balance, from the columns `kind` and `amount_fen`.
pub(crate) static USER_FEN: LazyLock<String> = LazyLock::new(|| signed_amount(TransferKind::user_sign));

/// What a transfer does to each of [`ACCOUNTS`], from the same columns.
pub(crate) static SYSTEM_FEN: LazyLock<[String; 4]> =
    LazyLock::new(|| [0, 1, 2, 3].map(|place| signed_amount(|kind| kind.system_signs()[place])));

fn signed_amount(sign: impl Fn(TransferKind) -> i64) -> String {
    let mut sql = String::from("CASE");
    for (wanted, value) in [(1, "amount_fen"), (-1, "-amount_fen")] {
        let kinds: Vec<String> = TransferKind::ALL
            .into_iter()
            .filter(|kind| sign(*kind) == wanted)
            .map(|kind| code_of(kind).to_string())
            .collect();
        if !kinds.is_empty() {
            write!(sql, " WHEN kind IN ({}) THEN {value}", kinds.join(",")).expect("a String takes everything");
        }
    }
    sql.push_str(" ELSE 0 END");
    sql
}

/// The columns of a ledger's row, called `l`, with commas between them.
pub(crate) fn columns_of(table: &str) -> String {
    COLUMNS.map(|column| format!("{table}.{column}")).join(", ")
}

/// Reads [`COLUMNS`] from a column on; `None` where their row is missing.
pub(crate) fn balances_or_null(row: &impl StoredRow, start: usize) -> Result<Option<SystemBalances>, WalletError> {
    match row.int_or_null(start)? {
        None => Ok(None),
        Some(_) => balances(row, start).map(Some),
    }
}

/// Reads [`COLUMNS`] from a column on. One that is null is of an account whose row is missing.
pub(crate) fn balances(row: &impl StoredRow, start: usize) -> Result<SystemBalances, WalletError> {
    let mut balances = [0; 4];
    for (place, (balance, account)) in balances.iter_mut().zip(ACCOUNTS).enumerate() {
        let missing = || WalletError::Damaged(format!("the row with the balance of {account} is missing"));
        *balance = row.int_or_null(start + place)?.ok_or_else(missing)?;
    }
    Ok(SystemBalances::from_array(balances))
}

/// `clearing_fen = 1, top_ups_fen = -2, ...`, for an update of the table called `table`.
pub(crate) fn assignments(table: &str, balances: SystemBalances) -> String {
    let values = COLUMNS.iter().zip(balances.to_array());
    values.map(|(column, fen)| format!("{table}{column} = {fen}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_a_double_entry() {
        for kind in TransferKind::ALL {
            let system: i64 = kind.system_signs().into_iter().sum();
            assert_eq!(kind.user_sign() + system, 0, "{kind:?}");
        }
        assert_eq!(
            *USER_FEN,
            "CASE WHEN kind IN (1,3,4,6,9,10) THEN amount_fen WHEN kind IN (2,7) THEN -amount_fen ELSE 0 END"
        );
        assert_eq!(
            SYSTEM_FEN[3],
            "CASE WHEN kind IN (7) THEN amount_fen WHEN kind IN (8,9) THEN -amount_fen ELSE 0 END"
        );
    }
}
