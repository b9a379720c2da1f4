//! Following the journals, and settling: each is one round trip; on Galera settling with several
//! statements is one for each of them, and two more.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::limits::SQL_LIST_MAX;
use hongbao_core::{Envelope, EnvelopeId};
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::row::{put, put_bytes};
use sqlx::mysql::MySqlRow;

use super::store::MysqlStore;
use super::transaction::{Transaction, execute};
use crate::failure::committing;
use crate::place::{DayTableStore as _, look_for_renamed};
use crate::rows;
use crate::{Crediting, Settlement, StoreError, TailEntry};

#[async_trait]
impl Crediting for MysqlStore {
    async fn tail(&self, table: TableRef, position: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        let statements = self.at(table)?;
        let query = sqlx::query(&statements.plain.tail).bind(position).bind(limit);
        self.all(query, rows::tail_entry).await
    }

    async fn tail_position(&self, table: TableRef) -> Result<i64, StoreError> {
        Ok(self.tail_positions(&[table]).await?[0])
    }

    async fn tail_positions(&self, tables: &[TableRef]) -> Result<Vec<i64>, StoreError> {
        let end = |row: &MySqlRow| Ok(row.int_or_null(0)?.unwrap_or(0));
        self.of_each("tail_positions", tables, |statements| &statements.tail_end, end).await
    }

    async fn unsettled(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        through: i64,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        let statements = self.at(table)?;
        let query = sqlx::query(&statements.plain.unsettled).bind(rows::cursor(&after)).bind(through).bind(limit);
        self.all(query, |row| rows::envelope(row, 0)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        look_for_renamed(self, settlements.iter().map(|settlement| settlement.envelope_id)).await?;
        let Some(transaction) = self.settlement(settlements)? else { return Ok(()) };
        let mut lease = self.connections.lease().await?;
        let done = execute(&mut lease, transaction).await;
        lease.done(done).map_err(committing).map(|_| ())
    }
}

impl MysqlStore {
    /// Envelopes that came equally far are moved by one statement, in the order of
    /// their ids, so that two workers meet in the same order.
    fn settlement(&self, settlements: &[Settlement]) -> Result<Option<Transaction>, StoreError> {
        let mut furthest: BTreeMap<EnvelopeId, (u32, bool)> = BTreeMap::new();
        for settlement in settlements {
            let kept = furthest.entry(settlement.envelope_id).or_default();
            *kept = (*kept).max((settlement.settled_seq, settlement.ended));
        }
        let mut groups: BTreeMap<(TableRef, u32, bool), Vec<EnvelopeId>> = BTreeMap::new();
        for (id, (settled_seq, ended)) in furthest {
            groups.entry((self.table_for(id), settled_seq, ended)).or_default().push(id);
        }
        let mut statements = Vec::new();
        let lists = groups.iter().flat_map(|(group, ids)| ids.chunks(SQL_LIST_MAX).map(move |ids| (*group, ids)));
        for ((table, settled_seq, ended), ids) in lists {
            let table = &self.at(table)?.envelope_table;
            let mut text = format!("UPDATE /* settle */ {table} SET settled_seq = {settled_seq}");
            if ended {
                text.push_str(", stage = CASE WHEN stage = 1 THEN 3 ELSE stage END");
            }
            text.push_str(" WHERE id IN (");
            for (number, id) in ids.iter().enumerate() {
                if number > 0 {
                    text.push(',');
                }
                put_bytes(&mut text, id.as_bytes());
            }
            let also_ended =
                if ended { format!(" OR (settled_seq = {settled_seq} AND stage = 1)") } else { String::new() };
            put(&mut text, format_args!(") AND (settled_seq < {settled_seq}{also_ended})"));
            statements.push(text);
        }
        Ok(Transaction::of(statements))
    }
}
