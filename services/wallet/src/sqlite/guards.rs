//! The keys of requests in the file.

use async_trait::async_trait;
use hongbao_core::{Date, KeyedRequest, Timestamp, UserId};
use sqlx::sqlite::SqliteConnection;

use super::SqliteWallet;
use super::transaction::unavailable;
use crate::quotas::{self, Guard, PURGED};
use crate::request_keys::{code_of_call, held};
use crate::{NewEnvelope, Reserved, WalletError, WalletGuards};

const BEGIN: &str = "BEGIN IMMEDIATE /* reserve */";
/// The table of envelopes that wait for payment.
const RESERVATION: &str = "reservation";
const COMMIT: &str = "COMMIT /* reserve */";
const ROLLBACK: &str = "ROLLBACK /* reserve */";
const KEY: &str = "SELECT body_hash, id FROM request_key WHERE user_id = ?1 AND call_kind = ?2 AND request_key = ?3";
const PUT_KEY: &str = "INSERT INTO request_key (user_id, call_kind, request_key, body_hash, id, at_ms) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const PURGE: &str = "DELETE FROM request_key WHERE rowid IN \
     (SELECT rowid FROM request_key WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)";

#[async_trait]
impl WalletGuards for SqliteWallet {
    async fn reserve(&self, envelope: &NewEnvelope) -> Result<Reserved, WalletError> {
        self.writable()?;
        let mut writer = self.file.writer().await?;
        match attempt(&mut writer, envelope).await {
            Ok(reserved) => {
                writer.committed()?;
                Ok(reserved)
            }
            Err(error) => {
                // Fails when SQLite has rolled back already: either way nothing is open after it.
                let _ = sqlx::query(ROLLBACK).execute(&mut *writer).await;
                Err(error)
            }
        }
    }

    async fn purge_keys(&self, _shard: u8, before: Timestamp, limit: u32) -> Result<u32, WalletError> {
        self.writable()?;
        let mut writer = self.file.writer().await?;
        let done = sqlx::query(PURGE).bind(before.millis()).bind(limit).execute(&mut *writer).await;
        let done = done.map_err(unavailable)?;
        writer.committed()?;
        Ok(u32::try_from(done.rows_affected()).unwrap_or(u32::MAX))
    }

    async fn purge_counts(&self, _shard: u8, date: Date, until: Timestamp, limit: u32) -> Result<u32, WalletError> {
        self.writable()?;
        let mut writer = self.file.writer().await?;
        let mut rows = 0;
        for (table, column, is_day) in PURGED {
            let before = if is_day { i64::from(date.number()) } else { until.millis() };
            let sql = format!(
                "DELETE FROM {table} WHERE rowid IN \
                 (SELECT rowid FROM {table} WHERE {column} < {before} ORDER BY {column} LIMIT {limit})"
            );
            let done = sqlx::query(&sql).persistent(false).execute(&mut *writer).await;
            rows += done.map_err(unavailable)?.rows_affected();
        }
        writer.committed()?;
        Ok(u32::try_from(rows).unwrap_or(u32::MAX))
    }
}

async fn attempt(connection: &mut SqliteConnection, envelope: &NewEnvelope) -> Result<Reserved, WalletError> {
    sqlx::query(BEGIN).execute(&mut *connection).await.map_err(unavailable)?;
    let NewEnvelope { user, id, request, quota, now } = envelope;
    let known = match request {
        Some(request) => find_key(connection, user, request).await?,
        None => None,
    };
    let counted = match quota {
        Some(quota) if known.is_none() => {
            let sql = quotas::read_unpaid(RESERVATION, envelope);
            let row = sqlx::query(&sql).persistent(false).fetch_one(&mut *connection).await.map_err(unavailable)?;
            quotas::known_unpaid(quota, &row)?
        }
        _ => None,
    };
    let reserved = match known.or(counted) {
        Some(found) => found,
        None => {
            if let Some(request) = request {
                store_key(connection, user, request, id.as_bytes(), *now).await?;
            }
            if let Some(quota) = quota {
                let sql = quotas::reserve(RESERVATION, envelope, quota, &Guard::default());
                sqlx::query(&sql).persistent(false).execute(&mut *connection).await.map_err(unavailable)?;
            }
            Reserved::New
        }
    };
    let committed = sqlx::query(COMMIT).execute(connection).await;
    committed.map_err(|error| WalletError::Unknown(error.to_string()))?;
    Ok(reserved)
}

/// What a key stands for, if it is there; within a transaction that writes.
pub(super) async fn find_key(
    connection: &mut SqliteConnection,
    user: &UserId,
    request: &KeyedRequest,
) -> Result<Option<Reserved>, WalletError> {
    let row = sqlx::query(KEY)
        .bind(user.as_str())
        .bind(code_of_call(request.call))
        .bind(request.key.as_str())
        .fetch_optional(connection);
    row.await.map_err(unavailable)?.map(|row| held(&row, 0, request)).transpose()
}

/// Stores a key with the id that it stands for.
pub(super) async fn store_key(
    connection: &mut SqliteConnection,
    user: &UserId,
    request: &KeyedRequest,
    id: &[u8; 16],
    now: Timestamp,
) -> Result<(), WalletError> {
    let put = sqlx::query(PUT_KEY)
        .bind(user.as_str())
        .bind(code_of_call(request.call))
        .bind(request.key.as_str())
        .bind(request.body_hash.to_vec())
        .bind(id.to_vec())
        .bind(now.millis());
    put.execute(connection).await.map_err(unavailable)?;
    Ok(())
}
