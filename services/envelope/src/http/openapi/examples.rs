//! Examples: one night in which Li sends an envelope to the group `family`, and Wang opens it first. Answers are
//! made of the types of the wire, so that they are what the service would answer.

use hongbao_core::calls::Call;
use hongbao_core::event::{EventBody, EventEntry, EventRow, EventView, EventsPage, Feed, Subject};
use hongbao_core::request::GREETING_DEFAULT;
use hongbao_core::wire::{
    Detail, DevToken, EnvelopeItem, EnvelopeView, EnvelopesPage, OpenView, OrderAction, OrderView, OrderViewState,
    OrdersPage, Outcome, Ready, ReadyTag, TransferView, TransfersPage, UnpaidEnvelope, WalletView,
};
use hongbao_core::{Audience, EnvelopeId, Fen, GroupId, Kind, Limits, OrderId, State, Timestamp, TransferKind, UserId};
use hongbao_http::{Code, Problem, RequestId};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::freezes::{FreezeLogView, FreezeView, FrozenUsersPage};
use super::super::operator::PermitsView;
use super::parts::{operation, operations, reads_events};
use crate::permits::Counter;

/// The id of a request.
pub(super) const REQUEST_ID: &str = "walk-through-1";
/// The key of one.
pub(super) const REQUEST_KEY: &str = "new-year-family-1";
const FREEZE_REASON: &str = "The owner has lost the phone.";
const ENVELOPE: &str = "019c6a3e-5c00-7c3a-9d15-7e3b1f0a2b4c";
const ORDER: &str = "019c6a3e-5c00-7c3a-9d15-7e3b1f0a2b4d";
const TICKET: &str = "AAABnGo_RmCqN0SLbYd0bQ3V8uJk1ZxW";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJsaSIsImV4cCI6MTc3MTM0NDAwMH0.c2lnbmF0dXJl";
const CURSOR: &str = "4711";
const EVENT_CURSOR: &str = "ASrnJAA";
/// 2026-02-17T00:00:00Z, when the envelope was made.
const MADE: Timestamp = Timestamp::from_millis(1_771_286_400_000);
const TOTAL_FEN: i64 = 8_888;
const SHARES: u32 = 3;
const OPENED_FEN: i64 = 3_141;

/// Writes them into a document, whose problems name theirs by the code.
pub(super) fn add(document: &mut Value, limits: &Limits) {
    for (call, body) in requests(limits) {
        if let Some(operation) = operation(document, &call.info()) {
            operation["requestBody"]["content"]["application/json"]["example"] = body;
        }
    }
    for (call, status, examples) in answers() {
        let Some(operation) = operation(document, &call.info()) else { continue };
        let named = examples.into_iter().map(|(name, value)| (name.to_owned(), json!({ "value": value })));
        let kind = if call == Call::EventStream { "text/event-stream" } else { "application/json" };
        let content = &mut operation["responses"][status]["content"][kind];
        content["examples"] = Value::Object(named.collect());
    }
    let parameters = operations(document).flat_map(|call| {
        let cursor = if reads_events(call) { EVENT_CURSOR } else { CURSOR };
        let parameters = call.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten();
        parameters.map(move |parameter| (parameter, cursor))
    });
    for (parameter, cursor) in parameters {
        match parameter["name"].as_str() {
            Some("id") => parameter["example"] = ENVELOPE.into(),
            Some("order") => parameter["example"] = ORDER.into(),
            Some("cursor") if !parameter["example"].is_null() => {}
            Some("cursor") => parameter["example"] = cursor.into(),
            Some("user_id" | "after_user") => parameter["example"] = "li".into(),
            Some("role") => parameter["example"] = "sent".into(),
            _ => {}
        }
    }
    let of_code = |code: Code| (code.as_str().to_owned(), json!({ "value": problem(code, limits) }));
    document["components"]["examples"] = Value::Object(Code::ALL.into_iter().map(of_code).collect::<Map<_, _>>());
}

/// What is sent, by call.
pub(super) fn requests(limits: &Limits) -> [(Call, Value); 9] {
    let shares = SHARES.min(limits.shares_max);
    let total = TOTAL_FEN.min(*limits.total_fen(shares).end());
    let group = json!({ "type": "group", "id": "family" });
    [
        (Call::Create, json!({ "kind": "lucky", "total_fen": total, "shares": shares, "audience": group })),
        (Call::Open, json!({ "ticket": TICKET })),
        (Call::Pay, json!({ "from": "balance" })),
        (Call::Charge, json!({ "amount_fen": 10_000.min(limits.charge_fen_max.get()) })),
        (
            Call::Payout,
            json!({ "amount_fen": OPENED_FEN.clamp(limits.payout_fen_min.get(), limits.payout_fen_max.get()) }),
        ),
        (Call::SetPermits, json!({ "cap": 4 })),
        (Call::SetFrozenUser, json!({ "user_id": "li", "frozen": true, "reason": FREEZE_REASON })),
        (Call::DevToken, json!({ "user_id": "li", "groups": ["family"] })),
        (Call::DevTopUp, json!({ "amount_fen": 10_000, "id": "5f0c5a8e-6a0b-4f39-9f4f-0a5b8c9d1e2f" })),
    ]
}

/// Bodies, each with a name.
type Named = Vec<(&'static str, Value)>;

/// What is answered, by call and status.
fn answers() -> Vec<(Call, &'static str, Named)> {
    let of = |call, status, value: Value| (call, status, vec![("answer", value)]);
    let opened = Outcome::Opened { amount_fen: fen(OPENED_FEN), seq: 1, opened_at: after(90_000), replayed: false };
    let outcomes =
        vec![("opened", value(&opened)), ("empty", value(&Outcome::Empty)), ("expired", value(&Outcome::Expired))];
    let ready = Ready { outcome: ReadyTag::Ready, ticket: TICKET.to_owned(), ticket_expires_at: after(120_000) };
    let mut grabbed = vec![("ready", value(&ready))];
    grabbed.extend(outcomes.clone());
    let (li, wang) = (user("li"), user("wang"));
    let first = OpenView { seq: 1, user_id: wang.clone(), amount_fen: fen(OPENED_FEN), opened_at: after(90_000) };
    let detail = Detail {
        envelope: EnvelopeView {
            remaining_fen: fen(TOTAL_FEN - OPENED_FEN),
            remaining_shares: SHARES - 1,
            ..envelope(true)
        },
        opens: vec![first.clone()],
        next_seq: None,
        mine: Some(first),
        luckiest: None,
        draw_seed: None,
    };
    let received = TransferView {
        id: format!("{ENVELOPE}:1"),
        kind: TransferKind::Open,
        amount_fen: OPENED_FEN,
        envelope_id: EnvelopeId::parse(ENVELOPE),
        at: after(90_000),
    };
    let transfers = TransfersPage { transfers: vec![received], next_cursor: Some(CURSOR.to_owned()) };
    let sent = EnvelopeItem { id: envelope(true).id, amount_fen: fen(TOTAL_FEN), at: after(60_000) };
    let envelopes = EnvelopesPage { envelopes: vec![sent], next_cursor: None };
    let pending = OrderView {
        id: OrderId::parse(ORDER).expect("it is one"),
        amount_fen: fen(10_000),
        state: OrderViewState::Pending,
        action: Some(OrderAction { url: "https://provider.example/pay/019c6a3e5c007c3a9d157e3b1f0a2b4d".to_owned() }),
        envelope_id: None,
        created_at: MADE,
        failure: None,
    };
    let charges = OrdersPage { orders: vec![pending.clone()], next_cursor: Some(ORDER.to_owned()) };
    let paid_out = OrderView { amount_fen: fen(OPENED_FEN), action: None, ..pending.clone() };
    let unpaid = UnpaidEnvelope { envelope: envelope(false), charge_id: pending.id, action: pending.action.clone() };
    let events = EventsPage { events: vec![event()], next_cursor: EVENT_CURSOR.to_owned(), lost_before: None };
    let freeze = FreezeView {
        user_id: user("li"),
        frozen: true,
        reason: FREEZE_REASON.to_owned(),
        operator: user("operator-1"),
        at: after(0),
    };
    let frozen = FrozenUsersPage { users: vec![freeze.clone()], next_user: None };
    let log = FreezeLogView { changes: vec![freeze.clone()] };
    let first = value(&events)["events"][0].to_string();
    let streamed = Value::from(format!("id: {CURSOR}\ndata: {first}\n\n"));
    let permits = value(&PermitsView { cap: 4, counted_by: Counter::Memcached });
    vec![
        of(Call::FrozenUsers, "200", value(&frozen)),
        of(Call::SetFrozenUser, "200", value(&freeze)),
        of(Call::FreezeLog, "200", value(&log)),
        of(Call::Create, "201", value(&envelope(false))),
        of(Call::Pay, "200", value(&envelope(true))),
        of(Call::Pay, "202", value(&unpaid)),
        of(Call::Charge, "201", value(&pending)),
        of(Call::Charges, "200", value(&charges)),
        of(
            Call::ShowCharge,
            "200",
            value(&OrderView { state: OrderViewState::Succeeded, action: None, ..pending.clone() }),
        ),
        of(Call::Payout, "201", value(&paid_out)),
        of(Call::Payouts, "200", value(&OrdersPage { orders: vec![paid_out.clone()], next_cursor: None })),
        of(Call::ShowPayout, "200", value(&OrderView { state: OrderViewState::Succeeded, ..paid_out.clone() })),
        (Call::Grab, "200", grabbed),
        (Call::Open, "200", outcomes),
        of(Call::Detail, "200", value(&detail)),
        of(Call::Balance, "200", value(&WalletView { user_id: wang, balance_fen: fen(OPENED_FEN) })),
        of(Call::Transfers, "200", value(&transfers)),
        of(Call::Envelopes, "200", value(&envelopes)),
        of(Call::Events, "200", value(&events)),
        of(Call::EventStream, "200", streamed),
        of(Call::Permits, "200", permits.clone()),
        of(Call::SetPermits, "200", permits),
        of(Call::DevToken, "200", value(&DevToken { token: TOKEN.to_owned() })),
        of(Call::DevTopUp, "200", value(&WalletView { user_id: li, balance_fen: fen(10_000) })),
    ]
}

/// That Wang has opened it.
fn event() -> EventView {
    let (wang, li) = (user("wang"), user("li"));
    let entry = EventEntry(1, Some(wang), fen(OPENED_FEN), fen(TOTAL_FEN - OPENED_FEN), after(90_000).millis());
    let row = EventRow {
        position: 4_711,
        feed: Feed::User(li.clone()),
        subject: Subject::Envelope(EnvelopeId::parse(ENVELOPE).expect("it is one")),
        body: EventBody::Entries { sender: li, entries: vec![entry] },
    };
    row.events(None).remove(0)
}

fn envelope(is_paid: bool) -> EnvelopeView {
    EnvelopeView {
        id: EnvelopeId::parse(ENVELOPE).expect("it is one"),
        sender: user("li"),
        kind: Kind::Lucky,
        total_fen: fen(TOTAL_FEN),
        shares: SHARES,
        share_fen_max: fen(20_000),
        greeting: GREETING_DEFAULT.to_owned(),
        audience: (&Audience::Group(GroupId::parse("family").expect("it is one"))).into(),
        state: if is_paid { State::Active } else { State::Created },
        created_at: MADE,
        expires_at: is_paid.then(|| after(60_000 + 86_400_000)),
        remaining_fen: fen(TOTAL_FEN),
        remaining_shares: SHARES,
        draw_commitment: "8d".repeat(32),
    }
}

/// The answer of a code, as the service writes it.
fn problem(code: Code, limits: &Limits) -> Value {
    let problem = match code {
        Code::InvalidRequest => {
            Problem::invalid_field("shares", &format!("must be an integer from 1 to {}", limits.shares_max))
        }
        code => Problem::new(code, code.title()),
    };
    value(&problem.body(&RequestId::parse(REQUEST_ID.as_bytes()).expect("it is one")))
}

fn value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("an answer is made of strings and numbers")
}

fn fen(fen: i64) -> Fen {
    Fen::new(fen).expect("it is not below zero")
}

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("it is a name")
}

/// So many milliseconds after the envelope was made.
fn after(millis: i64) -> Timestamp {
    MADE.plus_millis(millis)
}
