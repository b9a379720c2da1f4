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
use crate::time::Timestamp;
use crate::user::UserId;

/// The id of a transfer. Executed at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransferId {
    /// Money from outside, under an id that the client chose.
    TopUp(Uuid),
    /// Paying for an envelope (`seq` 0), or crediting an entry of its journal (from 1).
    Envelope(EnvelopeId, u32),
}

const TOP_UP: u8 = 1;
const ENVELOPE: u8 = 2;

impl TransferId {
    /// The key that it is stored under: 1 byte of class, 16 of id, 4 of `seq`,
    /// so that all transfers of an envelope lie together in order.
    pub fn to_key(self) -> [u8; 21] {
        let (class, id, seq) = match &self {
            TransferId::TopUp(id) => (TOP_UP, id.as_bytes(), 0),
            TransferId::Envelope(id, seq) => (ENVELOPE, id.as_bytes(), *seq),
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
            _ => None,
        }
    }

    /// The envelope that it belongs to, if any.
    pub fn envelope_id(self) -> Option<EnvelopeId> {
        match self {
            TransferId::TopUp(_) => None,
            TransferId::Envelope(id, _) => Some(id),
        }
    }
}

/// A top-up shows the client's id, a payment the envelope's, a credit `envelope:seq`.
impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferId::TopUp(id) => id.hyphenated().fmt(f),
            TransferId::Envelope(id, 0) => id.fmt(f),
            TransferId::Envelope(id, seq) => write!(f, "{id}:{seq}"),
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
}

impl TransferKind {
    /// Whether the user's balance goes down.
    pub const fn debits_user(self) -> bool {
        matches!(self, TransferKind::Send)
    }
}

/// A transfer, wished for or executed. The other side is the source of top-ups,
/// or the clearing account that holds the money of all envelopes.
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
        if self.kind.debits_user() { -self.amount.get() } else { self.amount.get() }
    }

    /// Whether it does not contradict itself: the id is of the kind's class, and a
    /// cancel moves nothing.
    pub fn is_sound(&self) -> bool {
        match (self.kind, self.id) {
            (TransferKind::TopUp, TransferId::TopUp(_)) => true,
            (TransferKind::Send, TransferId::Envelope(_, 0)) => true,
            (TransferKind::Cancel, TransferId::Envelope(_, 0)) => self.amount.is_zero(),
            (TransferKind::Open | TransferKind::Refund, TransferId::Envelope(_, 1..)) => true,
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
}
