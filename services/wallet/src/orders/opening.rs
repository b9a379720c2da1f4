//! A new order, in statements that every database here understands: stored with its key and with what it moves at once.

use hongbao_core::{
    KeyedRequest, Order, OrderKind, OrderMovement, OrderState, Transfer, TransferKind, TransferOutcome, UserId,
    order::movements,
};
use hongbao_database::row::StoredRow;

use super::rows::{ORDER_COLUMNS, ORDER_COLUMNS_COUNT, order};
use super::tables::{ORDER_ROW, OrderTables, Statement, Writes, insert, payment, select_to_change};
use super::{NewOrder, OrderOpening};
use crate::WalletError;
use crate::quotas;
use crate::request_keys::code_of_call;
use crate::row::hex;

/// Stores a new order, unless its key or its envelope has one.
pub(crate) async fn open(tables: &impl OrderTables, new: &NewOrder) -> Result<OrderOpening, WalletError> {
    let NewOrder { order: new, request, quota } = new;
    let mut possible = movements(None, new, new.created_at);
    let mut reads = Vec::new();
    if let Some(envelope) = new.envelope {
        // It is not executed here: what is known of its id says whether the envelope can still be paid.
        possible.push(payment(new, envelope, new.created_at));
        let of_envelope = format!("WHERE envelope_id = x'{}' ORDER BY id", hex(envelope.as_bytes()));
        reads.push(select_to_change(tables, "open_order", &of_envelope));
    } else if new.kind == OrderKind::Charge {
        // It is not executed here: it has the user looked up, whose money may be in another shard by now.
        possible.push(Transfer::of_order(new, OrderMovement::Begun, TransferKind::Charge, new.created_at));
    }
    if let Some(request) = request {
        reads.push(select_by_key(tables, &new.user, request));
    }
    if let Some(quota) = quota {
        reads.extend(quotas::reads(|name| tables.table(name), [(&new.user, quota)], &[], []));
    }
    tables
        .change(&possible, &reads, |plan, possible, rows| {
            if let Some(known) = known(request.as_ref(), rows)? {
                return Ok(Writes::none(known));
            }
            if new.kind == OrderKind::Payout && plan.is_frozen(&new.user) {
                return Ok(Writes::none(OrderOpening::Frozen));
            }
            let payment = possible.iter().find(|transfer| transfer.kind == TransferKind::Send);
            match payment.and_then(|payment| plan.kind_of(payment.id)) {
                None => {}
                Some(TransferKind::Cancel) => return Ok(Writes::none(OrderOpening::EnvelopeCancelled)),
                Some(_) => return Ok(Writes::none(OrderOpening::EnvelopePaid)),
            }
            let exceeded = |quota| plan.quotas.exceeded(quota, &new.user, new.amount);
            if let Some(limit) = quota.as_ref().and_then(exceeded) {
                return Ok(Writes::none(OrderOpening::LimitExceeded(limit)));
            }
            for transfer in possible.iter().filter(|transfer| transfer.kind == TransferKind::Payout) {
                match plan.execute(transfer) {
                    TransferOutcome::Done => {}
                    TransferOutcome::InsufficientFunds => return Ok(Writes::none(OrderOpening::InsufficientFunds)),
                    outcome => {
                        let id = new.id;
                        return Err(WalletError::Damaged(format!("the new order {id} cannot be posted: {outcome:?}")));
                    }
                }
            }
            if let Some(quota) = quota {
                plan.quotas.open(quota, new);
            }
            let mut statements = vec![insert(tables, new)?];
            statements.extend(request.as_ref().map(|request| insert_key(tables, new, request)));
            Ok(Writes { statements, notes: Vec::new(), value: OrderOpening::Opened(new.clone()) })
        })
        .await
}

/// What is known of the request, or of the envelope.
fn known<R: StoredRow>(request: Option<&KeyedRequest>, rows: &[&R]) -> Result<Option<OrderOpening>, WalletError> {
    for row in rows {
        let order = order(*row, 1)?;
        match request {
            Some(request) if row.bytes(1 + ORDER_COLUMNS_COUNT)? != request.body_hash => {
                return Ok(Some(OrderOpening::KeyConflict));
            }
            Some(_) => return Ok(Some(OrderOpening::Repeated(order))),
            None if order.state != OrderState::Failed => return Ok(Some(OrderOpening::Exists(order))),
            None => {}
        }
    }
    Ok(None)
}

/// The order that a key stands for, and behind it the hash of the body that came with it.
fn select_by_key(tables: &impl OrderTables, user: &UserId, request: &KeyedRequest) -> String {
    let of_key = |column: &str| {
        format!(
            "(SELECT k.{column} FROM {} k WHERE k.user_id = '{user}' AND k.call_kind = {} AND k.request_key = '{}')",
            tables.table("request_key"),
            code_of_call(request.call),
            request.key
        )
    };
    format!(
        "SELECT /* order of key */ {ORDER_ROW}, {ORDER_COLUMNS}, {} FROM {} WHERE id = {}",
        of_key("body_hash"),
        tables.table("provider_order"),
        of_key("id")
    )
}

/// Stores a key with the order that it stands for.
fn insert_key(tables: &impl OrderTables, order: &Order, request: &KeyedRequest) -> Statement {
    Statement::Values(format!(
        "INSERT /* key */ INTO {} (user_id, call_kind, request_key, body_hash, id, at_ms) \
         SELECT '{}', {}, '{}', x'{}', x'{}', {}",
        tables.table("request_key"),
        order.user,
        code_of_call(request.call),
        request.key,
        hex(&request.body_hash),
        hex(order.id.as_bytes()),
        order.created_at.millis()
    ))
}
