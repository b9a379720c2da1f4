//! Envelopes to cancel, to remove and to refund: each verb is one round trip.

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{Envelope, EnvelopeId, Journal, Timestamp};
use hongbao_database::mysql::row::put_bytes;

use super::store::MysqlStore;
use super::transaction::execute;
use crate::failure::committing;
use crate::rows::{self, envelope_and_journal};
use crate::{Maintenance, StoreError, Waiting};

#[async_trait]
impl Maintenance for MysqlStore {
    async fn waiting(&self, tables: &[TableRef]) -> Result<Vec<Waiting>, StoreError> {
        self.of_each("waiting", tables, |statements| &statements.plain.waiting, rows::waiting).await
    }

    async fn unpaid(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        let statements = self.at(table)?;
        let query =
            sqlx::query(&statements.plain.unpaid).bind(rows::cursor(&after)).bind(created_before.millis()).bind(limit);
        self.all(query, |row| rows::envelope(row, 0)).await
    }

    async fn cancelled(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<EnvelopeId>, StoreError> {
        let statements = self.at(table)?;
        let query = sqlx::query(&statements.plain.cancelled)
            .bind(rows::cursor(&after))
            .bind(created_before.millis())
            .bind(limit);
        self.all(query, |row| rows::envelope_id(row, 0)).await
    }

    async fn purge(&self, table: TableRef, envelopes: &[EnvelopeId]) -> Result<u64, StoreError> {
        let statements = self.at(table)?;
        let [head, tail] = &statements.plain.purge;
        if envelopes.is_empty() {
            return Ok(0);
        }
        let mut sql = head.clone();
        for (number, id) in envelopes.iter().enumerate() {
            if number > 0 {
                sql.push(',');
            }
            put_bytes(&mut sql, id.as_bytes());
        }
        sql.push_str(tail);
        let mut lease = self.connections.lease().await?;
        let done = execute(&mut lease, sql).await;
        lease.done(done).map_err(committing)
    }

    async fn expired(
        &self,
        table: TableRef,
        now: Timestamp,
        after: Option<(Timestamp, EnvelopeId)>,
        limit: u32,
    ) -> Result<Vec<(Envelope, Journal)>, StoreError> {
        let (after_ms, after_id) = after.map_or((i64::MIN, None), |(at, id)| (at.millis(), Some(id)));
        let statements = self.at(table)?;
        let query = sqlx::query(&statements.expired).bind(now.millis()).bind(after_ms).bind(after_ms);
        let query = query.bind(rows::cursor(&after_id)).bind(limit);
        self.all(query, envelope_and_journal).await
    }
}
