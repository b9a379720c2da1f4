//! Frozen users in the databases.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::UserId;
use hongbao_core::limits::{FROZEN_ANSWER_WITHIN, FROZEN_USERS_MAX};
use hongbao_database::mysql::row::{put, put_bytes};
use hongbao_database::row::StoredRow as _;
use sqlx::mysql::MySqlRow;
use tokio::time::timeout;

use super::fence::{FENCE_COLUMNS, Fence};
use super::shard::Shard;
use super::transact::{Write, transact};
use super::wallet::MysqlWallet;
use crate::freezes::changes;
use crate::row::freeze_change;
use crate::{FreezeChange, FreezeVersion, SetFrozen, WalletError, WalletFreezes};

/// What a change is read from.
const COLUMNS: &str = "user_id, is_frozen, reason, operator_id, at_ms";

#[async_trait]
impl WalletFreezes for MysqlWallet {
    async fn set_frozen(&self, change: &FreezeChange) -> Result<SetFrozen, WalletError> {
        let FreezeChange { user, is_frozen, reason, operator, at } = change;
        let shard = self.shard_of(user);
        let db = &shard.db;
        let read = format!(
            "SELECT /* freeze */ l.transactions, {FENCE_COLUMNS} FROM {db}.ledger l JOIN {db}.fence f \
             ON f.one = l.one WHERE l.one = 1 FOR UPDATE; SELECT COALESCE(MAX(number), 0) FROM {db}.freeze_log; \
             SELECT is_frozen, reason FROM {db}.freeze_log WHERE user_id = '{user}' ORDER BY number DESC LIMIT 1"
        );
        let decide = |rows: &[MySqlRow]| {
            let missing = || WalletError::Damaged(format!("{db}.ledger or {db}.fence has no row"));
            let [ledger, last, rows @ ..] = rows else { return Err(missing()) };
            Fence::read(ledger, 1)?.ok_or_else(missing)?.check_user(db, user)?;
            let newest = rows.first().map(|row| Ok::<_, WalletError>((row.int(0)? != 0, row.text(1)?))).transpose()?;
            let (mut sql, mut written, mut value) = (String::new(), 1, SetFrozen::Unchanged);
            if changes(newest, change) {
                let (number, is_frozen) = (last.int(0)? + 1, i64::from(*is_frozen));
                put(
                    &mut sql,
                    format_args!(
                        "INSERT /* freeze */ INTO {db}.freeze_log (number, {COLUMNS}) \
                         VALUES ({number},'{user}',{is_frozen},_utf8mb4 "
                    ),
                );
                match reason.is_empty() {
                    true => sql.push_str("''"),
                    false => put_bytes(&mut sql, reason.as_bytes()),
                }
                put(&mut sql, format_args!(",'{operator}',{}); ", at.millis()));
                (written, value) = (2, SetFrozen::Changed);
            }
            // In any case: what was found may not have reached the disk, and this commit takes it there.
            let transactions = ledger.int(0)?;
            put(
                &mut sql,
                format_args!(
                    "UPDATE /* freeze */ {db}.ledger SET transactions = transactions + 1 \
                     WHERE one = 1 AND transactions = {transactions}"
                ),
            );
            Ok(Write { sql, rows: written, value })
        };
        transact(db, || shard.connections.lease(), &read, decide).await
    }

    async fn freeze_log(&self, user: &UserId, limit: u32) -> Result<Vec<FreezeChange>, WalletError> {
        let shard = self.shard_of(user);
        let sql = format!(
            "SELECT /* freeze log */ {COLUMNS} FROM {}.freeze_log WHERE user_id = '{user}' \
             ORDER BY number DESC LIMIT {limit}",
            shard.db
        );
        shard.fetch(&sql).await?.parse(freeze_change, |change| change.user.as_str())
    }

    async fn freeze_versions(&self) -> Vec<FreezeVersion> {
        // What does not answer at once is asked again soon, and is not what the others wait for.
        let ask = |shard: Arc<Shard>| async move {
            let sql = format!("SELECT /* freezes */ COALESCE(MAX(number), 0) FROM {}.freeze_log", shard.db);
            let read = async {
                let rows = shard.ask_for(&sql).await?;
                let number = rows.first().map(|row| row.int(0)).transpose()?;
                Ok::<_, WalletError>(FreezeVersion { shard: shard.number, number: number.unwrap_or(0) })
            };
            Ok(timeout(FROZEN_ANSWER_WITHIN, read).await.ok().and_then(Result::ok))
        };
        // None of them fails; a panic is shown by what misses them all.
        self.ask_all(ask).await.unwrap_or_default().into_iter().flatten().collect()
    }

    async fn frozen_users(&self, shard: u8) -> Result<Vec<FreezeChange>, WalletError> {
        let shard = self.shard(shard)?;
        let db = &shard.db;
        let sql = format!(
            "SELECT /* frozen users */ {COLUMNS} FROM {db}.freeze_log l WHERE l.is_frozen = 1 AND NOT EXISTS \
             (SELECT 1 FROM {db}.freeze_log n WHERE n.user_id = l.user_id AND n.number > l.number) \
             ORDER BY l.user_id LIMIT {FROZEN_USERS_MAX}"
        );
        shard.fetch(&sql).await?.parse(freeze_change, |change| change.user.as_str())
    }
}
