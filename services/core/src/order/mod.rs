//! Orders at the provider: charges, payouts and refunds of charges, each under a number of ours.
//!
//! The provider is another company's system, behind a network that loses requests and answers. So an order is stored
//! before its first request, an outcome that is not known is asked for by its number, and the same order is never sent
//! under another number (I11). Here is what an order is, what is done about it next, and what an answer makes of it;
//! who asks and who stores are the worker and the wallet.

mod movements;
mod step;

pub use self::movements::movements;

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::EnvelopeId;
use crate::limits::{CHARGE_CLOSE_AFTER_MS, PAYOUT_CLOSE_AFTER_MS};
use crate::money::Fen;
use crate::time::Timestamp;
use crate::user::UserId;

/// The id of an order: a UUIDv7, which is also its number at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(Uuid);

impl OrderId {
    /// Makes an id for `now` from random bytes.
    pub fn mint(now: Timestamp, random: [u8; 10]) -> OrderId {
        let millis = u64::try_from(now.millis()).unwrap_or(0);
        OrderId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Reads the hyphenated text, as clients write it; `None` for anything else.
    pub fn parse(text: &str) -> Option<OrderId> {
        if text.len() == 36 { Uuid::try_parse(text).ok().and_then(OrderId::from_uuid) } else { None }
    }

    /// Reads the number, as a provider writes it: 32 hexadecimal digits; `None` for anything else.
    pub fn parse_number(text: &str) -> Option<OrderId> {
        if text.len() == 32 { Uuid::try_parse(text).ok().and_then(OrderId::from_uuid) } else { None }
    }

    /// From stored bytes; `None` unless they are a UUIDv7.
    pub fn from_bytes(bytes: &[u8]) -> Option<OrderId> {
        Uuid::from_slice(bytes).ok().and_then(OrderId::from_uuid)
    }

    fn from_uuid(uuid: Uuid) -> Option<OrderId> {
        let is_v7 = uuid.get_version_num() == 7 && uuid.get_variant() == uuid::Variant::RFC4122;
        is_v7.then_some(OrderId(uuid))
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The number that the provider knows the order by: 32 hexadecimal digits.
    pub fn number(&self) -> String {
        self.0.simple().to_string()
    }

    /// When the id was minted, in milliseconds.
    pub fn minted_at(&self) -> Timestamp {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0.as_bytes()[..6]);
        Timestamp::from_millis(i64::from_be_bytes(millis))
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl Serialize for OrderId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OrderId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<OrderId, D::Error> {
        let text = String::deserialize(deserializer)?;
        OrderId::parse(&text).ok_or_else(|| serde::de::Error::custom("not a UUIDv7"))
    }
}

/// What an order asks of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// That a user pays us.
    Charge,
    /// That a user is paid.
    Payout,
    /// That a charge goes back to where it came from.
    Refund,
}

/// How far an order has come. States move downward in this list, and never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderState {
    /// It is stored. From `sent_at` on the provider may have it.
    Created,
    /// The provider has it.
    Pending,
    /// Nothing is sent for it any more: it is closed at the provider, and asked for until the outcome is known.
    Closing,
    /// It happened, with its amount.
    Succeeded,
    /// It did not happen, and never will.
    Failed,
    /// It happened with another amount: nothing follows from it until a person has decided.
    Held,
    /// A payout that had succeeded came back.
    Returned,
}

impl OrderState {
    /// Whether its outcome is known.
    pub const fn is_final(self) -> bool {
        matches!(self, OrderState::Succeeded | OrderState::Failed | OrderState::Held | OrderState::Returned)
    }
}

/// An order as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its id, and its number at the provider.
    pub id: OrderId,
    /// What it asks for.
    pub kind: OrderKind,
    /// Who pays or is paid.
    pub user: UserId,
    /// How much.
    pub amount: Fen,
    /// The envelope that a charge pays for.
    pub envelope: Option<EnvelopeId>,
    /// The charge that a refund takes back.
    pub of: Option<OrderId>,
    /// How far it has come.
    pub state: OrderState,
    /// When it was stored.
    pub created_at: Timestamp,
    /// From then on nothing is sent for it any more.
    pub close_at: Timestamp,
    /// When it was last sent, or may have been: written before the request. `None` if it never was.
    pub sent_at: Option<Timestamp>,
    /// When it is asked for next; `None` once there is nothing to ask.
    pub due_at: Option<Timestamp>,
    /// Requests without progress: they make the intervals grow.
    pub attempts: u32,
    /// What the provider calls it.
    pub reference: Option<String>,
    /// Where the payer goes on.
    pub action_url: Option<String>,
    /// Why it failed, in a word of the provider's or ours: `insufficient_provider_funds`, `closed`.
    pub failure: Option<String>,
    /// When the provider says that it happened.
    pub happened_at: Option<Timestamp>,
    /// Why a person has to look at it: a wrong amount, an outcome that was contradicted, none for days.
    pub attention: Option<Attention>,
    /// Rises with each change that is stored: a change is one of what was read.
    pub version: i64,
}

impl Order {
    /// A new order, due at once.
    pub fn new(id: OrderId, kind: OrderKind, user: UserId, amount: Fen, now: Timestamp) -> Order {
        Order {
            id,
            kind,
            user,
            amount,
            envelope: None,
            of: None,
            state: OrderState::Created,
            created_at: now,
            close_at: now.plus_millis(match kind {
                OrderKind::Charge => CHARGE_CLOSE_AFTER_MS,
                OrderKind::Payout | OrderKind::Refund => PAYOUT_CLOSE_AFTER_MS,
            }),
            sent_at: None,
            due_at: Some(now),
            attempts: 0,
            reference: None,
            action_url: None,
            failure: None,
            happened_at: None,
            attention: None,
            version: 0,
        }
    }
}

/// Why a person has to look at an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// It happened with another amount.
    WrongAmount,
    /// The provider has given two outcomes for one number.
    Contradicted,
    /// Its outcome has not been known for [`ORDER_ATTENTION_AFTER_MS`](crate::limits::ORDER_ATTENTION_AFTER_MS).
    Overdue,
}

/// What becomes of a charge that succeeds after its envelope was paid, cancelled or expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateCharges {
    /// Its money stays in the balance.
    #[default]
    StayInBalance,
    /// Its money goes back to where it came from.
    GoBack,
}

/// What is asked of the provider next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The order itself; under a number that the provider has already it does nothing.
    Send,
    /// What has become of it. If the provider does not know it, it is sent.
    Query,
    /// That it never happens, if it has not happened yet; then what has become of it.
    Close,
}

/// What the provider says of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The provider has it, and it has not happened yet.
    Pending {
        /// Where the payer goes on.
        action_url: Option<String>,
    },
    /// It happened.
    Succeeded(Happened),
    /// It did not happen, and never will.
    Failed {
        /// Why, in a word.
        reason: String,
    },
    /// A payout had happened and came back.
    Returned(Happened),
    /// There is no order under this number: it may still be on its way.
    NotFound,
}

/// What happened under a number, as the provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// How much was moved.
    pub amount: Fen,
    /// When, by the provider's clock.
    pub at: Timestamp,
    /// What the provider calls it.
    pub reference: String,
}
