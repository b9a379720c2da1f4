//! Sealed months in the databases.

use async_trait::async_trait;
use hongbao_core::Date;
use hongbao_core::manifest::{Block, Month, Tie};
use hongbao_database::row::StoredRow as _;
use sqlx::mysql::MySqlRow;

use super::fence::{FENCE_COLUMNS, Fence};
use super::layout::slot_of_name;
use super::shard::Shard;
use super::slots::SlotSet;
use super::transact::{Write, transact};
use super::wallet::MysqlWallet;
use crate::months::tables::{self, Locked, MonthTables, Writes};
use crate::{LedgerEnd, MonthAttempt, MonthPart, MonthRow, ShardPlace, UserAt, WalletError, WalletMonths};

impl MonthTables for Shard {
    type Row = MySqlRow;

    fn place(&self) -> ShardPlace {
        ShardPlace { shard: self.number, database: self.database, base: self.outer(0) }
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.db)
    }

    async fn rows(&self, sql: &str) -> Result<(Vec<MySqlRow>, String), WalletError> {
        let found = self.fetch_patiently(sql).await?;
        Ok((found.rows, found.fence.moved.to_string()))
    }

    fn has_left(&self, moved_slots: &str, name: &str) -> bool {
        SlotSet::parse(moved_slots).is_some_and(|moved| moved.contains(slot_of_name(name)))
    }

    /// With the ledger, its row is written too, as by every transaction that relies on the fence: on a cluster
    /// only one of two that both write it can commit.
    async fn transact(
        &self,
        of_ledger: bool,
        sql: &str,
        decide: impl Fn(&Locked, &[MySqlRow]) -> Result<Option<Writes>, WalletError> + Send + Sync,
    ) -> Result<bool, WalletError> {
        let db = &self.db;
        let lock = match of_ledger {
            true => format!(
                "SELECT /* month */ a.attempt, a.writes, l.transactions, {FENCE_COLUMNS} FROM {db}.ledger l \
                 JOIN {db}.fence f ON f.one = l.one JOIN {db}.month_attempt a ON a.one = l.one WHERE l.one = 1 FOR UPDATE"
            ),
            false => format!("SELECT /* month */ attempt, writes FROM {db}.month_attempt WHERE one = 1 FOR UPDATE"),
        };
        let read = if sql.is_empty() { lock } else { format!("{lock}; {sql}") };
        let decide = |rows: &[MySqlRow]| {
            let missing = || WalletError::Damaged(format!("{0}.ledger, {0}.fence or {0}.month_attempt has no row", db));
            let (first, rows) = rows.split_first().ok_or_else(missing)?;
            let fence = if of_ledger { Fence::read(first, 3)?.ok_or_else(missing)? } else { Fence::default() };
            fence.check_all(db, self.slots())?;
            let locked = Locked { attempt: first.int(0)?, writes: first.int(1)?, moved_slots: fence.moved.to_string() };
            let Some(Writes { mut sql, mut rows }) = decide(&locked, rows)? else {
                return Ok(Write { sql: String::new(), rows: 0, value: false });
            };
            if of_ledger {
                let transactions = first.int(2)?;
                sql = format!(
                    "{sql}; UPDATE /* month */ {db}.ledger SET transactions = transactions + 1 \
                     WHERE one = 1 AND transactions = {transactions}"
                );
                rows += 1;
            }
            Ok(Write { sql, rows, value: true })
        };
        transact(db, || self.connections.lease(), &read, decide).await
    }

    fn delete(&self, table: &str, condition: &str, limit: usize) -> String {
        format!("DELETE FROM {table} WHERE {condition} LIMIT {limit}")
    }
}

#[async_trait]
impl WalletMonths for MysqlWallet {
    fn shards(&self) -> Vec<ShardPlace> {
        self.from(0).map(MonthTables::place).collect()
    }

    async fn ledger_end(&self, shard: u8) -> Result<LedgerEnd, WalletError> {
        tables::ledger_end(self.shard(shard)?).await
    }

    async fn months(&self, shard: u8, after: u64, limit: u32) -> Result<Vec<MonthRow>, WalletError> {
        tables::months(self.shard(shard)?, after, limit).await
    }

    async fn month_blocks(&self, shard: u8, number: u64) -> Result<Vec<Block>, WalletError> {
        tables::blocks(self.shard(shard)?, number).await
    }

    async fn month_ties(&self, shard: u8, number: u64) -> Result<Vec<(Date, Tie)>, WalletError> {
        tables::ties(self.shard(shard)?, number).await
    }

    async fn month_balances(
        &self,
        shard: u8,
        number: u64,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, i64)>, WalletError> {
        tables::balances(self.shard(shard)?, number, after, limit).await
    }

    async fn users_at(
        &self,
        shard: u8,
        after: &str,
        position: i64,
        number: u64,
        limit: u32,
    ) -> Result<Vec<UserAt>, WalletError> {
        let shard = self.shard(shard)?;
        let names = |after: &str, limit| shard.names(after, limit);
        tables::users_at(shard, names, after, (position, number), limit).await
    }

    async fn begin_month(&self, shard: u8) -> Result<MonthAttempt, WalletError> {
        tables::begin(self.shard(shard)?).await
    }

    async fn put_month(&self, attempt: &MonthAttempt, part: MonthPart) -> Result<bool, WalletError> {
        tables::put(self.shard(attempt.shard)?, attempt, &part).await
    }

    async fn seal_month(&self, attempt: &MonthAttempt, month: &Month) -> Result<bool, WalletError> {
        tables::seal(self.shard(attempt.shard)?, attempt, month).await
    }
}
