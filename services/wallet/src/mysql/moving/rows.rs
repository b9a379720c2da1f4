//! Transfers as they are carried: every column of a row, and the row where it was.

use hongbao_core::{Fen, SystemBalances, UserId};
use hongbao_database::mysql::row::{put, put_bytes};
use hongbao_database::row::StoredRow;

use crate::WalletError;
use crate::row::kind_of;

/// Rows that are read at once.
pub(super) const PAGE: u32 = 1_000;
/// What a row is read from, and written to.
pub(super) const COLUMNS: &str = "position, id, user_id, kind, amount_fen, balance_fen, at_ms";

/// A transfer, column by column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CopiedRow {
    pub position: i64,
    id: Vec<u8>,
    pub user: UserId,
    kind: i64,
    amount_fen: i64,
    balance_fen: i64,
    at_ms: i64,
}

impl CopiedRow {
    /// Reads [`COLUMNS`]. A name that no user can have belongs to no slot.
    pub fn read(row: &impl StoredRow) -> Result<CopiedRow, WalletError> {
        let position = row.int(0)?;
        let name = row.text(2)?;
        let no_user = || WalletError::Damaged(format!("the transfer at position {position} is of a user {name:?}"));
        Ok(CopiedRow {
            position,
            id: row.bytes(1)?.to_vec(),
            user: UserId::parse(name).ok_or_else(no_user)?,
            kind: row.int(3)?,
            amount_fen: row.int(4)?,
            balance_fen: row.int(5)?,
            at_ms: row.int(6)?,
        })
    }

    fn put(&self, sql: &mut String) {
        put(sql, format_args!("({},", self.position));
        put_bytes(sql, &self.id);
        let CopiedRow { user, kind, amount_fen, balance_fen, at_ms, .. } = self;
        put(sql, format_args!(",'{user}',{kind},{amount_fen},{balance_fen},{at_ms})"));
    }
}

/// Some rows of the slots that move, and how far the source was read for them.
pub(super) struct Page {
    pub rows: Vec<CopiedRow>,
    pub until: i64,
}

/// What rows do to the balances of the system.
pub(super) fn system_of(rows: &[CopiedRow]) -> Result<SystemBalances, WalletError> {
    rows.iter().try_fold(SystemBalances::default(), |system, row| {
        let after =
            kind_of(row.kind).zip(Fen::new(row.amount_fen)).and_then(|(kind, amount)| system.after(kind, amount));
        let position = row.position;
        after.ok_or_else(|| WalletError::Damaged(format!("the transfer at position {position} cannot be added up")))
    })
}

/// The statement that inserts rows, of which there is one at least, and counts those that are there already: on
/// a cluster they may have been committed without the ledger. That they are the same, the comparison shows.
pub(super) fn insert(db: &str, rows: &[CopiedRow]) -> String {
    let mut sql = format!("INSERT /* move */ INTO {db}.transfer ({COLUMNS}) VALUES ");
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            sql.push(',');
        }
        row.put(&mut sql);
    }
    sql.push_str(" ON DUPLICATE KEY UPDATE kind = kind");
    sql
}

/// The position of the first row that is not the same in both.
pub(super) fn first_difference(one: &[CopiedRow], other: &[CopiedRow]) -> Option<i64> {
    let place = (0..one.len().max(other.len())).find(|place| one.get(*place) != other.get(*place))?;
    [one.get(place), other.get(place)].into_iter().flatten().map(|row| row.position).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(position: i64, kind: i64, amount_fen: i64) -> CopiedRow {
        let user = UserId::parse("ann").unwrap();
        CopiedRow { position, id: vec![1], user, kind, amount_fen, balance_fen: 0, at_ms: 0 }
    }

    #[test]
    fn the_system_sees_the_opposite_of_what_users_see() {
        let mut rows = vec![row(1, 1, 1_000), row(2, 2, 300), row(3, 3, 40), row(4, 4, 60), row(5, 5, 0)];
        rows.extend([row(6, 6, 700), row(7, 7, 90), row(8, 8, 50)]);
        assert_eq!(system_of(&rows).unwrap().to_array(), [200, -1_000, -650, 40]);
        assert!(system_of(&[row(9, 11, 1)]).is_err(), "a kind of a newer version");
    }

    #[test]
    fn the_first_row_that_differs_is_named() {
        let rows = [row(1, 1, 5), row(4, 2, 5)];
        assert_eq!(first_difference(&rows, &rows), None);
        assert_eq!(first_difference(&rows, &rows[..1]), Some(4));
        assert_eq!(first_difference(&rows[1..], &rows), Some(1));
        assert_eq!(first_difference(&rows, &[row(1, 1, 5), row(4, 2, 6)]), Some(4));
    }
}
