//! Orders in the file.

use async_trait::async_trait;
use hongbao_core::{EnvelopeId, Order, OrderId, OrderKind, Timestamp, Transfer, UserId};
use hongbao_database::row::StoredRow as _;
use sqlx::sqlite::SqliteRow;

use super::SqliteWallet;
use super::transaction::{self, unavailable};
use crate::ledger::PostingPlan;
use crate::orders::opening;
use crate::orders::tables::{self, OrderTables, Writes};
use crate::{Changed, NewOrder, OrderChange, OrderOpening, Orders, TakenUp, UnfinishedOrders, WalletError};

impl OrderTables for SqliteWallet {
    type Row = SqliteRow;

    fn table(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn rows_for(&self, _user: &UserId, sql: &str) -> Result<Vec<SqliteRow>, WalletError> {
        self.rows(sql).await
    }

    async fn rows_of(&self, sql: &str) -> Result<(Vec<SqliteRow>, usize), WalletError> {
        // A file of an earlier version has none.
        if !self.is_whole {
            return Ok((Vec::new(), 0));
        }
        let rows = sqlx::query(sql).persistent(false).fetch_all(self.readers()?).await.map_err(unavailable)?;
        let found = rows.len();
        Ok((rows, found))
    }

    async fn numbers(&self, sql: &str) -> Result<Vec<Option<i64>>, WalletError> {
        let rows = self.rows(sql).await?;
        let Some(row) = rows.first() else { return Ok(Vec::new()) };
        (0..sqlx::Row::len(row)).map(|column| Ok(row.int_or_null(column)?)).collect()
    }

    async fn change<T: Send>(
        &self,
        possible: &[Transfer],
        reads: &[String],
        decide: impl for<'a> Fn(&mut PostingPlan<'a>, &'a [Transfer], &[&SqliteRow]) -> Result<Writes<T>, WalletError>
        + Send
        + Sync,
    ) -> Result<T, WalletError> {
        if self.queue.is_none() {
            return Err(WalletError::Unavailable("the ledger was opened read-only".to_owned()));
        }
        let mut writer = self.file.writer().await?;
        let value = transaction::change(&mut writer, possible, reads, decide).await?;
        writer.committed()?;
        Ok(value)
    }
}

#[async_trait]
impl Orders for SqliteWallet {
    async fn open_order(&self, new: NewOrder) -> Result<OrderOpening, WalletError> {
        opening::open(self, &new).await
    }

    async fn order(&self, user: &UserId, id: OrderId) -> Result<Option<Order>, WalletError> {
        tables::one(self, user, id).await
    }

    async fn orders(
        &self,
        user: &UserId,
        kind: OrderKind,
        before: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<Order>, WalletError> {
        tables::of_user(self, user, kind, before, limit).await
    }

    async fn charges_for(&self, user: &UserId, envelope: EnvelopeId) -> Result<Vec<Order>, WalletError> {
        tables::for_envelope(self, user, envelope).await
    }

    async fn find_orders(&self, ids: &[OrderId]) -> Result<Vec<Order>, WalletError> {
        tables::find(self, ids).await
    }

    async fn take_up_orders(&self, now: Timestamp, limit: u32) -> Result<Vec<TakenUp>, WalletError> {
        tables::take_up(self, now, limit).await
    }

    async fn change_orders(&self, changes: Vec<OrderChange>) -> Result<Vec<Changed>, WalletError> {
        match changes.is_empty() {
            true => Ok(Vec::new()),
            false => tables::change(self, &changes).await,
        }
    }

    async fn hint(&self, id: OrderId, now: Timestamp) -> Result<bool, WalletError> {
        tables::hint(self, id, now).await
    }

    async fn orders_in_need(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<Order>, WalletError> {
        tables::page(self, "orders_in_need", "attention IS NOT NULL", after, limit).await
    }

    async fn orders_happened(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<Order>, WalletError> {
        tables::page(self, "orders_happened", &tables::happened(from, until), after, limit).await
    }

    async fn scan_orders(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<Order>, WalletError> {
        tables::page(self, "scan_orders", "1 = 1", after, limit).await
    }

    async fn unfinished_orders(&self) -> Result<UnfinishedOrders, WalletError> {
        tables::unfinished(self).await
    }
}
