//! Events as readers get them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::subject::Subject;
use crate::id::EnvelopeId;
use crate::money::Fen;
use crate::order::OrderId;
use crate::request::AudienceBody;
use crate::time::Timestamp;
use crate::user::UserId;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum EventType {
    /// An envelope was paid and can be opened.
    #[serde(rename = "envelope.paid")]
    EnvelopePaid,
    /// A share of an envelope was opened.
    #[serde(rename = "envelope.opened")]
    EnvelopeOpened,
    /// That was the last share.
    #[serde(rename = "envelope.emptied")]
    EnvelopeEmptied,
    /// An envelope with money in it expires soon.
    #[serde(rename = "envelope.expiring_soon")]
    EnvelopeExpiringSoon,
    /// An envelope expired with money in it.
    #[serde(rename = "envelope.expired")]
    EnvelopeExpired,
    /// That money went back to the sender.
    #[serde(rename = "envelope.refunded")]
    EnvelopeRefunded,
    /// A charge brought money.
    #[serde(rename = "charge.succeeded")]
    ChargeSucceeded,
    /// A charge brought nothing, and never will.
    #[serde(rename = "charge.failed")]
    ChargeFailed,
    /// A payout has arrived.
    #[serde(rename = "payout.succeeded")]
    PayoutSucceeded,
    /// A payout has not arrived or came back: its money is in the balance.
    #[serde(rename = "payout.failed")]
    PayoutFailed,
}

impl EventType {
    /// As it stands in the field `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventType::EnvelopePaid => "envelope.paid",
            EventType::EnvelopeOpened => "envelope.opened",
            EventType::EnvelopeEmptied => "envelope.emptied",
            EventType::EnvelopeExpiringSoon => "envelope.expiring_soon",
            EventType::EnvelopeExpired => "envelope.expired",
            EventType::EnvelopeRefunded => "envelope.refunded",
            EventType::ChargeSucceeded => "charge.succeeded",
            EventType::ChargeFailed => "charge.failed",
            EventType::PayoutSucceeded => "payout.succeeded",
            EventType::PayoutFailed => "payout.failed",
        }
    }

    fn is_of_charge(self) -> bool {
        matches!(self, EventType::ChargeSucceeded | EventType::ChargeFailed)
    }
}

/// Something that happened to money. Which fields there are depends on the type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Its id: the same wherever and however often it is read. Who has seen it passes over it.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// The envelope that it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub envelope_id: Option<EnvelopeId>,
    /// The charge that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub charge_id: Option<OrderId>,
    /// The payout that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub payout_id: Option<OrderId>,
    /// Its place among the events of the envelope: 0 the payment, then the journal's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u32>,
    /// Who opened, or got the money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub user_id: Option<UserId>,
    /// How much: what was put in, opened, left, or moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub amount_fen: Option<Fen>,
    /// Who sent the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub sender: Option<UserId>,
    /// For whom it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<AudienceBody>,
    /// How many may open it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<u32>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub expires_at: Option<Timestamp>,
    /// Why an order failed, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl EventView {
    /// One of which no more is known.
    pub(super) fn new(subject: Subject, kind: EventType, seq: Option<u32>, at: Timestamp) -> EventView {
        let (text, envelope_id, order) = match subject {
            Subject::Envelope(id) => (id.to_string(), Some(id), None),
            Subject::Order(id) => (id.to_string(), None, Some(id)),
        };
        let place = seq.map_or_else(String::new, |seq| format!(":{seq}"));
        let is_of_charge = kind.is_of_charge();
        EventView {
            id: format!("{text}:{}{place}", kind.as_str()),
            kind,
            at,
            envelope_id,
            charge_id: order.filter(|_| is_of_charge),
            payout_id: order.filter(|_| !is_of_charge),
            seq: seq.filter(|_| envelope_id.is_some()),
            user_id: None,
            amount_fen: None,
            sender: None,
            audience: None,
            shares: None,
            expires_at: None,
            failure: None,
        }
    }
}

/// One page of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventsPage {
    /// The events, at most as many as were asked for. Those of an envelope come in order; a page without any is the last one
    /// for now.
    pub events: Vec<EventView>,
    /// Pass it as `cursor` to go on from here, now or later.
    pub next_cursor: String,
    /// Events from before this time may be missing: the cursor is older than what is kept. Null where none is.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub lost_before: Option<Timestamp>,
}
