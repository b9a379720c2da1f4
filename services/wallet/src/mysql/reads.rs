//! What users and workers read. Each is one statement, and so sees one moment of a shard;
//! what a user is shown is read in one with the fence.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::{Fen, Transfer, TransferId, TransferKind, UserId};
use hongbao_database::mysql::row::put;

use super::shard::{Shard, TRANSFER_COLUMNS, put_id_is_one_of};
use super::wallet::MysqlWallet;
use crate::row::{self, code_of, posted};
use crate::{Posted, WalletError, WalletReads};

#[async_trait]
impl WalletReads for MysqlWallet {
    async fn balance(&self, user: &UserId) -> Result<Fen, WalletError> {
        let shard = self.shard_of(user);
        let sql = format!(
            "SELECT /* balance */ balance_fen, position FROM {}.transfer FORCE INDEX (history) \
             WHERE user_id = '{user}' ORDER BY position DESC LIMIT 1",
            shard.db
        );
        match shard.fetch_durably(user, &sql, 1).await?.first() {
            Some(row) => row::balance(row, 0, user),
            None => Ok(Fen::ZERO),
        }
    }

    async fn history(
        &self,
        user: &UserId,
        kinds: &[TransferKind],
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posted>, WalletError> {
        let shard = self.shard_of(user);
        let before = before.map_or(i64::MAX, Shard::inner_of_any);
        let mut sql = format!(
            "SELECT /* history */ {TRANSFER_COLUMNS}, position FROM {}.transfer FORCE INDEX (history) \
             WHERE user_id = '{user}' AND position < {before}",
            shard.db
        );
        for (number, kind) in kinds.iter().enumerate() {
            put(&mut sql, format_args!("{}{}", if number == 0 { " AND kind IN (" } else { "," }, code_of(*kind)));
        }
        if !kinds.is_empty() {
            sql.push(')');
        }
        put(&mut sql, format_args!(" ORDER BY position DESC LIMIT {limit}"));
        shard.fetch_durably(user, &sql, 5).await?.iter().map(|row| Ok(shard.outer_posted(posted(row)?))).collect()
    }

    async fn find(&self, ids: &[TransferId]) -> Result<Vec<Transfer>, WalletError> {
        let of_shard = |shard: Arc<Shard>, ids: Arc<[TransferId]>| async move {
            let mut sql = format!("SELECT /* find */ {TRANSFER_COLUMNS}, position FROM {}.transfer WHERE ", shard.db);
            put_id_is_one_of(&mut sql, ids.iter().copied());
            shard.fetch(&sql).await?.parse(posted, |posted| posted.transfer.user.as_str())
        };
        let found = self.found(ids, of_shard).await?;
        Ok(found.into_iter().map(|posted| posted.transfer).collect())
    }
}
