//! Orders at the provider as they are stored: beside the transfers of their user, and in the same transactions.
//!
//! What an order is, and what an answer makes of it, is [`hongbao_core::order`]; here a change is stored together with
//! the transfers that are due for it, or not at all. Whoever reads an order with a version and wants to change it finds
//! out whether another one was first.
//!
//! | verb | transactions |
//! |---|---|
//! | `open_order` | 1 |
//! | `take_up_orders` | 1 reading in each shard, and 1 where something is due |
//! | `change_orders` | 1 in each shard |
//! | `hint` | 1 statement in each shard |

pub(crate) mod opening;
pub(crate) mod rows;
pub(crate) mod tables;

use async_trait::async_trait;
use hongbao_core::limits::ID_AGE_DAYS_MAX;
use hongbao_core::order::{LateCharges, Request};
use hongbao_core::{
    DayQuota, EnvelopeId, KeyedRequest, Order, OrderId, OrderKind, OrderState, Timestamp, TransferOutcome, UserId,
    UserLimit,
};

use crate::WalletError;

/// An order that is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// The order, under an id that no other one has.
    pub order: Order,
    /// What the client names the request by, if it has a key. A charge for an envelope has none: the envelope names it.
    pub request: Option<KeyedRequest>,
    /// What it is counted as until it is over, if it is. A charge is counted for its envelope.
    pub quota: Option<DayQuota>,
}

impl From<Order> for NewOrder {
    fn from(order: Order) -> NewOrder {
        NewOrder { order, request: None, quota: None }
    }
}

/// What became of a new order. Refusals are values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderOpening {
    /// It is stored, and what it moves at once has moved.
    Opened(Order),
    /// There is one for this envelope, which is not over or has succeeded: nothing is stored.
    Exists(Order),
    /// The same request was made before, and this came of it: nothing is stored.
    Repeated(Order),
    /// The key stands for another request: nothing is stored.
    KeyConflict,
    /// The balance does not cover a payout.
    InsufficientFunds,
    /// An operator has frozen the user: nothing is paid out.
    Frozen,
    /// It would exceed this limit of the user: nothing is stored.
    LimitExceeded(UserLimit),
    /// The envelope is paid already.
    EnvelopePaid,
    /// The envelope can no longer be paid.
    EnvelopeCancelled,
}

/// An order that a worker has taken up, with what is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenUp {
    /// As it is stored now.
    pub order: Order,
    /// What is to be asked of the provider.
    pub request: Request,
}

/// A change of an order that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderChange {
    /// As it was read.
    pub before: Order,
    /// As it is to be.
    pub after: Order,
    /// Whether a charge that has now succeeded may still pay for its envelope.
    pub may_pay: bool,
    /// What takes a charge back that succeeded and did not pay for its envelope; `None` where its money stays in
    /// the balance.
    pub refund: Option<Order>,
}

impl OrderChange {
    /// What an answer makes of an order that was read. `random` is for the number of a refund, which is made with the
    /// change and so before its first request.
    pub fn of(before: &Order, after: Order, late: LateCharges, now: Timestamp, random: [u8; 10]) -> OrderChange {
        // An envelope of before would come to life in a table that is gone.
        let oldest = now.plus_millis(-ID_AGE_DAYS_MAX * 86_400_000);
        let may_pay = after.envelope.is_some_and(|envelope| envelope.minted_at() >= oldest);
        let has_arrived = after.kind == OrderKind::Charge && after.envelope.is_some() && before.state != after.state;
        let refund =
            (late == LateCharges::GoBack && has_arrived && after.state == OrderState::Succeeded).then(|| Order {
                of: Some(after.id),
                ..Order::new(OrderId::mint(now, random), OrderKind::Refund, after.user.clone(), after.amount, now)
            });
        OrderChange { before: before.clone(), after, may_pay, refund }
    }
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is stored, and what was due has moved.
    Done {
        /// As it is stored now.
        order: Box<Order>,
        /// What became of the payment for an envelope, where a charge succeeded that was for one.
        payment: Option<TransferOutcome>,
    },
    /// Another change was first: nothing happened.
    Overtaken,
}

/// Orders and their sums that are not over: for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnfinishedOrders {
    /// How many.
    pub orders: u64,
    /// When the oldest was made.
    pub oldest: Option<Timestamp>,
    /// How many, over or not, a person has to look at.
    pub need_attention: u64,
}

/// Orders at the provider. What is read is visible, and durable after a barrier.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Stores a new order with its key, and for a payout takes its amount from the balance, in one transaction.
    async fn open_order(&self, new: NewOrder) -> Result<OrderOpening, WalletError>;

    /// An order of this user.
    async fn order(&self, user: &UserId, id: OrderId) -> Result<Option<Order>, WalletError>;

    /// Orders of a user and a kind before one, newest first.
    async fn orders(
        &self,
        user: &UserId,
        kind: OrderKind,
        before: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<Order>, WalletError>;

    /// The charges for an envelope of this user.
    async fn charges_for(&self, user: &UserId, envelope: EnvelopeId) -> Result<Vec<Order>, WalletError>;

    /// Those that are stored, of those named. Asks all parts of the wallet.
    async fn find_orders(&self, ids: &[OrderId]) -> Result<Vec<Order>, WalletError>;

    /// Takes up orders that are due, at most `limit` in each part of the wallet: they are left to the caller for a
    /// while. A part that cannot be asked is left out; if none can, that is the error.
    async fn take_up_orders(&self, now: Timestamp, limit: u32) -> Result<Vec<TakenUp>, WalletError>;

    /// Stores changes, each with the transfers that are due for it. One outcome for each, in the same order.
    ///
    /// # Errors
    /// [`WalletError::Unknown`] as soon as a part of them may have been stored.
    async fn change_orders(&self, changes: Vec<OrderChange>) -> Result<Vec<Changed>, WalletError>;

    /// Has an order asked for at once, wherever it is; false if there is none.
    async fn hint(&self, id: OrderId, now: Timestamp) -> Result<bool, WalletError>;

    /// Orders that a person has to look at, by id after one.
    async fn orders_in_need(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<Order>, WalletError>;

    /// Orders that happened from a moment until before another, by the provider's clock, by id after one.
    async fn orders_happened(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<Order>, WalletError>;

    /// Every order by id after one: for the audit.
    async fn scan_orders(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<Order>, WalletError>;

    /// What is not over.
    async fn unfinished_orders(&self) -> Result<UnfinishedOrders, WalletError>;
}
