//! What stands in a row of a feed.

use serde::{Deserialize, Serialize};

use super::subject::{Series, Subject};
use super::view::{EventType, EventView};
use crate::envelope::{Entry, EntryKind, Envelope};
use crate::money::Fen;
use crate::request::AudienceBody;
use crate::time::Timestamp;
use crate::user::UserId;

/// What happened, as it is stored: JSON, of which nothing that was once written may change its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventBody {
    /// An envelope was paid.
    Paid {
        /// Who paid.
        sender: UserId,
        /// For whom it is.
        audience: AudienceBody,
        /// What was put in.
        total: Fen,
        /// How many may open it.
        shares: u32,
        /// When, in milliseconds since 1970.
        at_ms: i64,
    },
    /// Entries of a journal, in order.
    Entries {
        /// Who paid.
        sender: UserId,
        /// The entries.
        entries: Vec<EventEntry>,
    },
    /// One opening, for its opener.
    Opening {
        /// Who paid.
        sender: UserId,
        /// The entry.
        entry: EventEntry,
    },
    /// An envelope expires soon.
    ExpiringSoon {
        /// Who paid.
        sender: UserId,
        /// What is in it yet.
        remaining: Fen,
        /// When it expires, in milliseconds since 1970.
        expires_at_ms: i64,
        /// When that was noticed.
        at_ms: i64,
    },
    /// What became of an order.
    Order {
        /// Whose it is.
        user: UserId,
        /// What became of it.
        outcome: OrderOutcome,
        /// The amount that was asked for.
        amount: Fen,
        /// Why it failed, in a word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
        /// When, in milliseconds since 1970.
        at_ms: i64,
    },
}

/// An entry as it is stored: `seq`, opener (`None`: the refund), amount, what is left, and when, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry(pub u32, pub Option<UserId>, pub Fen, pub Fen, pub i64);

impl EventEntry {
    fn of(entry: &Entry) -> EventEntry {
        let user = match &entry.kind {
            EntryKind::Open(user) => Some(user.clone()),
            EntryKind::Refund => None,
        };
        EventEntry(entry.seq, user, entry.amount, entry.remaining, entry.at.millis())
    }
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderOutcome {
    /// A user has paid us.
    ChargeSucceeded,
    /// It did not happen.
    ChargeFailed,
    /// A user was paid.
    PayoutSucceeded,
    /// It did not happen.
    PayoutFailed,
    /// It had happened and came back.
    PayoutReturned,
}

impl EventBody {
    pub(super) fn paid(envelope: &Envelope, at: Timestamp) -> EventBody {
        EventBody::Paid {
            sender: envelope.sender.clone(),
            audience: (&envelope.audience).into(),
            total: envelope.total,
            shares: envelope.shares,
            at_ms: at.millis(),
        }
    }

    pub(super) fn expiring_soon(sender: &UserId, remaining: Fen, expires_at: Timestamp, at: Timestamp) -> EventBody {
        let (sender, expires_at_ms, at_ms) = (sender.clone(), expires_at.millis(), at.millis());
        EventBody::ExpiringSoon { sender, remaining, expires_at_ms, at_ms }
    }

    pub(super) fn of_entries(sender: &UserId, entries: &[Entry]) -> EventBody {
        EventBody::Entries { sender: sender.clone(), entries: entries.iter().map(EventEntry::of).collect() }
    }

    pub(super) fn of_opening(sender: &UserId, entry: &Entry) -> EventBody {
        EventBody::Opening { sender: sender.clone(), entry: EventEntry::of(entry) }
    }

    /// Reads what is stored; `None` for what means nothing.
    pub fn parse(json: &[u8]) -> Option<EventBody> {
        serde_json::from_slice(json).ok()
    }

    /// As it is stored.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a body is made of names and numbers")
    }

    /// Whose envelope or order it is about.
    pub fn sender(&self) -> &UserId {
        match self {
            EventBody::Paid { sender, .. }
            | EventBody::Entries { sender, .. }
            | EventBody::Opening { sender, .. }
            | EventBody::ExpiringSoon { sender, .. } => sender,
            EventBody::Order { user, .. } => user,
        }
    }

    /// Within which its `seq` is counted.
    pub fn series(&self) -> Series {
        match self {
            EventBody::Paid { .. } | EventBody::Entries { .. } | EventBody::Opening { .. } => Series::Journal,
            EventBody::ExpiringSoon { .. } => Series::Timer,
            EventBody::Order { .. } => Series::Order,
        }
    }

    /// The `seq` of the last of its events.
    pub fn last_seq(&self) -> u32 {
        match self {
            EventBody::Paid { .. } | EventBody::ExpiringSoon { .. } => 0,
            EventBody::Entries { entries, .. } => entries.last().map_or(0, |entry| entry.0),
            EventBody::Opening { entry, .. } => entry.0,
            EventBody::Order { outcome, .. } => u32::from(*outcome == OrderOutcome::PayoutReturned),
        }
    }

    /// When the last of it happened, in milliseconds since 1970.
    pub fn at_ms(&self) -> i64 {
        match self {
            EventBody::Paid { at_ms, .. }
            | EventBody::ExpiringSoon { at_ms, .. }
            | EventBody::Order { at_ms, .. }
            | EventBody::Opening { entry: EventEntry(.., at_ms), .. } => *at_ms,
            EventBody::Entries { entries, .. } => entries.last().map_or(0, |entry| entry.4),
        }
    }

    /// What of it comes after this `seq`; `None` if nothing does.
    pub fn after(&self, seq: Option<u32>) -> Option<EventBody> {
        let Some(seq) = seq else { return Some(self.clone()) };
        if self.last_seq() <= seq {
            return None;
        }
        let mut rest = self.clone();
        if let EventBody::Entries { entries, .. } = &mut rest {
            entries.retain(|entry| entry.0 > seq);
        }
        Some(rest)
    }

    /// The events that it stands for, in order.
    pub(super) fn events(&self, subject: Subject) -> Vec<EventView> {
        let of = |kind, seq, at_ms| EventView::new(subject, kind, seq, Timestamp::from_millis(at_ms));
        match self {
            EventBody::Paid { sender, audience, total, shares, at_ms } => vec![EventView {
                sender: Some(sender.clone()),
                audience: Some(audience.clone()),
                amount_fen: Some(*total),
                shares: Some(*shares),
                ..of(EventType::EnvelopePaid, Some(0), *at_ms)
            }],
            EventBody::Entries { sender, entries } => {
                entries.iter().flat_map(|entry| of_entry(subject, sender, entry, true)).collect()
            }
            EventBody::Opening { sender, entry } => of_entry(subject, sender, entry, false),
            EventBody::ExpiringSoon { sender, remaining, expires_at_ms, at_ms } => vec![EventView {
                sender: Some(sender.clone()),
                amount_fen: Some(*remaining),
                expires_at: Some(Timestamp::from_millis(*expires_at_ms)),
                ..of(EventType::EnvelopeExpiringSoon, None, *at_ms)
            }],
            EventBody::Order { user, outcome, amount, failure, at_ms } => {
                let kind = match outcome {
                    OrderOutcome::ChargeSucceeded => EventType::ChargeSucceeded,
                    OrderOutcome::ChargeFailed => EventType::ChargeFailed,
                    OrderOutcome::PayoutSucceeded => EventType::PayoutSucceeded,
                    OrderOutcome::PayoutFailed | OrderOutcome::PayoutReturned => EventType::PayoutFailed,
                };
                let seq = Some(self.last_seq());
                let (user_id, amount_fen) = (Some(user.clone()), Some(*amount));
                vec![EventView { user_id, amount_fen, failure: failure.clone(), ..of(kind, seq, *at_ms) }]
            }
        }
    }
}

/// What an entry comes to: an opening, and that it was the last; or that the rest went back.
fn of_entry(subject: Subject, sender: &UserId, entry: &EventEntry, tells_the_end: bool) -> Vec<EventView> {
    let EventEntry(seq, user, amount, remaining, at_ms) = entry;
    let of = |kind| EventView {
        sender: Some(sender.clone()),
        ..EventView::new(subject, kind, Some(*seq), Timestamp::from_millis(*at_ms))
    };
    let Some(user) = user else {
        let back = |kind, user_id| EventView { user_id, amount_fen: Some(*amount), ..of(kind) };
        return vec![back(EventType::EnvelopeExpired, None), back(EventType::EnvelopeRefunded, Some(sender.clone()))];
    };
    let (user_id, amount_fen) = (Some(user.clone()), Some(*amount));
    let mut events = vec![EventView { user_id, amount_fen, ..of(EventType::EnvelopeOpened) }];
    if remaining.is_zero() && tells_the_end {
        events.push(of(EventType::EnvelopeEmptied));
    }
    events
}
