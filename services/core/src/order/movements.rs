//! What an order moves in the ledger as its state changes.

use super::{Order, OrderKind, OrderState};
use crate::time::Timestamp;
use crate::transfer::{OrderMovement, Transfer, TransferKind};

/// The transfers that are due when an order has become what it is: `before` is the state that is stored, `None` for a
/// new order. Their ids make a repeat harmless.
///
/// A charge moves money when it has succeeded. A payout takes it from the balance before the first request, so that
/// nothing else can spend it, and what becomes of the request moves it on. The refund of a charge is a payout, but the
/// money that it takes has only just arrived.
pub fn movements(before: Option<OrderState>, order: &Order, at: Timestamp) -> Vec<Transfer> {
    let one = |movement, kind| vec![Transfer::of_order(order, movement, kind, at)];
    let (was, is) = (before, order.state);
    if was == Some(is) {
        return Vec::new();
    }
    match (order.kind, is) {
        (OrderKind::Charge, OrderState::Succeeded) => one(OrderMovement::Begun, TransferKind::Charge),
        (OrderKind::Charge, _) => Vec::new(),
        (OrderKind::Payout | OrderKind::Refund, _) if was.is_none() => one(OrderMovement::Begun, TransferKind::Payout),
        (_, OrderState::Succeeded) => one(OrderMovement::Paid, TransferKind::PayoutPaid),
        (_, OrderState::Failed) => one(OrderMovement::Failed, TransferKind::PayoutFailed),
        (_, OrderState::Returned) => one(OrderMovement::Returned, TransferKind::PayoutReturned),
        (_, OrderState::Created | OrderState::Pending | OrderState::Closing | OrderState::Held) => Vec::new(),
    }
}
