//! The keys of requests in the databases.

use async_trait::async_trait;
use hongbao_core::{KeyedRequest, Timestamp, UserId};
use hongbao_database::mysql::connection::within;
use hongbao_database::mysql::failure::committing;
use hongbao_database::mysql::row::{put, put_bytes};
use hongbao_database::row::StoredRow as _;
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use super::fence::{FENCE_COLUMNS, Fence};
use super::transact::{Write, transact};
use super::wallet::MysqlWallet;
use crate::request_keys::{code_of_call, held};
use crate::{NewEnvelope, Reserved, WalletError, WalletGuards};

#[async_trait]
impl WalletGuards for MysqlWallet {
    async fn reserve(&self, envelope: &NewEnvelope) -> Result<Reserved, WalletError> {
        let NewEnvelope { user, id, request, now } = envelope;
        let shard = self.shard_of(user);
        let db = &shard.db;
        let read = format!(
            "SELECT /* reserve */ l.transactions, {FENCE_COLUMNS} FROM {db}.ledger l JOIN {db}.fence f \
             ON f.one = l.one WHERE l.one = 1 FOR UPDATE; {}",
            text_that_reads_key(db, user, request)
        );
        let decide = |rows: &[MySqlRow]| {
            let missing = || WalletError::Damaged(format!("{db}.ledger or {db}.fence has no row"));
            let (ledger, rows) = rows.split_first().ok_or_else(missing)?;
            Fence::read(ledger, 1)?.ok_or_else(missing)?.check_user(db, user)?;
            let (mut sql, mut written, mut reserved) = (String::new(), 1, Reserved::New);
            match rows.first() {
                Some(row) => reserved = held(row, 0, request)?,
                None => {
                    put_key(&mut sql, db, user, request, id.as_bytes(), *now);
                    sql.push_str("; ");
                    written += 1;
                }
            }
            // In any case: what was found may not have reached the disk, and this commit takes it there. On a cluster
            // only one of two transactions that write this row can commit.
            let transactions = ledger.int(0)?;
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
        let shard = self.shard(shard)?;
        let mut lease = shard.connections.lease().await?;
        let (db, at) = (&shard.db, before.millis());
        let sql =
            format!("DELETE /* purge keys */ FROM {db}.request_key WHERE at_ms < {at} ORDER BY at_ms LIMIT {limit}");
        let limit = lease.limit();
        let done = within(limit, lease.connection().execute(sqlx::raw_sql(&sql))).await;
        let done = lease.done(done).map_err(committing)?;
        Ok(u32::try_from(done.rows_affected()).unwrap_or(u32::MAX))
    }
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
