//! What the sandbox will make of an order: decided when it arrives, and kept in its books.

use hongbao_core::order::OrderKind;
use hongbao_core::{Fen, Timestamp};
use serde::{Deserialize, Serialize};

use super::faults::Fault;

/// How long things take in the sandbox, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From the arrival of an order to its outcome.
    pub confirm_ms: i64,
    /// How long an hour is: all other times follow from it.
    pub hour_ms: i64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { confirm_ms: 300, hour_ms: 3_600_000 }
    }
}

impl Pace {
    /// How long it is down.
    pub fn down_ms(self) -> i64 {
        self.hour_ms
    }

    /// After how long what is late happens.
    pub fn late_ms(self) -> i64 {
        24 * self.hour_ms
    }

    /// How long a request is left without an answer, or kept by the network.
    pub fn silent_ms(self) -> i64 {
        self.hour_ms / 60
    }

    /// How long a slow answer takes.
    pub fn slow_ms(self) -> i64 {
        self.hour_ms / 1_800
    }

    /// How long a payout has been paid when it comes back.
    pub fn returned_ms(self) -> i64 {
        self.hour_ms / 1_800
    }
}

/// What becomes of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What happens.
    pub ending: Ending,
    /// When.
    pub at: Timestamp,
    /// Whether the provider can still close it.
    pub is_closable: bool,
    /// So many milliseconds later it comes back.
    pub comes_back_ms: Option<i64>,
    /// What is wrong with its notifications.
    pub notifying: Option<Fault>,
}

/// See [`Plan::ending`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It happens, with this amount.
    Happens(Fen),
    /// It fails, for this reason.
    Fails(String),
    /// It waits for a person, or to be closed, until it expires.
    Waits,
}

impl Plan {
    /// Nothing happens by itself.
    pub fn never() -> Plan {
        let at = Timestamp::from_millis(0);
        Plan { ending: Ending::Waits, at, is_closable: true, comes_back_ms: None, notifying: None }
    }

    /// What becomes of an order of this kind and amount that arrives now, with this fault.
    pub fn of(kind: OrderKind, amount: Fen, fault: Option<Fault>, now: Timestamp, pace: Pace) -> Plan {
        let mut plan = Plan {
            ending: Ending::Happens(amount),
            at: now.plus_millis(pace.confirm_ms),
            is_closable: true,
            comes_back_ms: None,
            notifying: fault.filter(|fault| matches!(fault, Fault::Duplicate | Fault::OutOfOrder | Fault::Forged)),
        };
        match fault {
            Some(Fault::Refusal | Fault::Forged) => plan.ending = Ending::Fails(refusal_of(kind).to_owned()),
            Some(Fault::WrongAmount) => plan.ending = Ending::Happens(changed(amount.get().saturating_add(1))),
            Some(Fault::Partial) => plan.ending = Ending::Happens(changed((amount.get() / 2).max(1))),
            Some(Fault::Early) => plan.at = now,
            Some(Fault::Late) => (plan.at, plan.is_closable) = (now.plus_millis(pace.late_ms()), false),
            Some(Fault::Returned) if kind == OrderKind::Payout => plan.comes_back_ms = Some(pace.returned_ms()),
            Some(Fault::Never) => plan.ending = Ending::Waits,
            _ => {}
        }
        plan
    }

    /// When something happens by itself to an order that has no outcome.
    pub fn due_at(&self, expires_at: Timestamp) -> Timestamp {
        if self.ending == Ending::Waits { expires_at } else { self.at }
    }

    /// When one that happened then comes back.
    pub fn comes_back_at(&self, happened_at: Timestamp) -> Option<Timestamp> {
        self.comes_back_ms.map(|millis| happened_at.plus_millis(millis))
    }
}

fn changed(fen: i64) -> Fen {
    Fen::new(fen).unwrap_or_default()
}

fn refusal_of(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::Charge => "declined",
        OrderKind::Payout => "insufficient_provider_funds",
        OrderKind::Refund => "refund_declined",
    }
}
