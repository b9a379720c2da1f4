//! The bounds of answers: what no service answers beyond, however it is configured, since an envelope keeps the
//! limits under which it was made.

use std::ops::RangeInclusive;

use hongbao_core::limits::{
    ACTION_URL_CHARS_MAX, FREEZE_LOG_SHOWN_MAX, FREEZE_REASON_CHARS_MAX, GREETING_CHARS_CEILING, ORDER_FEN_CEILING,
    PAGE_MAX, PROVIDER_FAILURE_CHARS_MAX, SHARE_FEN_CEILING, SHARES_CEILING, TOKEN_BYTES_MAX,
};
use hongbao_core::request::GREETING_PATTERN;
use hongbao_core::user::NAME_PATTERN;
use serde_json::{Value, json};

use super::super::operator::PERMIT_CAP;
use super::super::wallet::LISTED;
use super::bounds::{REASON_PATTERN, integer};
use super::parts::{cursor_pattern, event_cursor_pattern, extend, id_pattern, schemas, ticket_pattern};

/// RFC 3339, UTC, milliseconds.
const TIME_PATTERN: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$";
/// A top-up has the client's id, a payment the envelope's, a credit `envelope:seq`.
const TRANSFER_PATTERN: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(:[1-9][0-9]*)?$";
/// What it is about, what happened, and its place there.
const EVENT_PATTERN: &str = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[a-z]+\.[a-z_]+(:[0-9]+)?$";
/// A JSON Web Token in the compact form (RFC 7515, 7.1).
const TOKEN_PATTERN: &str = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$";

/// Answers whose every field is always there, null where it has no value.
const WHOLE: [&str; 8] = [
    "EnvelopeView",
    "Detail",
    "TransfersPage",
    "TransferView",
    "EnvelopesPage",
    "OrdersPage",
    "EventsPage",
    "FrozenUsersPage",
];
/// The id of an order.
const ORDER_CURSOR_PATTERN: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";

/// Writes the bounds into a document that has none.
///
/// # Panics
/// If the document has lost a field that is bounded here: it is made of the same program.
pub(super) fn bind(document: &mut Value) {
    let schemas = schemas(document);
    for name in WHOLE {
        let schema = schemas.get_mut(name).unwrap_or_else(|| panic!("{name}"));
        let names: Vec<String> = schema["properties"].as_object().expect("it has fields").keys().cloned().collect();
        schema["required"] = names.into();
    }
    for (name, fields) in bounds() {
        let schema = schemas.get_mut(name).unwrap_or_else(|| panic!("{name}"));
        for (field, bounds) in fields.as_object().expect("it is one") {
            extend(schema["properties"].get_mut(field).unwrap_or_else(|| panic!("{name}.{field}")), bounds);
        }
    }
    // What a page lists, of all that the ledger knows.
    let kinds = json!({ "type": "string", "enum": LISTED, "description": "What the transfer was for." });
    schemas.insert("TransferKind".to_owned(), kinds);
}

fn bounds() -> [(&'static str, Value); 21] {
    let total = integer(1..=i64::from(SHARES_CEILING) * SHARE_FEN_CEILING);
    let left = integer(0..=i64::from(SHARES_CEILING) * SHARE_FEN_CEILING);
    let (share, seq) = (integer(1..=SHARE_FEN_CEILING), place(1..=SHARES_CEILING));
    let (user, time) = (json!({ "pattern": NAME_PATTERN }), json!({ "pattern": TIME_PATTERN }));
    let sha256 = json!({ "pattern": "^[0-9a-f]{64}$" });
    let cursor = json!({ "pattern": cursor_pattern() });
    let page = json!({ "maxItems": PAGE_MAX });
    let signed = integer(-i64::MAX..=i64::MAX);
    [
        (
            "EnvelopeView",
            json!({
                "sender": user, "total_fen": total, "shares": seq, "share_fen_max": share,
                "greeting": { "pattern": GREETING_PATTERN, "maxLength": GREETING_CHARS_CEILING },
                "created_at": time, "expires_at": time, "remaining_fen": left,
                "remaining_shares": place(0..=SHARES_CEILING), "draw_commitment": sha256,
            }),
        ),
        ("Opened", json!({ "amount_fen": share, "seq": seq, "opened_at": time })),
        ("Ready", json!({ "ticket": { "pattern": ticket_pattern() }, "ticket_expires_at": time })),
        ("Detail", json!({ "opens": page, "next_seq": seq, "draw_seed": sha256 })),
        ("OpenView", json!({ "seq": seq, "user_id": user, "amount_fen": share, "opened_at": time })),
        ("WalletView", json!({ "user_id": user, "balance_fen": integer(0..=i64::MAX) })),
        ("TransfersPage", json!({ "transfers": page, "next_cursor": cursor })),
        ("TransferView", json!({ "id": { "pattern": TRANSFER_PATTERN }, "amount_fen": signed, "at": time })),
        ("EnvelopesPage", json!({ "envelopes": page, "next_cursor": cursor })),
        ("EnvelopeItem", json!({ "amount_fen": total, "at": time })),
        (
            "OrderView",
            json!({
                "amount_fen": integer(1..=ORDER_FEN_CEILING), "created_at": time,
                "failure": { "maxLength": PROVIDER_FAILURE_CHARS_MAX, "pattern": "^[ -~]*$" },
            }),
        ),
        ("OrderAction", json!({ "url": { "maxLength": ACTION_URL_CHARS_MAX, "pattern": "^[!-~]+$" } })),
        ("OrdersPage", json!({ "orders": page, "next_cursor": { "pattern": ORDER_CURSOR_PATTERN } })),
        (
            "EventsPage",
            json!({ "events": page, "next_cursor": { "pattern": event_cursor_pattern() }, "lost_before": time }),
        ),
        (
            "EventView",
            json!({
                "id": { "pattern": EVENT_PATTERN }, "at": time, "seq": place(0..=u32::MAX), "user_id": user,
                "amount_fen": left, "sender": user, "shares": seq, "expires_at": time,
                "failure": { "maxLength": PROVIDER_FAILURE_CHARS_MAX, "pattern": "^[ -~]*$" },
            }),
        ),
        ("PermitsView", json!({ "cap": integer(PERMIT_CAP) })),
        (
            "FreezeView",
            json!({
                "user_id": user, "operator": user, "at": time,
                "reason": { "pattern": REASON_PATTERN, "maxLength": FREEZE_REASON_CHARS_MAX },
            }),
        ),
        ("FrozenUsersPage", json!({ "users": page, "next_user": user })),
        ("FreezeLogView", json!({ "changes": { "maxItems": FREEZE_LOG_SHOWN_MAX } })),
        ("DevToken", json!({ "token": { "pattern": TOKEN_PATTERN, "maxLength": TOKEN_BYTES_MAX } })),
        (
            "ProblemBody",
            json!({
                "type": { "pattern": "^urn:hongbao:problem:[a-z_]+$" },
                "status": { "minimum": 400, "maximum": 599 },
                "request_id": { "pattern": id_pattern() },
                "limit": { "pattern": "^[a-z_]{1,32}$" }, "resets_at": time,
            }),
        ),
    ]
}

/// A number of shares, or the place of one.
fn place(bounds: RangeInclusive<u32>) -> Value {
    json!({ "minimum": bounds.start(), "maximum": bounds.end() })
}
