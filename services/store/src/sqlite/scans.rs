//! Whole tables, page by page.

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Envelope, EnvelopeId, Stage};

use super::query::{all, one};
use super::store::SqliteStore;
use crate::exported;
use crate::place::{DayTableStore as _, has_been_exported};
use crate::rows;
use crate::{PendingPage, Scans, StoreError};

#[async_trait]
impl Scans for SqliteStore {
    async fn scan(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<(Envelope, u32)>, StoreError> {
        if self.day_tables().is_in_file(table) {
            return exported::scan(self, table, after, limit).await;
        }
        let (file, statements) = self.at(table)?;
        let query = sqlx::query(&statements.scan).bind(rows::cursor(&after)).bind(limit);
        match all(file, query, rows::envelope_and_last_seq).await {
            Err(_) if has_been_exported(self, table).await => exported::scan(self, table, after, limit).await,
            read => read,
        }
    }

    async fn count_pending(
        &self,
        table: TableRef,
        stage: Stage,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<PendingPage, StoreError> {
        let (file, statements) = self.at(table)?;
        let Some(sql) = statements.plain.count_pending(stage) else { return Ok(PendingPage::default()) };
        let row = one(file, sqlx::query(sql).bind(rows::cursor(&after)).bind(limit)).await?;
        row.map_or(Ok(PendingPage::default()), |row| rows::pending_page(&row))
    }

    async fn scan_entries(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        until: EnvelopeId,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        if self.day_tables().is_in_file(table) {
            return exported::scan_entries(self, table, after, until, limit).await;
        }
        let (file, statements) = self.at(table)?;
        let query = sqlx::query(&statements.plain.scan_entries);
        let query = query.bind(rows::cursor(&after)).bind(until.as_bytes().as_slice()).bind(limit);
        match all(file, query, |row| rows::entry(row, 0)).await {
            Err(_) if has_been_exported(self, table).await => {
                exported::scan_entries(self, table, after, until, limit).await
            }
            read => read,
        }
    }
}
