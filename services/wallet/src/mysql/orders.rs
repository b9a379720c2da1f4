//! Orders in the shards.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::{EnvelopeId, Order, OrderId, OrderKind, Timestamp, Transfer, UserId};
use hongbao_database::row::StoredRow as _;
use sqlx::mysql::MySqlRow;

use super::shard::Shard;
use super::transaction;
use super::wallet::MysqlWallet;
use crate::ledger::PostingPlan;
use crate::orders::opening;
use crate::orders::tables::{self, OrderTables, Writes};
use crate::{Changed, NewOrder, OrderChange, OrderOpening, Orders, TakenUp, UnfinishedOrders, WalletError};

impl OrderTables for Shard {
    type Row = MySqlRow;

    fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.db)
    }

    async fn rows_for(&self, user: &UserId, sql: &str) -> Result<Vec<MySqlRow>, WalletError> {
        self.fetch_for(user, sql).await
    }

    async fn rows_of(&self, sql: &str) -> Result<(Vec<MySqlRow>, usize), WalletError> {
        self.fetch_of_those_who_stay(sql, 1).await
    }

    async fn numbers(&self, sql: &str) -> Result<Vec<Option<i64>>, WalletError> {
        let rows = self.fetch(sql).await?.rows;
        let row = rows.first().ok_or_else(|| WalletError::Damaged(format!("{}: no numbers", self.db)))?;
        (0..sqlx::Row::len(row)).map(|column| Ok(row.int_or_null(column)?)).collect()
    }

    async fn change<T: Send>(
        &self,
        possible: &[Transfer],
        reads: &[String],
        decide: impl for<'a> Fn(&mut PostingPlan<'a>, &'a [Transfer], &[&MySqlRow]) -> Result<Writes<T>, WalletError>
        + Send
        + Sync,
    ) -> Result<T, WalletError> {
        transaction::change(self, possible, reads, decide).await
    }
}

#[async_trait]
impl Orders for MysqlWallet {
    async fn open_order(&self, new: NewOrder) -> Result<OrderOpening, WalletError> {
        let shard = self.shard_of(&new.order.user);
        shard.check_known(&new.order.user)?;
        opening::open(shard, &new).await
    }

    async fn order(&self, user: &UserId, id: OrderId) -> Result<Option<Order>, WalletError> {
        tables::one(self.shard_of(user), user, id).await
    }

    async fn orders(
        &self,
        user: &UserId,
        kind: OrderKind,
        before: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<Order>, WalletError> {
        tables::of_user(self.shard_of(user), user, kind, before, limit).await
    }

    async fn charges_for(&self, user: &UserId, envelope: EnvelopeId) -> Result<Vec<Order>, WalletError> {
        tables::for_envelope(self.shard_of(user), user, envelope).await
    }

    async fn find_orders(&self, ids: &[OrderId]) -> Result<Vec<Order>, WalletError> {
        let ids: Arc<[OrderId]> = ids.into();
        let ask = |shard: Arc<Shard>| {
            let ids = Arc::clone(&ids);
            async move { tables::find(&*shard, &ids).await }
        };
        sorted(self.ask_all(ask).await?.concat(), u32::MAX)
    }

    async fn take_up_orders(&self, now: Timestamp, limit: u32) -> Result<Vec<TakenUp>, WalletError> {
        let answers = self.ask_all(|shard| async move { Ok(tables::take_up(&*shard, now, limit).await) }).await?;
        let (mut taken, mut failed) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(of_shard) => taken.extend(of_shard),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if taken.is_empty() => Err(error),
            _ => Ok(taken),
        }
    }

    async fn change_orders(&self, changes: Vec<OrderChange>) -> Result<Vec<Changed>, WalletError> {
        let mut changed: Vec<Option<Changed>> = changes.iter().map(|_| None).collect();
        let mut done = false;
        for shard in self.from(0) {
            let (places, own): (Vec<usize>, Vec<OrderChange>) = (changes.iter().enumerate())
                .filter(|(_, change)| self.shard_of(&change.after.user).number == shard.number)
                .map(|(place, change)| (place, change.clone()))
                .unzip();
            if own.is_empty() {
                continue;
            }
            let outcomes = tables::change(shard, &own).await.map_err(|error| match done {
                true => WalletError::Unknown(format!("a part of the orders was not changed: {error}")),
                false => error,
            })?;
            done = true;
            for (place, outcome) in places.into_iter().zip(outcomes) {
                changed[place] = Some(outcome);
            }
        }
        Ok(changed.into_iter().map(|outcome| outcome.unwrap_or(Changed::Overtaken)).collect())
    }

    async fn hint(&self, id: OrderId, now: Timestamp) -> Result<bool, WalletError> {
        let known = self.ask_all(|shard| async move { tables::hint(&*shard, id, now).await }).await?;
        Ok(known.contains(&true))
    }

    async fn orders_in_need(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<Order>, WalletError> {
        self.page("orders_in_need", "attention IS NOT NULL".to_owned(), after, limit).await
    }

    async fn orders_happened(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<Order>, WalletError> {
        self.page("orders_happened", tables::happened(from, until), after, limit).await
    }

    async fn scan_orders(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<Order>, WalletError> {
        self.page("scan_orders", "1 = 1".to_owned(), after, limit).await
    }

    async fn unfinished_orders(&self) -> Result<UnfinishedOrders, WalletError> {
        let of_shards = self.ask_all(|shard| async move { tables::unfinished(&*shard).await }).await?;
        Ok(of_shards.into_iter().fold(UnfinishedOrders::default(), |sum, one| UnfinishedOrders {
            orders: sum.orders + one.orders,
            oldest: sum.oldest.into_iter().chain(one.oldest).min(),
            need_attention: sum.need_attention + one.need_attention,
        }))
    }
}

impl MysqlWallet {
    async fn page(
        &self,
        name: &'static str,
        condition: String,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<Order>, WalletError> {
        let condition: Arc<str> = condition.into();
        let ask = |shard: Arc<Shard>| {
            let condition = Arc::clone(&condition);
            async move { tables::page(&*shard, name, &condition, after, limit).await }
        };
        sorted(self.ask_all(ask).await?.concat(), limit)
    }
}

/// The first so many by id, of all shards.
fn sorted(mut orders: Vec<Order>, limit: u32) -> Result<Vec<Order>, WalletError> {
    orders.sort_by_key(|order| order.id);
    orders.truncate(limit as usize);
    Ok(orders)
}
