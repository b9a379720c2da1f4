//! What counts against the limits of users: what was sent and paid out on a day, and which envelopes wait for payment.
//!
//! A payment or a payout is counted in the transaction that executes it, and only where it comes with a quota: where
//! no limit is configured nothing here is read or written. An order is counted when it is opened, and no longer if it
//! fails; a charge is for an envelope, so the payment that it makes, or one out of the balance that comes first, is
//! the one that was counted.

mod sql;

use std::collections::HashMap;

use hongbao_core::{
    Daily, DayCount, DayQuota, EnvelopeId, Fen, Order, OrderKind, OrderState, Transfer, TransferId, TransferKind,
    UserId, UserLimit,
};

pub(crate) use self::sql::{
    Guard, PURGED, is_quota_row, known_unpaid, read_unpaid, reads, reserve, statements, take_in,
};

/// An order that is counted and not over.
#[derive(Clone, Debug)]
struct CountedOrder {
    user: UserId,
    daily: Daily,
    day: i64,
    amount: Fen,
}

/// A user's day as it is stored, or is to be.
#[derive(Clone, Copy, Debug, Default)]
struct UserDay {
    sent: DayCount,
    paid_out: DayCount,
    is_stored: bool,
    is_changed: bool,
}

impl UserDay {
    fn count(&mut self, daily: Daily) -> &mut DayCount {
        self.is_changed = true;
        match daily {
            Daily::Sent => &mut self.sent,
            Daily::PaidOut => &mut self.paid_out,
        }
    }
}

/// The part of it that a transaction touches.
#[derive(Default)]
pub(crate) struct QuotaPlan {
    quotas: HashMap<TransferId, DayQuota>,
    days: HashMap<(UserId, i64), UserDay>,
    /// By subject: as stored, less what is over.
    counted: HashMap<[u8; 16], CountedOrder>,
    newly_counted: Vec<[u8; 16]>,
    over: Vec<[u8; 16]>,
    /// Envelopes that wait for payment, less those that are paid now.
    waiting: HashMap<EnvelopeId, UserId>,
    paid: Vec<(UserId, EnvelopeId)>,
}

impl QuotaPlan {
    /// The quotas that transfers come with.
    pub fn set_quotas(&mut self, quotas: &[(TransferId, DayQuota)]) {
        self.quotas = quotas.iter().copied().collect();
    }

    /// The limit that a payment would exceed. One that was counted when its charge was opened exceeds none.
    pub fn refusal(&self, transfer: &Transfer) -> Option<UserLimit> {
        let quota = self.quotas.get(&transfer.id)?;
        let is_counted = subject_of(transfer).is_some_and(|subject| self.counted.contains_key(&subject));
        if is_counted { None } else { self.exceeded(quota, &transfer.user, transfer.amount) }
    }

    /// Counts a transfer that is executed.
    pub fn execute(&mut self, transfer: &Transfer) {
        if !matches!(transfer.kind, TransferKind::Send | TransferKind::Cancel) {
            return;
        }
        if let Some((envelope, user)) = transfer.id.envelope_id().and_then(|id| self.waiting.remove_entry(&id)) {
            self.paid.push((user, envelope));
        }
        if transfer.kind == TransferKind::Cancel {
            return;
        }
        // The count of its charge is the payment's from now on.
        let was_counted = subject_of(transfer).is_some_and(|subject| self.end(subject, true));
        if let Some(quota) = self.quotas.get(&transfer.id).copied().filter(|_| !was_counted) {
            self.count(&quota, &transfer.user, transfer.amount);
        }
    }

    /// Counts a new order, which exceeds no limit, until it is over.
    pub fn open(&mut self, quota: &DayQuota, order: &Order) {
        self.count(quota, &order.user, order.amount);
        let (user, day) = (order.user.clone(), quota.date.number().into());
        let counted = CountedOrder { user, daily: quota.daily, day, amount: order.amount };
        self.counted.insert(subject_of_order(order), counted);
        self.newly_counted.push(subject_of_order(order));
    }

    /// What becomes of the count of an order that is changed: one that is over and has moved the money that it is
    /// counted for stays counted, one that has not is counted no longer.
    pub fn change(&mut self, before: &Order, after: &Order) {
        if after.state.is_final() && !before.state.is_final() {
            // A charge whose payment was executed is over already.
            let stays = after.kind == OrderKind::Payout && after.state != OrderState::Failed;
            self.end(subject_of_order(after), stays);
        }
    }

    /// An order that is over, if it was counted: either it stays so, or it is counted no longer. Tells whether it was.
    fn end(&mut self, subject: [u8; 16], stays: bool) -> bool {
        let Some(CountedOrder { user, daily, day, amount }) = self.counted.remove(&subject) else { return false };
        // A day that is gone has no limit any more.
        if let Some(of_day) = self.days.get_mut(&(user, day)).filter(|_| !stays) {
            let count = of_day.count(daily);
            *count = count.minus(amount);
        }
        self.over.push(subject);
        true
    }

    /// The limit that one more of this amount would exceed.
    pub fn exceeded(&self, quota: &DayQuota, user: &UserId, amount: Fen) -> Option<UserLimit> {
        let of_day = self.days.get(&(user.clone(), quota.date.number().into())).copied().unwrap_or_default();
        let before = match quota.daily {
            Daily::Sent => of_day.sent,
            Daily::PaidOut => of_day.paid_out,
        };
        quota.exceeded(before, amount)
    }

    fn count(&mut self, quota: &DayQuota, user: &UserId, amount: Fen) {
        let of_day = self.days.entry((user.clone(), quota.date.number().into())).or_default();
        let count = of_day.count(quota.daily);
        *count = count.plus(amount);
    }
}

/// What an order is counted under: a charge for an envelope under that, so that its payment is found to be counted.
pub(crate) fn subject_of_order(order: &Order) -> [u8; 16] {
    order.envelope.map_or(*order.id.as_bytes(), |envelope| *envelope.as_bytes())
}

/// What the charge for a payment's envelope is counted under.
fn subject_of(transfer: &Transfer) -> Option<[u8; 16]> {
    transfer.id.envelope_id().map(|envelope| *envelope.as_bytes())
}
