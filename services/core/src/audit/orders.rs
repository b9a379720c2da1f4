//! Orders at the provider against the transfers that they have made (I11).

use crate::order::{Order, OrderKind, OrderState};
use crate::transfer::{OrderMovement, Transfer, TransferId, TransferKind};

use super::findings::Breach;

/// The transfers that an order in this state has made, and no others.
fn due(order: &Order) -> Vec<(OrderMovement, TransferKind)> {
    use OrderMovement::{Begun, Failed, Paid, Returned};
    let begun = (Begun, if order.kind == OrderKind::Charge { TransferKind::Charge } else { TransferKind::Payout });
    match (order.kind, order.state) {
        (OrderKind::Charge, OrderState::Succeeded) => vec![begun],
        (OrderKind::Charge, _) => Vec::new(),
        (_, OrderState::Created | OrderState::Pending | OrderState::Closing | OrderState::Held) => vec![begun],
        (_, OrderState::Succeeded) => vec![begun, (Paid, TransferKind::PayoutPaid)],
        (_, OrderState::Failed) => vec![begun, (Failed, TransferKind::PayoutFailed)],
        (_, OrderState::Returned) => {
            vec![begun, (Paid, TransferKind::PayoutPaid), (Returned, TransferKind::PayoutReturned)]
        }
    }
}

/// The ids of all transfers that an order could have made.
pub fn ids_of_order(order: &Order) -> impl Iterator<Item = TransferId> {
    let id = order.id;
    OrderMovement::ALL.into_iter().map(move |movement| TransferId::Order(id, movement))
}

/// Checks an order against the transfers under its id.
pub fn check_order(order: &Order, transfers: &[Transfer]) -> Vec<Breach> {
    let breach = |code, detail| Breach {
        invariant: "I11",
        code,
        envelope_id: order.envelope,
        user_id: Some(order.user.to_string()),
        detail: format!("order {}: {detail}", order.id),
    };
    let mut breaches = Vec::new();
    let due = due(order);
    for (movement, kind) in &due {
        let id = TransferId::Order(order.id, *movement);
        match transfers.iter().find(|transfer| transfer.id == id) {
            None => breaches.push(breach(
                "order_transfer_missing",
                format!("it is {:?}, and there is no transfer of kind {kind:?}", order.state),
            )),
            Some(found) if (found.kind, &found.user, found.amount) != (*kind, &order.user, order.amount) => {
                let detail = format!(
                    "{:?} moved {} fen of {}, due were {} of {} as {kind:?}",
                    found.kind,
                    found.amount.get(),
                    found.user,
                    order.amount.get(),
                    order.user
                );
                breaches.push(breach("order_transfer_wrong", detail));
            }
            Some(_) => {}
        }
    }
    for transfer in transfers {
        if !due.iter().any(|(movement, _)| transfer.id == TransferId::Order(order.id, *movement)) {
            let detail = format!("it is {:?}, and {} moved {} fen", order.state, transfer.id, transfer.amount.get());
            breaches.push(breach("order_transfer_undue", detail));
        }
    }
    let is_over = order.state.is_final();
    if !is_over && order.due_at.is_none() {
        breaches.push(breach("order_forgotten", "its outcome is not known, and it is never asked for".to_owned()));
    }
    if matches!(order.state, OrderState::Succeeded | OrderState::Returned | OrderState::Held)
        != order.happened_at.is_some()
    {
        breaches.push(breach(
            "order_time_wrong",
            format!("it is {:?}, and happened at {:?}", order.state, order.happened_at),
        ));
    }
    if (order.created_at.millis() - order.id.minted_at().millis()).abs() > 60_000 {
        breaches.push(breach(
            "order_time_wrong",
            format!("its id is of {}, it of {}", order.id.minted_at(), order.created_at),
        ));
    }
    breaches
}

/// A transfer that names an order which does not exist (I11).
pub fn order_missing(transfer: &Transfer) -> Breach {
    Breach {
        invariant: "I11",
        code: "order_missing",
        envelope_id: None,
        user_id: Some(transfer.user.to_string()),
        detail: format!("{} moved {} fen for an order that does not exist", transfer.id, transfer.amount.get()),
    }
}
