//! Sealed months in the file.

use async_trait::async_trait;
use hongbao_core::Date;
use hongbao_core::manifest::{Block, Month, Tie};
use hongbao_database::DatabaseError;
use hongbao_database::row::StoredRow as _;
use sqlx::Executor as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::SqliteWallet;
use super::scans::USERS;
use super::transaction::unavailable;
use crate::months::tables::{self, Locked, MonthTables, Writes};
use crate::{LedgerEnd, MonthAttempt, MonthPart, MonthRow, ShardPlace, UserAt, WalletError, WalletMonths};

const BEGIN: &str = "BEGIN IMMEDIATE /* month */";
const LOCKED: &str = "SELECT attempt, writes FROM month_attempt WHERE one = 1";

impl MonthTables for SqliteWallet {
    type Row = SqliteRow;

    fn place(&self) -> ShardPlace {
        ShardPlace { shard: 0, database: 0, base: 0 }
    }

    fn table(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn rows(&self, sql: &str) -> Result<(Vec<SqliteRow>, String), WalletError> {
        Ok((sqlx::query(sql).fetch_all(self.readers()?).await.map_err(unavailable)?, String::new()))
    }

    fn has_left(&self, _moved_slots: &str, _name: &str) -> bool {
        false
    }

    async fn transact(
        &self,
        _of_ledger: bool,
        sql: &str,
        decide: impl Fn(&Locked, &[SqliteRow]) -> Result<Option<Writes>, WalletError> + Send + Sync,
    ) -> Result<bool, WalletError> {
        let mut writer = self.file.writer().await?;
        let done = attempt(&mut writer, sql, &decide).await;
        if !matches!(done, Ok(true)) {
            // Fails when SQLite has rolled back already: either way nothing is open after it.
            let _ = writer.execute("ROLLBACK /* month */").await;
        } else {
            writer.committed()?;
        }
        done
    }

    fn delete(&self, table: &str, condition: &str, limit: usize) -> String {
        format!("DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE {condition} LIMIT {limit})")
    }
}

async fn attempt(
    connection: &mut SqliteConnection,
    sql: &str,
    decide: &(impl Fn(&Locked, &[SqliteRow]) -> Result<Option<Writes>, WalletError> + Send + Sync),
) -> Result<bool, WalletError> {
    connection.execute(BEGIN).await.map_err(unavailable)?;
    let row = sqlx::query(LOCKED).fetch_one(&mut *connection).await.map_err(unavailable)?;
    let locked = Locked { attempt: row.int(0)?, writes: row.int(1)?, moved_slots: String::new() };
    let rows = match sql.is_empty() {
        true => Vec::new(),
        false => sqlx::query(sql).fetch_all(&mut *connection).await.map_err(unavailable)?,
    };
    let Some(Writes { sql, rows }) = decide(&locked, &rows)? else { return Ok(false) };
    let done = connection.execute(sqlx::raw_sql(&sql)).await.map_err(unavailable)?;
    if done.rows_affected() != rows {
        let reason = format!("{} rows were written instead of {rows}", done.rows_affected());
        return Err(DatabaseError::Damaged(reason).into());
    }
    let committed = connection.execute("COMMIT /* month */").await;
    committed.map_err(|error| WalletError::Unknown(error.to_string()))?;
    Ok(true)
}

/// The statement that lists names of users behind one.
fn names(after: &str, limit: u32) -> String {
    USERS.replace("{after}", &format!("'{after}'")).replace("{limit}", &limit.to_string())
}

#[async_trait]
impl WalletMonths for SqliteWallet {
    fn shards(&self) -> Vec<ShardPlace> {
        vec![self.place()]
    }

    async fn ledger_end(&self, _shard: u8) -> Result<LedgerEnd, WalletError> {
        tables::ledger_end(self).await
    }

    async fn months(&self, _shard: u8, after: u64, limit: u32) -> Result<Vec<MonthRow>, WalletError> {
        // A file of an earlier version, which is only read.
        if !self.is_whole {
            return Ok(Vec::new());
        }
        tables::months(self, after, limit).await
    }

    async fn month_blocks(&self, _shard: u8, number: u64) -> Result<Vec<Block>, WalletError> {
        tables::blocks(self, number).await
    }

    async fn month_ties(&self, _shard: u8, number: u64) -> Result<Vec<(Date, Tie)>, WalletError> {
        tables::ties(self, number).await
    }

    async fn month_balances(
        &self,
        _shard: u8,
        number: u64,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, i64)>, WalletError> {
        tables::balances(self, number, after, limit).await
    }

    async fn users_at(
        &self,
        _shard: u8,
        after: &str,
        position: i64,
        number: u64,
        limit: u32,
    ) -> Result<Vec<UserAt>, WalletError> {
        tables::users_at(self, names, after, (position, number), limit).await
    }

    async fn begin_month(&self, _shard: u8) -> Result<MonthAttempt, WalletError> {
        tables::begin(self).await
    }

    async fn put_month(&self, attempt: &MonthAttempt, part: MonthPart) -> Result<bool, WalletError> {
        tables::put(self, attempt, &part).await
    }

    async fn seal_month(&self, attempt: &MonthAttempt, month: &Month) -> Result<bool, WalletError> {
        tables::seal(self, attempt, month).await
    }
}
