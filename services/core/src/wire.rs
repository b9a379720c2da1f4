//! What goes over the wire. The contract of the HTTP API in types.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::envelope::{Entry, EntryKind, Envelope, Journal, Kind, Opened, State};
use crate::field::{self, Number};
use crate::id::EnvelopeId;
use crate::money::Fen;
use crate::order::{Order, OrderId, OrderState};
use crate::problem::Code;
use crate::request::AudienceBody;
use crate::time::Timestamp;
use crate::transfer::TransferKind;
use crate::user::UserId;

/// An envelope as its sender and its audience see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvelopeView {
    /// Its id, a UUIDv7.
    #[schema(value_type = String, format = "uuid")]
    pub id: EnvelopeId,
    /// Who sent it.
    #[schema(value_type = String)]
    pub sender: UserId,
    /// How the total is divided.
    pub kind: Kind,
    /// The money that was put in.
    #[schema(value_type = i64)]
    pub total_fen: Fen,
    /// How many may open it.
    pub shares: u32,
    /// The most that one share may hold: part of the draw.
    #[schema(value_type = i64)]
    pub share_fen_max: Fen,
    /// What the sender wrote on it.
    pub greeting: String,
    /// Who may open it.
    pub audience: AudienceBody,
    /// How far it has come.
    pub state: State,
    /// When it was made.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When it expires; null until it is paid.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub expires_at: Option<Timestamp>,
    /// The money left.
    #[schema(value_type = i64)]
    pub remaining_fen: Fen,
    /// Shares that can still be opened.
    pub remaining_shares: u32,
    /// SHA-256 of the seed that all amounts are drawn from, in hex.
    pub draw_commitment: String,
}

impl EnvelopeView {
    /// The view of an envelope at `now`.
    pub fn new(envelope: &Envelope, journal: &Journal, now: Timestamp) -> EnvelopeView {
        EnvelopeView {
            id: envelope.id,
            sender: envelope.sender.clone(),
            kind: envelope.kind,
            total_fen: envelope.total,
            shares: envelope.shares,
            share_fen_max: envelope.share_cap,
            greeting: envelope.greeting.clone(),
            audience: (&envelope.audience).into(),
            state: envelope.state(journal, now),
            created_at: envelope.created_at,
            expires_at: envelope.expires_at,
            remaining_fen: journal.remaining,
            remaining_shares: envelope.shares_left(journal),
            draw_commitment: envelope.seed.commitment(),
        }
    }
}

/// How a grab or an open ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The user has a share of it.
    Opened {
        /// What the user got.
        #[schema(value_type = i64)]
        amount_fen: Fen,
        /// The place in the order of openings, from 1.
        seq: u32,
        /// When it was opened.
        #[schema(value_type = String, format = "date-time")]
        opened_at: Timestamp,
        /// True when this is the repeated answer to an earlier opening.
        replayed: bool,
    },
    /// Every share was opened by others.
    Empty,
    /// Too late: the rest goes back to the sender.
    Expired,
}

impl Outcome {
    /// The answer to an opening that has happened.
    pub fn opened(opened: &Opened, replayed: bool) -> Outcome {
        Outcome::Opened { amount_fen: opened.amount, seq: opened.seq, opened_at: opened.at, replayed }
    }
}

/// The answer to a grab: a ticket, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum GrabAnswer {
    /// There is something to open.
    Ready(Ready),
    /// There is not, or the user has opened it before.
    Outcome(Outcome),
}

/// There is something to open, with this ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// Always `ready`.
    pub outcome: ReadyTag,
    /// What an open needs.
    pub ticket: String,
    /// Until when.
    #[schema(value_type = String, format = "date-time")]
    pub ticket_expires_at: Timestamp,
}

/// The word `ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadyTag {
    /// There is something to open.
    Ready,
}

/// The body of `POST /v1/envelopes/{id}/open`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// What the grab answered with.
    pub ticket: String,
}

/// An envelope with its openings.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Detail {
    /// The envelope.
    pub envelope: EnvelopeView,
    /// One page of openings, in order.
    pub opens: Vec<OpenView>,
    /// Pass it as `after_seq` for the next page; null on the last one.
    pub next_seq: Option<u32>,
    /// The caller's own opening, if any.
    pub mine: Option<OpenView>,
    /// The largest share, the earliest of equals; null until it is closed.
    pub luckiest: Option<OpenView>,
    /// The seed of all amounts, in hex; null until it is closed.
    pub draw_seed: Option<String>,
}

/// One opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenView {
    /// Its place in the order of openings, from 1.
    pub seq: u32,
    /// Who opened.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// What the user got.
    #[schema(value_type = i64)]
    pub amount_fen: Fen,
    /// When.
    #[schema(value_type = String, format = "date-time")]
    pub opened_at: Timestamp,
}

impl OpenView {
    /// The view of a user's opening.
    pub fn new(user: &UserId, opened: &Opened) -> OpenView {
        OpenView { seq: opened.seq, user_id: user.clone(), amount_fen: opened.amount, opened_at: opened.at }
    }

    /// The view of a journal entry; `None` for the refund.
    pub fn of_entry(entry: &Entry) -> Option<OpenView> {
        match &entry.kind {
            EntryKind::Open(user) => {
                Some(OpenView { seq: entry.seq, user_id: user.clone(), amount_fen: entry.amount, opened_at: entry.at })
            }
            EntryKind::Refund => None,
        }
    }
}

/// The answer of `GET /v1/wallet`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WalletView {
    /// The caller.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// The caller's money.
    #[schema(value_type = i64)]
    pub balance_fen: Fen,
}

/// One page of a user's transfers, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TransfersPage {
    /// The transfers.
    pub transfers: Vec<TransferView>,
    /// Pass it as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// One transfer, as the user's balance sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TransferView {
    /// Its id.
    pub id: String,
    /// What it was for.
    pub kind: TransferKind,
    /// Below zero when the balance went down.
    pub amount_fen: i64,
    /// The envelope that it belongs to, if any.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub envelope_id: Option<EnvelopeId>,
    /// When.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
}

/// One page of the envelopes that a user has sent or received, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EnvelopesPage {
    /// The envelopes.
    pub envelopes: Vec<EnvelopeItem>,
    /// Pass it as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// One envelope of a user's list, as the wallet knows it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EnvelopeItem {
    /// The envelope.
    #[schema(value_type = String, format = "uuid")]
    pub id: EnvelopeId,
    /// What the user paid for it, or got from it.
    #[schema(value_type = i64)]
    pub amount_fen: Fen,
    /// When it was paid, or opened.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
}

/// The body of `POST /v1/charges` and of `POST /v1/payouts`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// How much.
    #[schema(value_type = i64)]
    pub amount_fen: Number,
}

/// A charge or a payout, as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: OrderId,
    /// How much.
    #[schema(value_type = i64)]
    pub amount_fen: Fen,
    /// How far it has come.
    pub state: OrderViewState,
    /// What the payer does to go on, while there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<OrderAction>,
    /// The envelope that it pays for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub envelope_id: Option<EnvelopeId>,
    /// When it was made.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// Why it failed, in a word of the provider's or ours: `closed`, `never_received`, `returned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// How far a charge or a payout has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderViewState {
    /// What becomes of it is not known yet.
    Pending,
    /// It happened.
    Succeeded,
    /// It did not happen, or came back. No money has moved in the end.
    Failed,
}

/// What the payer does to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderAction {
    /// Where the payer pays.
    pub url: String,
}

impl OrderAction {
    /// What is left to do for an order, if anything.
    pub fn of(order: &Order) -> Option<OrderAction> {
        let url = order.action_url.clone().filter(|_| matches!(order.state, OrderState::Created | OrderState::Pending));
        url.map(|url| OrderAction { url })
    }
}

impl From<&Order> for OrderView {
    fn from(order: &Order) -> OrderView {
        let state = match order.state {
            OrderState::Created | OrderState::Pending | OrderState::Closing | OrderState::Held => {
                OrderViewState::Pending
            }
            OrderState::Succeeded => OrderViewState::Succeeded,
            OrderState::Failed | OrderState::Returned => OrderViewState::Failed,
        };
        OrderView {
            id: order.id,
            amount_fen: order.amount,
            state,
            action: OrderAction::of(order),
            envelope_id: order.envelope,
            created_at: order.created_at,
            failure: order.failure.clone().filter(|_| state == OrderViewState::Failed),
        }
    }
}

/// One page of a user's charges or payouts, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OrdersPage {
    /// The charges or payouts.
    pub orders: Vec<OrderView>,
    /// Pass it as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// The body of `POST /v1/envelopes/{id}/pay`, which may be left out.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayRequest {
    /// Where the money comes from; the balance by default.
    #[serde(default, deserialize_with = "pay_from")]
    pub from: PayFrom,
}

/// Where the money for an envelope comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayFrom {
    /// The sender's balance.
    #[default]
    Balance,
    /// A charge at the provider.
    Provider,
}

fn pay_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PayFrom, D::Error> {
    field::text(deserializer, "`balance` or `provider`")
}

/// An envelope that waits for its charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnpaidEnvelope {
    /// The envelope.
    #[serde(flatten)]
    pub envelope: EnvelopeView,
    /// The charge that is to pay for it.
    #[schema(value_type = String, format = "uuid")]
    pub charge_id: OrderId,
    /// What the payer does to go on; absent while the provider has not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<OrderAction>,
}

/// The body of `POST /v1/dev/token`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DevTokenRequest {
    /// The token's `sub`.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// The token's `groups`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub groups: Vec<crate::user::GroupId>,
    /// The token's `role`.
    pub role: Option<Role>,
}

/// What a token may say beyond who it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May call what operators call.
    Operator,
}

/// The answer of `POST /v1/dev/token`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DevToken {
    /// A bearer token.
    pub token: String,
}

/// The body of `POST /v1/dev/top-up`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopUpRequest {
    /// How much, from 1.
    #[schema(value_type = i64)]
    pub amount_fen: Number,
    /// The client's id: a repeat with the same id is the same top-up.
    #[serde(deserialize_with = "id_of_top_up")]
    #[schema(value_type = String, format = "uuid")]
    pub id: uuid::Uuid,
}

/// `Uuid` reads braces, URNs and bare hex too; the contract's UUIDs are hyphenated (RFC 9562, section 4).
fn id_of_top_up<'de, D: Deserializer<'de>>(deserializer: D) -> Result<uuid::Uuid, D::Error> {
    field::text::<D, uuid::fmt::Hyphenated>(deserializer, "a UUID").map(Into::into)
}

/// The body of every error: RFC 9457, `application/problem+json`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    /// `urn:hongbao:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// What a program decides by; stable. A client must bear one that it does not know.
    #[schema(value_type = Code)]
    pub code: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The request, as it stands in the log.
    pub request_id: String,
    /// The field that is wrong, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The limit that would be exceeded, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// When that limit leaves room again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub resets_at: Option<Timestamp>,
}
