//! Following the journals, and settling.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{Envelope, EnvelopeId};
use hongbao_database::StoredRow as _;

use super::query::all;
use super::rows::put_settlement;
use super::store::SqliteStore;
use super::transaction::Batch;
use crate::failure::unavailable;
use crate::place::look_for_renamed;
use crate::rows;
use crate::{Crediting, Settlement, StoreError, TailEntry};

#[async_trait]
impl Crediting for SqliteStore {
    async fn tail(&self, table: TableRef, position: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        let (file, statements) = self.at(table)?;
        all(file, sqlx::query(&statements.plain.tail).bind(position).bind(limit), rows::tail_entry).await
    }

    async fn tail_position(&self, table: TableRef) -> Result<i64, StoreError> {
        let (file, statements) = self.at(table)?;
        let row = sqlx::query(&statements.tail_position).fetch_one(file.readers()).await.map_err(unavailable)?;
        Ok(row.int(0)?)
    }

    async fn tail_positions(&self, tables: &[TableRef]) -> Result<Vec<i64>, StoreError> {
        let mut positions = Vec::with_capacity(tables.len());
        for table in tables {
            positions.push(self.tail_position(*table).await?);
        }
        Ok(positions)
    }

    async fn unsettled(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        through: i64,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        let (file, statements) = self.at(table)?;
        let query = sqlx::query(&statements.plain.unsettled).bind(rows::cursor(&after)).bind(through).bind(limit);
        all(file, query, |row| rows::envelope(row, 0)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        let batch = Batch {
            text: |statements| &statements.settle,
            columns: 3,
            put: put_settlement,
            id: |settlement: &Settlement| settlement.envelope_id,
        };
        // An update changes a row once, so the furthest settlement of each envelope goes in.
        let mut furthest: BTreeMap<EnvelopeId, Settlement> = BTreeMap::new();
        for settlement in settlements {
            let kept = furthest.entry(settlement.envelope_id).or_insert(*settlement);
            if (kept.settled_seq, kept.ended) < (settlement.settled_seq, settlement.ended) {
                *kept = *settlement;
            }
        }
        let furthest: Vec<Settlement> = furthest.into_values().collect();
        look_for_renamed(self, furthest.iter().map(|settlement| settlement.envelope_id)).await?;
        self.write_all(&batch, &furthest).await?;
        Ok(())
    }
}
