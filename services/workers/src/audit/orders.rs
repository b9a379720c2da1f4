//! The orders at the provider, and the transfers that they have made.

use std::collections::HashSet;

use hongbao_core::audit::{check_order, ids_of_order, order_missing, unreadable};
use hongbao_core::limits::DURABLE_READ_TRIES_MAX;
use hongbao_core::{Order, OrderId, Transfer};
use hongbao_wallet::WalletError;

use super::auditor::Audit;
use super::set::AuditError;
use super::wallet::ROWS_PAGE;

impl Audit<'_> {
    /// Each order has made the transfers that are due for its state, and no others.
    pub(super) async fn orders(&mut self) -> Result<(), AuditError> {
        let mut after = None;
        loop {
            let page = match self.wallet.scan_orders(after, ROWS_PAGE).await {
                Err(WalletError::Damaged(reason)) => {
                    let from = after.map_or("the first".to_owned(), |after| after.to_string());
                    self.tell([unreadable(None, format!("orders from {from} on: {reason}"))]);
                    return Ok(());
                }
                page => page?,
            };
            self.found.orders += page.len() as u64;
            after = page.last().filter(|_| page.len() as u32 == ROWS_PAGE).map(|last| last.id);
            self.check_orders(page).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// An order that differs from its transfers may have changed between the two readings: it is read again.
    async fn check_orders(&mut self, mut orders: Vec<Order>) -> Result<(), AuditError> {
        for attempt in 1..=DURABLE_READ_TRIES_MAX {
            if orders.is_empty() {
                break;
            }
            let ids: Vec<_> = orders.iter().flat_map(ids_of_order).collect();
            let transfers = self.wallet.find(&ids).await?;
            let mut differing = Vec::new();
            for order in orders {
                let of_order = |transfer: &&Transfer| transfer.id.order_id() == Some(order.id);
                let own: Vec<Transfer> = transfers.iter().filter(of_order).cloned().collect();
                let breaches = check_order(&order, &own);
                if attempt == DURABLE_READ_TRIES_MAX {
                    self.tell(breaches);
                } else if !breaches.is_empty() {
                    differing.push(order.id);
                }
            }
            orders = self.wallet.find_orders(&differing).await?;
        }
        Ok(())
    }

    /// Names those of these transfers whose order is not there.
    pub(super) async fn transfers_of_no_order(&mut self, transfers: &[&Transfer]) -> Result<(), AuditError> {
        let ids: HashSet<OrderId> = transfers.iter().filter_map(|transfer| transfer.id.order_id()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<OrderId> = ids.into_iter().collect();
        let found = match self.wallet.find_orders(&ids).await {
            // It is named where the orders are read.
            Err(WalletError::Damaged(_)) => return Ok(()),
            found => found?,
        };
        let found: HashSet<OrderId> = found.iter().map(|order| order.id).collect();
        self.tell(transfers.iter().filter_map(|transfer| {
            transfer.id.order_id().filter(|id| !found.contains(id)).map(|_| order_missing(transfer))
        }));
        Ok(())
    }
}
