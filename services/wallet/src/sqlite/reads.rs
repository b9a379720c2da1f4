//! What users and workers read: each verb is one statement, so each sees one moment.

use async_trait::async_trait;
use hongbao_core::{Fen, Transfer, TransferId, TransferKind, UserId};

use super::SqliteWallet;
use super::transaction::{keys, unavailable};
use crate::row::{self, code_of, posted, transfer};
use crate::{Posted, WalletError, WalletReads};

const BALANCE: &str = "SELECT balance_fen FROM transfer WHERE user_id = ?1 ORDER BY position DESC LIMIT 1";

/// The kinds are a set of bits, so that there is one text for all of them.
const HISTORY: &str = "SELECT id, user_id, kind, amount_fen, at_ms, position FROM transfer \
     WHERE user_id = ?1 AND position < ?2 AND (1 << kind) & ?3 ORDER BY position DESC LIMIT ?4";

const FIND: &str = "SELECT id, user_id, kind, amount_fen, at_ms FROM transfer \
     WHERE id IN (SELECT unhex(value) FROM json_each(?1)) ORDER BY id";

#[async_trait]
impl WalletReads for SqliteWallet {
    async fn balance(&self, user: &UserId) -> Result<Fen, WalletError> {
        let row =
            sqlx::query(BALANCE).bind(user.as_str()).fetch_optional(self.readers()?).await.map_err(unavailable)?;
        let Some(row) = row else { return Ok(Fen::ZERO) };
        row::balance(&row, 0, user)
    }

    async fn history(
        &self,
        user: &UserId,
        kinds: &[TransferKind],
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posted>, WalletError> {
        let bits =
            if kinds.is_empty() { -1 } else { kinds.iter().fold(0, |bits, kind| bits | 1_i64 << code_of(*kind)) };
        let rows = sqlx::query(HISTORY)
            .bind(user.as_str())
            .bind(before.unwrap_or(i64::MAX))
            .bind(bits)
            .bind(limit)
            .fetch_all(self.readers()?);
        rows.await.map_err(unavailable)?.iter().map(posted).collect()
    }

    async fn find(&self, ids: &[TransferId]) -> Result<Vec<Transfer>, WalletError> {
        let rows = sqlx::query(FIND).bind(keys(ids.iter().copied())).fetch_all(self.readers()?);
        rows.await.map_err(unavailable)?.iter().map(transfer).collect()
    }
}
