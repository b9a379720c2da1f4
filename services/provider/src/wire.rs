//! The bodies of Hongbao's provider protocol, version 1: JSON, with amounts in fen and times as in RFC 3339.

use hongbao_core::order::{Answer, Happened, Order, OrderId, OrderKind};
use hongbao_core::{Fen, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// The one currency.
pub const CURRENCY: &str = "CNY";

/// Where orders of a kind are.
pub fn path_of(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::Charge => "/v1/charges",
        OrderKind::Payout => "/v1/payouts",
        OrderKind::Refund => "/v1/refunds",
    }
}

/// `POST` to [`path_of`] its kind: an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// 32 hexadecimal digits.
    pub number: String,
    /// How much.
    pub amount_fen: Fen,
    /// [`CURRENCY`].
    pub currency: String,
    /// Who pays or is paid.
    pub user: UserId,
    /// The number of the charge that a refund takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// From then on a charge is not paid any more.
    pub expires_at: Timestamp,
}

impl NewOrder {
    /// What is sent for an order.
    pub fn of(order: &Order) -> NewOrder {
        NewOrder {
            number: order.id.number(),
            amount_fen: order.amount,
            currency: CURRENCY.to_owned(),
            user: order.user.clone(),
            of: order.of.map(|of| of.number()),
            expires_at: order.close_at,
        }
    }
}

/// How an order stands: the answer to all requests about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its number.
    pub number: String,
    /// Its kind.
    pub kind: OrderKind,
    /// How far it is.
    pub state: State,
    /// How much was moved, once it was; before that how much was asked for.
    pub amount_fen: i64,
    /// [`CURRENCY`].
    pub currency: String,
    /// Where the payer goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_url: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What the provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// See [`Standing::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has not happened yet.
    Pending,
    /// It happened.
    Succeeded,
    /// It never will.
    Failed,
    /// A payout that had happened came back.
    Returned,
}

impl Standing {
    /// What it says about the order that was asked for.
    ///
    /// # Errors
    /// What about it cannot be an answer about this order.
    pub fn answer(self, order: &Order) -> Result<Answer, String> {
        if self.number != order.id.number() || self.kind != order.kind {
            return Err("it is about another order".to_owned());
        }
        if self.currency != CURRENCY {
            return Err(format!("its currency is not {CURRENCY}"));
        }
        let happened = || {
            let amount = Fen::new(self.amount_fen).ok_or("its amount is negative")?;
            let at = self.at.ok_or("it does not say when it happened")?;
            let reference = self.reference.clone().ok_or("it has no reference")?;
            Ok::<_, &str>(Happened { amount, at, reference })
        };
        Ok(match self.state {
            State::Pending => Answer::Pending { action_url: self.action_url },
            State::Succeeded => Answer::Succeeded(happened()?),
            State::Returned => Answer::Returned(happened()?),
            State::Failed => Answer::Failed { reason: self.reason.unwrap_or_else(|| "failed".to_owned()) },
        })
    }
}

/// What is wrong with a request: the body of an answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In a word: `not_found`, `number_taken`, `invalid_request`, `signature`.
    pub code: String,
    /// In words.
    pub detail: String,
}

/// A notification: that an order may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationBody {
    /// The same each time that it is sent.
    pub id: String,
    /// The number of the order.
    pub number: String,
    /// Its kind.
    pub kind: OrderKind,
    /// How it stood when this was written: of no consequence.
    pub state: State,
}

impl NotificationBody {
    /// The order that it is about, if it has a number of ours.
    pub fn order(&self) -> Option<OrderId> {
        OrderId::parse_number(&self.number)
    }
}
