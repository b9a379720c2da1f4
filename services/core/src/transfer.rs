//! Transfers: how money moves between an envelope and a balance.
//!
//! The id is chosen by the caller and says what the transfer is for, so that a
//! repeat after a crash is recognised and does nothing.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::envelope::{Entry, EntryKind, Envelope};
use crate::id::EnvelopeId;
use crate::money::Fen;
use crate::order::{Order, OrderId};
use crate::time::Timestamp;
use crate::user::UserId;
use crate::user_limits::UserLimit;

/// The id of a transfer. Executed at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransferId {
    /// Money from outside, under an id that the client chose.
    TopUp(Uuid),
    /// Paying for an envelope (`seq` 0), or crediting an entry of its journal (from 1).
    Envelope(EnvelopeId, u32),
    /// A movement of an order at the provider: see [`Transfer::of_order`].
    Order(OrderId, OrderMovement),
}

const TOP_UP: u8 = 1;
const ENVELOPE: u8 = 2;
const ORDER: u8 = 3;

/// What an order moves, each at most once. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderMovement {
    /// A charge arrives in the balance; a payout, or the refund of a charge, leaves it.
    Begun = 0,
    /// What left the balance has left the provider's account.
    Paid = 1,
    /// What left the balance never left us, and is back.
    Failed = 2,
    /// What had left the provider's account came back.
    Returned = 3,
}

impl OrderMovement {
    /// Every movement.
    pub const ALL: [OrderMovement; 4] =
        [OrderMovement::Begun, OrderMovement::Paid, OrderMovement::Failed, OrderMovement::Returned];

    fn from_number(number: u32) -> Option<OrderMovement> {
        OrderMovement::ALL.into_iter().find(|movement| *movement as u32 == number)
    }
}

impl TransferId {
    /// The key that it is stored under: 1 byte of class, 16 of id, 4 of `seq`,
    /// so that all transfers of an envelope lie together in order.
    pub fn to_key(self) -> [u8; 21] {
        let (class, id, seq) = match &self {
            TransferId::TopUp(id) => (TOP_UP, id.as_bytes(), 0),
            TransferId::Envelope(id, seq) => (ENVELOPE, id.as_bytes(), *seq),
            TransferId::Order(id, movement) => (ORDER, id.as_bytes(), *movement as u32),
        };
        let mut key = [class; 21];
        key[1..17].copy_from_slice(id);
        key[17..].copy_from_slice(&seq.to_be_bytes());
        key
    }

    /// Reads what [`TransferId::to_key`] wrote; `None` for anything else.
    pub fn from_key(key: &[u8]) -> Option<TransferId> {
        let key: &[u8; 21] = key.try_into().ok()?;
        let seq = u32::from_be_bytes([key[17], key[18], key[19], key[20]]);
        match key[0] {
            TOP_UP if seq == 0 => Uuid::from_slice(&key[1..17]).ok().map(TransferId::TopUp),
            ENVELOPE => EnvelopeId::from_bytes(&key[1..17]).map(|id| TransferId::Envelope(id, seq)),
            ORDER => {
                let order = OrderId::from_bytes(&key[1..17]).zip(OrderMovement::from_number(seq));
                order.map(|(id, movement)| TransferId::Order(id, movement))
            }
            _ => None,
        }
    }

    /// The envelope that it belongs to, if any.
    pub fn envelope_id(self) -> Option<EnvelopeId> {
        match self {
            TransferId::TopUp(_) | TransferId::Order(..) => None,
            TransferId::Envelope(id, _) => Some(id),
        }
    }

    /// The order that it belongs to, if any.
    pub fn order_id(self) -> Option<OrderId> {
        match self {
            TransferId::TopUp(_) | TransferId::Envelope(..) => None,
            TransferId::Order(id, _) => Some(id),
        }
    }
}

/// A top-up shows the client's id, a payment the envelope's, a credit `envelope:seq`; a charge and a payout the order's,
/// and what follows it `order:number`.
impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferId::TopUp(id) => id.hyphenated().fmt(f),
            TransferId::Envelope(id, 0) => id.fmt(f),
            TransferId::Envelope(id, seq) => write!(f, "{id}:{seq}"),
            TransferId::Order(id, OrderMovement::Begun) => id.fmt(f),
            TransferId::Order(id, movement) => write!(f, "{id}:{}", *movement as u32),
        }
    }
}

/// What a transfer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferKind {
    /// Money came from outside.
    TopUp,
    /// The user paid for an envelope.
    Send,
    /// The user opened a share.
    Open,
    /// What was not opened came back.
    Refund,
    /// No money moves: the id of a payment is taken, so that it can never happen.
    Cancel,
    /// The user paid at the provider.
    Charge,
    /// Money is on its way to the user at the provider.
    Payout,
    /// It has arrived there. Nothing moves for the user: it goes from the account of payouts to the provider's.
    PayoutPaid,
    /// It was not paid, and is back.
    PayoutFailed,
    /// It had been paid, and the provider has returned it.
    PayoutReturned,
}

/// The balances of the system's accounts, in fen: what is on the other side of users' transfers. Those of a ledger
/// and of all its users add up to zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct SystemBalances {
    /// The money of all envelopes.
    pub clearing_fen: i64,
    /// The source of top-ups, below zero.
    pub top_ups_fen: i64,
    /// What was paid out at the provider, less what was charged there.
    pub provider_fen: i64,
    /// Payouts on their way.
    pub payouts_fen: i64,
}

impl SystemBalances {
    /// The balances after a transfer; `None` where one would not fit.
    pub fn after(self, kind: TransferKind, amount: Fen) -> Option<SystemBalances> {
        let [clearing, top_ups, provider, payouts] = kind.system_signs();
        let moved = |fen: i64, sign: i64| fen.checked_add(sign * amount.get());
        Some(SystemBalances {
            clearing_fen: moved(self.clearing_fen, clearing)?,
            top_ups_fen: moved(self.top_ups_fen, top_ups)?,
            provider_fen: moved(self.provider_fen, provider)?,
            payouts_fen: moved(self.payouts_fen, payouts)?,
        })
    }

    /// In the order of their columns: clearing, top-ups, provider, payouts.
    pub const fn to_array(self) -> [i64; 4] {
        [self.clearing_fen, self.top_ups_fen, self.provider_fen, self.payouts_fen]
    }

    /// From [`SystemBalances::to_array`].
    pub const fn from_array([clearing_fen, top_ups_fen, provider_fen, payouts_fen]: [i64; 4]) -> SystemBalances {
        SystemBalances { clearing_fen, top_ups_fen, provider_fen, payouts_fen }
    }

    /// Each balance of one and the other through `merge`; `None` where it gives none.
    pub fn zip_with(self, other: SystemBalances, merge: impl Fn(i64, i64) -> Option<i64>) -> Option<SystemBalances> {
        let [one, other] = [self.to_array(), other.to_array()];
        let merged = [0, 1, 2, 3].map(|place| merge(one[place], other[place]));
        let [Some(clearing), Some(top_ups), Some(provider), Some(payouts)] = merged else { return None };
        Some(SystemBalances::from_array([clearing, top_ups, provider, payouts]))
    }

    /// What all of them come to.
    pub fn sum(self) -> i128 {
        self.to_array().into_iter().map(i128::from).sum()
    }
}

impl TransferKind {
    /// Whether it is refused where an operator has frozen the user. (A payout is refused as an order.)
    pub const fn is_refused_to_frozen(self) -> bool {
        matches!(self, TransferKind::Send)
    }

    /// Every kind.
    pub const ALL: [TransferKind; 10] = [
        TransferKind::TopUp,
        TransferKind::Send,
        TransferKind::Open,
        TransferKind::Refund,
        TransferKind::Cancel,
        TransferKind::Charge,
        TransferKind::Payout,
        TransferKind::PayoutPaid,
        TransferKind::PayoutFailed,
        TransferKind::PayoutReturned,
    ];

    /// What an amount does to the user's balance: 1, -1, or 0.
    pub const fn user_sign(self) -> i64 {
        match self {
            TransferKind::TopUp
            | TransferKind::Open
            | TransferKind::Refund
            | TransferKind::Charge
            | TransferKind::PayoutFailed
            | TransferKind::PayoutReturned => 1,
            TransferKind::Send | TransferKind::Payout => -1,
            TransferKind::Cancel | TransferKind::PayoutPaid => 0,
        }
    }

    /// What it does to the accounts of clearing, of top-ups, of the provider and of payouts. With
    /// [`TransferKind::user_sign`] they add up to zero: each transfer is a double entry.
    pub const fn system_signs(self) -> [i64; 4] {
        match self {
            TransferKind::TopUp => [0, -1, 0, 0],
            TransferKind::Send => [1, 0, 0, 0],
            TransferKind::Open | TransferKind::Refund => [-1, 0, 0, 0],
            TransferKind::Cancel => [0, 0, 0, 0],
            TransferKind::Charge | TransferKind::PayoutReturned => [0, 0, -1, 0],
            TransferKind::Payout => [0, 0, 0, 1],
            TransferKind::PayoutPaid => [0, 0, 1, -1],
            TransferKind::PayoutFailed => [0, 0, 0, -1],
        }
    }
}

/// A transfer, wished for or executed. The other side is an account of the system: see [`SystemBalances`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Chosen by the caller.
    pub id: TransferId,
    /// What it is for.
    pub kind: TransferKind,
    /// Whose balance moves.
    pub user: UserId,
    /// By how much; the kind gives the direction. Zero only for a cancel.
    pub amount: Fen,
    /// When it was asked for.
    pub at: Timestamp,
}

impl Transfer {
    /// The amount as the user's balance sees it.
    pub const fn signed_amount(&self) -> i64 {
        self.kind.user_sign() * self.amount.get()
    }

    /// Whether it does not contradict itself: the id is of the kind's class, and a
    /// cancel moves nothing.
    pub fn is_sound(&self) -> bool {
        match (self.kind, self.id) {
            (TransferKind::TopUp, TransferId::TopUp(_)) => true,
            (TransferKind::Send, TransferId::Envelope(_, 0)) => true,
            (TransferKind::Cancel, TransferId::Envelope(_, 0)) => self.amount.is_zero(),
            (TransferKind::Open | TransferKind::Refund, TransferId::Envelope(_, 1..)) => true,
            (TransferKind::Charge | TransferKind::Payout, TransferId::Order(_, OrderMovement::Begun)) => true,
            (TransferKind::PayoutPaid, TransferId::Order(_, OrderMovement::Paid)) => true,
            (TransferKind::PayoutFailed, TransferId::Order(_, OrderMovement::Failed)) => true,
            (TransferKind::PayoutReturned, TransferId::Order(_, OrderMovement::Returned)) => true,
            _ => false,
        }
    }

    /// Money from outside.
    pub fn top_up(id: Uuid, user: UserId, amount: Fen, at: Timestamp) -> Transfer {
        Transfer { id: TransferId::TopUp(id), kind: TransferKind::TopUp, user, amount, at }
    }

    /// The sender pays for the envelope.
    pub fn send(envelope: &Envelope, at: Timestamp) -> Transfer {
        Transfer {
            id: TransferId::Envelope(envelope.id, 0),
            kind: TransferKind::Send,
            user: envelope.sender.clone(),
            amount: envelope.total,
            at,
        }
    }

    /// Takes the payment's id, so that a late payment is refused.
    pub fn cancel(envelope: &Envelope, at: Timestamp) -> Transfer {
        Transfer { kind: TransferKind::Cancel, amount: Fen::ZERO, ..Transfer::send(envelope, at) }
    }

    /// A movement of an order's amount. `kind` has to be one of those that belong to the movement.
    pub fn of_order(order: &Order, movement: OrderMovement, kind: TransferKind, at: Timestamp) -> Transfer {
        let id = TransferId::Order(order.id, movement);
        Transfer { id, kind, user: order.user.clone(), amount: order.amount, at }
    }

    /// What a journal entry owes to a balance. `sender` gets the refund.
    pub fn credit(entry: &Entry, sender: &UserId) -> Transfer {
        let (kind, user) = match &entry.kind {
            EntryKind::Open(user) => (TransferKind::Open, user.clone()),
            EntryKind::Refund => (TransferKind::Refund, sender.clone()),
        };
        Transfer {
            id: TransferId::Envelope(entry.envelope_id, entry.seq),
            kind,
            user,
            amount: entry.amount,
            at: entry.at,
        }
    }
}

/// What became of a transfer. Refusals are values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferOutcome {
    /// Executed now.
    Done,
    /// Executed before, under this id and with this content: nothing happened now.
    AlreadyDone,
    /// The balance does not cover it. The id is still free.
    InsufficientFunds,
    /// The id was taken by a cancel.
    Cancelled,
    /// A cancel came too late: the payment had been made.
    AlreadyPaid,
    /// The id was used for something else: nothing happened.
    Conflict,
    /// The balance would not fit into 64 bits.
    Overflow,
    /// An operator has frozen the user: no money leaves the balance. The id is still free.
    Frozen,
    /// It would exceed this limit of the user. The id is still free.
    LimitExceeded(UserLimit),
}
