//! The keys of requests in the databases.

use async_trait::async_trait;
use hongbao_core::{Date, KeyedRequest, Timestamp, UserId};
use hongbao_database::mysql::connection::within;
use hongbao_database::mysql::failure::committing;
use hongbao_database::mysql::row::{put, put_bytes};
use hongbao_database::row::StoredRow as _;
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use super::fence::{FENCE_COLUMNS, Fence};
use super::shard::Shard;
use super::transact::{Write, transact};
use super::wallet::MysqlWallet;
use crate::quotas::{self, Guard, PURGED};
use crate::request_keys::{code_of_call, held};
use crate::{NewEnvelope, Reserved, WalletError, WalletGuards};

#[async_trait]
impl WalletGuards for MysqlWallet {
    async fn reserve(&self, envelope: &NewEnvelope) -> Result<Reserved, WalletError> {
        let NewEnvelope { user, id, request, quota, now } = envelope;
        let shard = self.shard_of(user);
        let db = &shard.db;
        let reservation = format!("{db}.reservation");
        let unpaid = quota.map_or_else(String::new, |_| quotas::read_unpaid(&reservation, envelope) + "; ");
        let key = request.as_ref().map_or_else(String::new, |request| text_that_reads_key(db, user, request));
        let read = format!(
            "SELECT /* reserve */ l.transactions, {FENCE_COLUMNS} FROM {db}.ledger l JOIN {db}.fence f \
             ON f.one = l.one WHERE l.one = 1 FOR UPDATE; {unpaid}{key}"
        );
        let decide = |rows: &[MySqlRow]| {
            let missing = || WalletError::Damaged(format!("{db}.ledger or {db}.fence has no row"));
            let (ledger, rows) = rows.split_first().ok_or_else(missing)?;
            Fence::read(ledger, 1)?.ok_or_else(missing)?.check_user(db, user)?;
            let (mut sql, mut written, mut reserved) = (String::new(), 1, Reserved::New);
            let (unpaid, rows) = rows.split_at(usize::from(quota.is_some()).min(rows.len()));
            let counted = quota.as_ref().zip(unpaid.first()).map(|(quota, row)| quotas::known_unpaid(quota, row));
            let transactions = ledger.int(0)?;
            match (rows.first().zip(request.as_ref()), counted.transpose()?.flatten()) {
                (Some((row, request)), _) => reserved = held(row, 0, request)?,
                (None, Some(counted)) => reserved = counted,
                (None, None) => {
                    if let Some(request) = request {
                        put_key(&mut sql, db, user, request, id.as_bytes(), *now);
                        sql.push_str("; ");
                        written += 1;
                    }
                    if let Some(quota) = quota {
                        let guard = Guard::of_ledger(db, transactions);
                        sql.push_str(&quotas::reserve(&reservation, envelope, quota, &guard));
                        sql.push_str("; ");
                        written += 1;
                    }
                }
            }
            // In any case: what was found may not have reached the disk, and this commit takes it there. On a cluster
            // only one of two transactions that write this row can commit.
            put(
                &mut sql,
                format_args!(
                    "UPDATE /* reserve */ {db}.ledger SET transactions = transactions + 1 \
                     WHERE one = 1 AND transactions = {transactions}"
                ),
            );
            Ok(Write { sql, rows: written, value: reserved })
        };
        transact(db, || shard.connections.lease(), &read, decide).await
    }

    async fn purge_keys(&self, shard: u8, before: Timestamp, limit: u32) -> Result<u32, WalletError> {
        let (shard, at) = (self.shard(shard)?, before.millis());
        let db = &shard.db;
        let sql = format!(
            "DELETE /* purge keys */ FROM {db}.request_key WHERE at_ms < {at} AND {} ORDER BY at_ms LIMIT {limit}",
            none_leave(db)
        );
        purge(shard, &sql).await
    }

    async fn purge_counts(&self, shard: u8, date: Date, until: Timestamp, limit: u32) -> Result<u32, WalletError> {
        let shard = self.shard(shard)?;
        let (db, day, until) = (&shard.db, i64::from(date.number()), until.millis());
        let delete = |(table, column, is_day): (&str, &str, bool)| {
            let before = if is_day { day } else { until };
            format!(
                "DELETE /* purge counts */ FROM {db}.{table} WHERE {column} < {before} AND {} \
                 ORDER BY {column} LIMIT {limit}",
                none_leave(db)
            )
        };
        purge(shard, &PURGED.map(delete).join("; ")).await
    }
}

/// Holds while no slots leave a database: what was carried of them is compared, and would not be as it was.
fn none_leave(db: &str) -> String {
    format!("NOT EXISTS (SELECT 1 FROM {db}.slot_move WHERE arrival IS NULL AND target_id IS NULL)")
}

/// Executes statements that remove rows; gives how many.
async fn purge(shard: &Shard, sql: &str) -> Result<u32, WalletError> {
    let mut lease = shard.connections.lease().await?;
    let limit = lease.limit();
    let done = within(limit, lease.connection().execute(sqlx::raw_sql(sql))).await;
    let done = lease.done(done).map_err(committing)?;
    Ok(u32::try_from(done.rows_affected()).unwrap_or(u32::MAX))
}

/// The statement that reads `body_hash, id` of a key, for a transaction that has locked the ledger.
pub(super) fn text_that_reads_key(db: &str, user: &UserId, request: &KeyedRequest) -> String {
    let (call, key) = (code_of_call(request.call), &request.key);
    format!(
        "SELECT /* key */ body_hash, id FROM {db}.request_key \
         WHERE user_id = '{user}' AND call_kind = {call} AND request_key = '{key}'"
    )
}

/// Writes the statement that stores a key with the id that it stands for.
pub(super) fn put_key(
    sql: &mut String,
    db: &str,
    user: &UserId,
    request: &KeyedRequest,
    id: &[u8; 16],
    now: Timestamp,
) {
    let (call, key, at) = (code_of_call(request.call), &request.key, now.millis());
    put(
        sql,
        format_args!(
            "INSERT /* key */ INTO {db}.request_key (user_id, call_kind, request_key, body_hash, id, at_ms) \
             VALUES ('{user}',{call},'{key}',"
        ),
    );
    put_bytes(sql, &request.body_hash);
    sql.push(',');
    put_bytes(sql, id);
    put(sql, format_args!(",{at})"));
}
