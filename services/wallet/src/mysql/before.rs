//! What users had before the transfers of a page.
//!
//! MariaDB and MySQL answer it from the index alone where the users are a list of literals and the position is
//! one, too: a look for each user ("Using index for group-by"). Asked row by row, in a subquery that depends on
//! the row, they go through the user's history from its newest transfer on, so that a page takes the longer the
//! more its users have done since.

use std::collections::{BTreeSet, HashMap};

use hongbao_core::limits::SQL_LIST_MAX;
use hongbao_database::row::StoredRow as _;

use super::shard::Shard;
use crate::{Line, WalletError};

/// The condition that the column `user_id` is one of these names, of users.
pub(super) fn user_is_one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("user_id IN ('{}')", names.collect::<Vec<_>>().join("','"))
}

impl Shard {
    /// Puts into lines, which are all that follow a position, what their users had before each.
    pub(super) async fn put_balances_before(&self, after: i64, lines: &mut [Line]) -> Result<(), WalletError> {
        let users: BTreeSet<&str> = lines.iter().map(|line| line.transfer.user.as_str()).collect();
        let users: Vec<&str> = users.into_iter().collect();
        let mut balances: HashMap<String, i64> = HashMap::new();
        for users in users.chunks(SQL_LIST_MAX) {
            let sql = format!(
                "SELECT /* before */ t.user_id, t.balance_fen FROM (SELECT user_id, MAX(position) AS position \
                   FROM {db}.transfer FORCE INDEX (history) WHERE {is_one} AND position <= {after} GROUP BY user_id) p \
                 JOIN {db}.transfer t ON t.position = p.position",
                db = self.db,
                is_one = user_is_one_of(users.iter().copied())
            );
            for row in &self.fetch_patiently(&sql).await?.rows {
                balances.insert(row.text(0)?.to_owned(), row.int(1)?);
            }
        }
        for line in lines {
            let before = balances.insert(line.transfer.user.to_string(), line.balance_fen);
            line.before_fen = before.unwrap_or(0);
        }
        Ok(())
    }
}
