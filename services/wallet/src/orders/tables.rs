//! The verbs over orders, in statements that every database here understands.

use hongbao_core::event::Note;
use hongbao_core::limits::{DUE_WINDOW_MAX, ORDER_CLAIM_MS, SQL_LIST_MAX};
use hongbao_core::{
    EnvelopeId, Order, OrderId, OrderKind, OrderState, Timestamp, Transfer, TransferId, TransferKind, TransferOutcome,
    UserId, order::movements,
};
use hongbao_database::row::StoredRow;

use super::rows::{LAST_UNFINISHED, ORDER_COLUMNS, kind_code, order, order_assignments, order_values};
use super::{Changed, OrderChange, TakenUp, UnfinishedOrders};
use crate::WalletError;
use crate::ledger::PostingPlan;
use crate::quotas::{self, Guard, subject_of_order};
use crate::row::hex;

/// The first column of each order that a transaction reads. The wallet's own rows have smaller numbers.
pub(crate) const ORDER_ROW: i64 = 3;

/// A database with orders: one shard of the wallet.
pub(crate) trait OrderTables: Send + Sync {
    /// Its rows.
    type Row: StoredRow + Send + Sync;

    /// A table's name in a statement.
    fn table(&self, name: &str) -> String;

    /// The rows that a statement finds, without those of users who have left; `user_id` is the second column.
    fn rows(&self, sql: &str) -> impl Future<Output = Result<Vec<Self::Row>, WalletError>> + Send {
        async { Ok(self.rows_of(sql).await?.0) }
    }

    /// The rows that a statement finds of a user, who is refused after having left.
    fn rows_for(&self, user: &UserId, sql: &str) -> impl Future<Output = Result<Vec<Self::Row>, WalletError>> + Send;

    /// The rows of all users, and how many there were with those of users who have left.
    fn rows_of(&self, sql: &str) -> impl Future<Output = Result<(Vec<Self::Row>, usize), WalletError>> + Send;

    /// One number that a statement finds about the whole shard.
    fn numbers(&self, sql: &str) -> impl Future<Output = Result<Vec<Option<i64>>, WalletError>> + Send;

    /// Locks the ledger, reads what these transfers touch and then `reads`, whose rows begin with [`ORDER_ROW`] and have
    /// the user in the third column; decides; writes what was posted and the statements, of which each changes one
    /// row. One transaction, durable when it returns.
    fn change<T: Send>(
        &self,
        possible: &[Transfer],
        reads: &[String],
        decide: impl for<'a> Fn(&mut PostingPlan<'a>, &'a [Transfer], &[&Self::Row]) -> Result<Writes<T>, WalletError>
        + Send
        + Sync,
    ) -> impl Future<Output = Result<T, WalletError>> + Send;
}

/// A statement that changes one row, if what was read is as it was: a node of a cluster may end a transaction between two
/// statements, and runs the rest alone.
pub(crate) enum Statement {
    /// It ends with the values that it selects.
    Values(String),
    /// It ends with a condition.
    Condition(String),
}

impl Statement {
    /// Its text, with the guard.
    pub fn guarded(&self, guard: &Guard) -> String {
        match self {
            Statement::Values(sql) => format!("{sql}{}", guard.from),
            Statement::Condition(sql) => format!("{sql}{}", guard.and),
        }
    }
}

/// What a transaction writes beside transfers.
pub(crate) struct Writes<T> {
    /// Statements, each of which changes one row.
    pub statements: Vec<Statement>,
    /// Events, which are new as what the statements change.
    pub notes: Vec<Note>,
    /// What comes of it.
    pub value: T,
}

impl<T> Writes<T> {
    /// Nothing but the transfers.
    pub fn none(value: T) -> Writes<T> {
        Writes { statements: Vec::new(), notes: Vec::new(), value }
    }
}

fn parse<R: StoredRow>(rows: &[R]) -> Result<Vec<Order>, WalletError> {
    rows.iter().map(|row| order(row, 0)).collect()
}

fn select(tables: &impl OrderTables, name: &str, rest: &str) -> String {
    format!("SELECT /* {name} */ {ORDER_COLUMNS} FROM {} {rest}", tables.table("provider_order"))
}

pub(super) fn select_to_change(tables: &impl OrderTables, name: &str, rest: &str) -> String {
    format!("SELECT /* {name} */ {ORDER_ROW}, {ORDER_COLUMNS} FROM {} {rest}", tables.table("provider_order"))
}

pub(super) fn insert(tables: &impl OrderTables, order: &Order) -> Result<Statement, WalletError> {
    let (table, values) = (tables.table("provider_order"), order_values(order)?);
    Ok(Statement::Values(format!("INSERT /* order */ INTO {table} ({ORDER_COLUMNS}) SELECT {values}")))
}

/// Changes an order that is as it was read; gives it as it is stored then.
fn update(tables: &impl OrderTables, before: &Order, after: &Order) -> Result<(Statement, Order), WalletError> {
    let after = Order { version: before.version + 1, ..after.clone() };
    let text = format!(
        "UPDATE /* order */ {} SET {} WHERE id = x'{}' AND version = {}",
        tables.table("provider_order"),
        order_assignments(&after)?,
        hex(before.id.as_bytes()),
        before.version
    );
    Ok((Statement::Condition(text), after))
}

fn id_list<'a>(ids: impl Iterator<Item = &'a [u8; 16]>) -> String {
    ids.map(|id| format!("x'{}'", hex(id))).collect::<Vec<_>>().join(",")
}

/// The payment for the envelope of a charge.
pub(super) fn payment(charge: &Order, envelope: EnvelopeId, at: Timestamp) -> Transfer {
    let id = TransferId::Envelope(envelope, 0);
    Transfer { id, kind: TransferKind::Send, user: charge.user.clone(), amount: charge.amount, at }
}

/// Orders that are due are left to the caller for a while.
pub(crate) async fn take_up(
    tables: &impl OrderTables,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<TakenUp>, WalletError> {
    let mut window = limit;
    let due = loop {
        let due = format!("WHERE due_ms <= {} ORDER BY due_ms LIMIT {window}", now.millis());
        let (rows, found) = tables.rows_of(&select(tables, "due_orders", &due)).await?;
        match rows.is_empty() {
            false => break due,
            // All of them may be of users who have left, whose rows stay.
            true if found < window as usize || window >= DUE_WINDOW_MAX => return Ok(Vec::new()),
            true => window = window.saturating_mul(4),
        }
    };
    tables
        .change(&[], &[select_to_change(tables, "take_up_orders", &due)], |_, _, rows| {
            let mut statements = Vec::with_capacity(rows.len());
            let mut taken = Vec::with_capacity(rows.len());
            for row in &rows[..rows.len().min(limit as usize)] {
                let before = order(*row, 1)?;
                let (request, after) = before.take_up(now, ORDER_CLAIM_MS);
                let (text, order) = update(tables, &before, &after)?;
                statements.push(text);
                taken.push(TakenUp { order, request });
            }
            Ok(Writes { statements, notes: Vec::new(), value: taken })
        })
        .await
}

/// Stores changes with the transfers that are due for them, in order.
pub(crate) async fn change(tables: &impl OrderTables, changes: &[OrderChange]) -> Result<Vec<Changed>, WalletError> {
    let mut possible = Vec::new();
    for OrderChange { before, after, may_pay, refund } in changes {
        let at = after.happened_at.unwrap_or(after.created_at).max(after.created_at);
        possible.extend(movements(Some(before.state), after, at));
        if let Some(envelope) = paid_for(before, after).filter(|_| *may_pay) {
            possible.push(payment(after, envelope, at));
        }
        possible.extend(refund.iter().flat_map(|refund| movements(None, refund, refund.created_at)));
    }
    let list = id_list(changes.iter().map(|change| change.before.id.as_bytes()));
    let mut reads = vec![select_to_change(tables, "change_orders", &format!("WHERE id IN ({list}) ORDER BY id"))];
    reads.extend(reads_of_quotas(tables, changes));
    tables
        .change(&possible, &reads, |plan, possible, rows| {
            let stored = rows.iter().map(|row| order(*row, 1)).collect::<Result<Vec<_>, _>>()?;
            let mut statements = Vec::new();
            let (mut changed, mut notes) = (Vec::with_capacity(changes.len()), Vec::new());
            for change in changes {
                if !stored.iter().any(|one| one.id == change.before.id && one.version == change.before.version) {
                    changed.push(Changed::Overtaken);
                    continue;
                }
                changed.push(change_one(tables, change, plan, possible, &mut statements)?);
                notes.extend(Note::of_order(&change.before, &change.after));
            }
            Ok(Writes { statements, notes, value: changed })
        })
        .await
}

/// What may be counted of orders that are over now. Whether limits are configured is not known here: this reads what is
/// counted, which is nothing then.
fn reads_of_quotas(tables: &impl OrderTables, changes: &[OrderChange]) -> Vec<String> {
    let over = || changes.iter().map(|change| &change.after).filter(|after| after.state.is_final());
    let subjects: Vec<[u8; 16]> = over().map(subject_of_order).collect();
    let envelopes = over().filter_map(|after| Some((&after.user, after.envelope?)));
    quotas::reads(|name| tables.table(name), [], &subjects, envelopes)
}

/// The envelope that a charge pays for which has succeeded now.
fn paid_for(before: &Order, after: &Order) -> Option<EnvelopeId> {
    let has_succeeded = before.state != after.state && after.state == OrderState::Succeeded;
    after.envelope.filter(|_| has_succeeded && after.kind == OrderKind::Charge)
}

fn change_one<'a>(
    tables: &impl OrderTables,
    change: &OrderChange,
    plan: &mut PostingPlan<'a>,
    possible: &'a [Transfer],
    statements: &mut Vec<Statement>,
) -> Result<Changed, WalletError> {
    let OrderChange { before, after, refund, .. } = change;
    let id = after.id;
    let mut execute = |of: &dyn Fn(&Transfer) -> bool| -> Result<(), WalletError> {
        for transfer in possible.iter().filter(|transfer| of(transfer)) {
            match plan.execute(transfer) {
                TransferOutcome::Done | TransferOutcome::AlreadyDone => {}
                outcome => return Err(WalletError::Damaged(format!("order {id} cannot be posted: {outcome:?}"))),
            }
        }
        Ok(())
    };
    execute(&|transfer| transfer.id.order_id() == Some(id))?;
    let mut payment = None;
    if let Some(envelope) = paid_for(before, after) {
        let wanted = TransferId::Envelope(envelope, 0);
        let found = possible.iter().find(|transfer| transfer.id == wanted && transfer.user == after.user);
        let outcome = found.map_or(TransferOutcome::Cancelled, |transfer| plan.execute(transfer));
        payment = Some(outcome);
        // The money of a frozen user stays in the balance.
        let goes_back = outcome != TransferOutcome::Done && !plan.is_frozen(&after.user);
        if let Some(refund) = refund.as_ref().filter(|_| goes_back) {
            let mut execute = |transfer: &'a Transfer| plan.execute(transfer);
            for transfer in possible.iter().filter(|transfer| transfer.id.order_id() == Some(refund.id)) {
                // The charge has just brought what it takes.
                if execute(transfer) != TransferOutcome::Done {
                    return Err(WalletError::Damaged(format!("the refund {} cannot be posted", refund.id)));
                }
            }
            statements.push(insert(tables, refund)?);
        }
    }
    plan.quotas.change(before, after);
    let (text, order) = update(tables, before, after)?;
    statements.push(text);
    Ok(Changed::Done { order: Box::new(order), payment })
}

/// An order of a user.
pub(crate) async fn one(tables: &impl OrderTables, user: &UserId, id: OrderId) -> Result<Option<Order>, WalletError> {
    let of_user = format!("WHERE id = x'{}' AND user_id = '{user}'", hex(id.as_bytes()));
    Ok(parse(&tables.rows_for(user, &select(tables, "order", &of_user)).await?)?.pop())
}

/// Orders of a user and a kind, newest first.
pub(crate) async fn of_user(
    tables: &impl OrderTables,
    user: &UserId,
    kind: OrderKind,
    before: Option<OrderId>,
    limit: u32,
) -> Result<Vec<Order>, WalletError> {
    let before = before.map_or(String::new(), |before| format!(" AND id < x'{}'", hex(before.as_bytes())));
    let kind = kind_code(kind);
    let rest = format!("WHERE user_id = '{user}' AND kind = {kind}{before} ORDER BY id DESC LIMIT {limit}");
    parse(&tables.rows_for(user, &select(tables, "orders", &rest)).await?)
}

/// The charges for an envelope of a user.
pub(crate) async fn for_envelope(
    tables: &impl OrderTables,
    user: &UserId,
    envelope: EnvelopeId,
) -> Result<Vec<Order>, WalletError> {
    let rest = format!("WHERE envelope_id = x'{}' AND user_id = '{user}' ORDER BY id", hex(envelope.as_bytes()));
    parse(&tables.rows_for(user, &select(tables, "charges_for", &rest)).await?)
}

/// Those that are stored, of those named.
pub(crate) async fn find(tables: &impl OrderTables, ids: &[OrderId]) -> Result<Vec<Order>, WalletError> {
    let mut found = Vec::new();
    for ids in ids.chunks(SQL_LIST_MAX) {
        let rest = format!("WHERE id IN ({}) ORDER BY id", id_list(ids.iter().map(OrderId::as_bytes)));
        found.extend(parse(&tables.rows(&select(tables, "find_orders", &rest)).await?)?);
    }
    Ok(found)
}

/// Has an order asked for at once.
pub(crate) async fn hint(tables: &impl OrderTables, id: OrderId, now: Timestamp) -> Result<bool, WalletError> {
    let by_id = format!("WHERE id = x'{}'", hex(id.as_bytes()));
    if tables.rows(&select(tables, "hint", &by_id)).await?.is_empty() {
        return Ok(false);
    }
    tables
        .change(&[], &[select_to_change(tables, "hint", &by_id)], |_, _, rows| {
            let mut statements = Vec::new();
            for row in rows {
                let before = order(*row, 1)?;
                if before.due_at.is_none_or(|due_at| due_at > now) {
                    statements.push(update(tables, &before, &Order { due_at: Some(now), ..before.clone() })?.0);
                }
            }
            Ok(Writes { statements, notes: Vec::new(), value: !rows.is_empty() })
        })
        .await
}

/// Orders by id after one, of those for which a condition holds.
pub(crate) async fn page(
    tables: &impl OrderTables,
    name: &str,
    condition: &str,
    after: Option<OrderId>,
    limit: u32,
) -> Result<Vec<Order>, WalletError> {
    let after = after.map_or(String::new(), |after| format!(" AND id > x'{}'", hex(after.as_bytes())));
    let rest = format!("WHERE {condition}{after} ORDER BY id LIMIT {limit}");
    parse(&tables.rows(&select(tables, name, &rest)).await?)
}

/// The condition that an order happened from a moment until before another.
pub(crate) fn happened(from: Timestamp, until: Timestamp) -> String {
    format!("happened_ms >= {} AND happened_ms < {}", from.millis(), until.millis())
}

/// What is not over.
pub(crate) async fn unfinished(tables: &impl OrderTables) -> Result<UnfinishedOrders, WalletError> {
    let orders = tables.table("provider_order");
    let sql = format!(
        "SELECT /* unfinished_orders */ (SELECT COUNT(*) FROM {orders} WHERE due_ms IS NOT NULL AND state <= {LAST_UNFINISHED}), \
         (SELECT MIN(created_ms) FROM {orders} WHERE due_ms IS NOT NULL AND state <= {LAST_UNFINISHED}), \
         (SELECT COUNT(*) FROM {orders} WHERE attention IS NOT NULL)"
    );
    let numbers = tables.numbers(&sql).await?;
    let count = |place: usize| numbers.get(place).copied().flatten().unwrap_or(0).unsigned_abs();
    let oldest = numbers.get(1).copied().flatten().map(Timestamp::from_millis);
    Ok(UnfinishedOrders { orders: count(0), oldest, need_attention: count(2) })
}
