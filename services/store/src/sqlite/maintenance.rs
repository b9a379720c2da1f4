//! Envelopes to cancel, to remove and to refund.

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{Envelope, EnvelopeId, Journal, Timestamp};

use super::query::{all, json_list, one};
use super::store::SqliteStore;
use crate::failure::commit_failed;
use crate::rows::{self, envelope_and_journal};
use crate::{Maintenance, StoreError, Waiting};

#[async_trait]
impl Maintenance for SqliteStore {
    async fn waiting(&self, tables: &[TableRef]) -> Result<Vec<Waiting>, StoreError> {
        let mut waiting = Vec::with_capacity(tables.len());
        for table in tables {
            let (file, statements) = self.at(*table)?;
            let text = format!("SELECT /* waiting */ {}", statements.plain.waiting);
            let row = one(file, sqlx::query(&text)).await?;
            waiting.push(row.map_or(Ok(Waiting::default()), |row| rows::waiting(&row))?);
        }
        Ok(waiting)
    }

    async fn unpaid(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        let (file, statements) = self.at(table)?;
        all(
            file,
            sqlx::query(&statements.plain.unpaid).bind(rows::cursor(&after)).bind(created_before.millis()).bind(limit),
            |row| rows::envelope(row, 0),
        )
        .await
    }

    async fn cancelled(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<EnvelopeId>, StoreError> {
        let (file, statements) = self.at(table)?;
        let query = sqlx::query(&statements.plain.cancelled)
            .bind(rows::cursor(&after))
            .bind(created_before.millis())
            .bind(limit);
        all(file, query, |row| rows::envelope_id(row, 0)).await
    }

    async fn purge(&self, table: TableRef, envelopes: &[EnvelopeId]) -> Result<u64, StoreError> {
        let (file, statements) = self.writable(table)?;
        let mut writer = file.writer().await?;
        let removal = sqlx::query(&statements.purge).bind(json_list(envelopes));
        let removed = removal.execute(&mut *writer).await.map_err(commit_failed)?.rows_affected();
        writer.committed()?;
        Ok(removed)
    }

    async fn expired(
        &self,
        table: TableRef,
        now: Timestamp,
        after: Option<(Timestamp, EnvelopeId)>,
        limit: u32,
    ) -> Result<Vec<(Envelope, Journal)>, StoreError> {
        let (after_ms, after_id) = after.map_or((i64::MIN, None), |(at, id)| (at.millis(), Some(id)));
        let (file, statements) = self.at(table)?;
        let query = sqlx::query(&statements.expired)
            .bind(now.millis())
            .bind(after_ms)
            .bind(rows::cursor(&after_id))
            .bind(limit);
        all(file, query, envelope_and_journal).await
    }
}
