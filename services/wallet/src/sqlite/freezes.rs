//! Frozen users in the file.

use async_trait::async_trait;
use hongbao_core::UserId;
use hongbao_core::limits::FROZEN_USERS_MAX;
use hongbao_database::row::StoredRow as _;
use sqlx::sqlite::SqliteConnection;

use super::SqliteWallet;
use super::transaction::unavailable;
use crate::freezes::changes;
use crate::row::freeze_change;
use crate::{FreezeChange, FreezeVersion, SetFrozen, WalletError, WalletFreezes};

const BEGIN: &str = "BEGIN IMMEDIATE /* freeze */";
const COMMIT: &str = "COMMIT /* freeze */";
const ROLLBACK: &str = "ROLLBACK /* freeze */";
const NEWEST: &str = "SELECT is_frozen, reason FROM freeze_log WHERE user_id = ?1 ORDER BY number DESC LIMIT 1";
const PUT: &str = "INSERT INTO freeze_log (number, user_id, is_frozen, reason, operator_id, at_ms) \
     SELECT COALESCE(MAX(number), 0) + 1, ?1, ?2, ?3, ?4, ?5 FROM freeze_log";
const LOG: &str = "SELECT user_id, is_frozen, reason, operator_id, at_ms FROM freeze_log WHERE user_id = ?1 \
     ORDER BY number DESC LIMIT ?2";
const VERSION: &str = "SELECT COALESCE(MAX(number), 0) FROM freeze_log";
const FROZEN_USERS: &str = "SELECT user_id, is_frozen, reason, operator_id, at_ms FROM freeze_log l \
     WHERE is_frozen AND NOT EXISTS (SELECT 1 FROM freeze_log n WHERE n.user_id = l.user_id AND n.number > l.number) \
     ORDER BY user_id LIMIT ?1";

#[async_trait]
impl WalletFreezes for SqliteWallet {
    async fn set_frozen(&self, change: &FreezeChange) -> Result<SetFrozen, WalletError> {
        self.writable()?;
        let mut writer = self.file.writer().await?;
        match attempt(&mut writer, change).await {
            Ok(done) => {
                writer.committed()?;
                Ok(done)
            }
            Err(error) => {
                // Fails when SQLite has rolled back already: either way nothing is open after it.
                let _ = sqlx::query(ROLLBACK).execute(&mut *writer).await;
                Err(error)
            }
        }
    }

    async fn freeze_log(&self, user: &UserId, limit: u32) -> Result<Vec<FreezeChange>, WalletError> {
        let rows = sqlx::query(LOG).bind(user.as_str()).bind(limit).fetch_all(self.readers()?);
        rows.await.map_err(unavailable)?.iter().map(freeze_change).collect()
    }

    async fn freeze_versions(&self) -> Vec<FreezeVersion> {
        let read = async {
            let row = sqlx::query(VERSION).fetch_one(self.readers()?).await.map_err(unavailable)?;
            Ok::<_, WalletError>(FreezeVersion { shard: 0, number: row.int(0)? })
        };
        match read.await {
            Ok(version) => vec![version],
            Err(error) => {
                tracing::debug!(%error, "freezes cannot be read");
                Vec::new()
            }
        }
    }

    async fn frozen_users(&self, _shard: u8) -> Result<Vec<FreezeChange>, WalletError> {
        let rows = sqlx::query(FROZEN_USERS).bind(FROZEN_USERS_MAX).fetch_all(self.readers()?);
        rows.await.map_err(unavailable)?.iter().map(freeze_change).collect()
    }
}

async fn attempt(connection: &mut SqliteConnection, change: &FreezeChange) -> Result<SetFrozen, WalletError> {
    sqlx::query(BEGIN).execute(&mut *connection).await.map_err(unavailable)?;
    let newest = sqlx::query(NEWEST).bind(change.user.as_str()).fetch_optional(&mut *connection);
    let newest = newest.await.map_err(unavailable)?;
    let newest = newest.as_ref().map(|row| Ok::<_, WalletError>((row.int(0)? != 0, row.text(1)?))).transpose()?;
    let is_change = changes(newest, change);
    if is_change {
        let put = sqlx::query(PUT)
            .bind(change.user.as_str())
            .bind(change.is_frozen)
            .bind(change.reason.as_str())
            .bind(change.operator.as_str())
            .bind(change.at.millis());
        put.execute(&mut *connection).await.map_err(unavailable)?;
    }
    let committed = sqlx::query(COMMIT).execute(connection).await;
    committed.map_err(|error| WalletError::Unknown(error.to_string()))?;
    Ok(if is_change { SetFrozen::Changed } else { SetFrozen::Unchanged })
}
