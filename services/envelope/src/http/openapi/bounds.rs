//! The bounds of requests, out of the constants and limits that they are checked
//! against: a client's generator, and tests of the service by its document, can
//! rely on them.

use std::ops::RangeInclusive;

use hongbao_core::Limits;
use hongbao_core::limits::{FREEZE_REASON_CHARS_MAX, GROUPS_MAX, PAGE_DEFAULT};
use hongbao_core::request::{AudienceType, GREETING_DEFAULT, GREETING_PATTERN};
use hongbao_core::user::NAME_PATTERN;
use serde_json::{Map, Value, json};

use super::super::dev::TOP_UP_FEN;
use super::super::envelopes::{AFTER_SEQ, PAGE_LIMIT};
use super::super::operator::PERMIT_CAP;
use super::names::union;
use super::parts::{cursor_pattern, event_cursor_pattern, extend, operations, reads_events, schemas, ticket_pattern};

/// An operator's reason: something, without control characters.
pub(super) const REASON_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";

/// Writes the bounds into a document that has none.
///
/// # Panics
/// If the document has lost a field that is bounded here: it is made of the same program.
pub(super) fn bind(document: &mut Value, limits: &Limits) {
    let schemas = schemas(document);
    name_audiences(schemas);

    let shares = limits.shares();
    let mut lifetime = integer(limits.expires_in_s());
    let most_s = limits.expires_in_s_max;
    lifetime["description"] = format!("Seconds that it can be opened, from its payment; {most_s} by default.").into();
    let most_fen = *limits.total_fen(limits.shares_max).end();
    for (name, fields) in [
        (
            "CreateEnvelope",
            json!({
                "total_fen": integer(1..=most_fen),
                "shares": integer(shares),
                // No `default` of OpenAPI: generators for TypeScript take a field that has one for required.
                "greeting": {
                    "maxLength": limits.greeting_chars_max, "pattern": GREETING_PATTERN,
                    "description": format!("Without control characters; {GREETING_DEFAULT} by default."),
                },
                "expires_in_s": lifetime,
            }),
        ),
        ("OpenRequest", json!({ "ticket": { "pattern": ticket_pattern() } })),
        ("PermitsRequest", json!({ "cap": integer(PERMIT_CAP) })),
        (
            "DevTokenRequest",
            json!({
                "user_id": { "pattern": NAME_PATTERN },
                "groups": { "maxItems": GROUPS_MAX, "items": { "pattern": NAME_PATTERN, "type": "string" } },
            }),
        ),
        (
            "FreezeRequest",
            json!({
                "user_id": { "pattern": NAME_PATTERN },
                "reason": { "pattern": REASON_PATTERN, "maxLength": FREEZE_REASON_CHARS_MAX },
            }),
        ),
        ("TopUpRequest", json!({ "amount_fen": integer(TOP_UP_FEN) })),
        ("OrderRequest", json!({ "amount_fen": integer(order_fen(limits)) })),
    ] {
        let schema = schemas.get_mut(name).unwrap_or_else(|| panic!("{name}"));
        for (field, bounds) in fields.as_object().expect("it is one") {
            extend(schema["properties"].get_mut(field).unwrap_or_else(|| panic!("{name}.{field}")), bounds);
        }
    }

    let parameters = operations(document).flat_map(|call| {
        let pattern = if reads_events(call) { event_cursor_pattern() } else { cursor_pattern() };
        let parameters = call.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten();
        parameters.map(move |parameter| (parameter, pattern.clone()))
    });
    for (parameter, pattern) in parameters {
        let (is, bounds) = match parameter["name"].as_str().expect("a parameter has a name") {
            "after_seq" => (json!({ "type": "integer", "default": 0 }), integer(widened(AFTER_SEQ))),
            "limit" => (json!({ "type": "integer", "default": PAGE_DEFAULT }), integer(widened(PAGE_LIMIT))),
            "cursor" if !parameter["schema"]["pattern"].is_null() => continue,
            "after_user" | "user_id" => (json!({ "type": "string" }), json!({ "pattern": NAME_PATTERN })),
            "cursor" => (json!({ "type": "string" }), json!({ "pattern": pattern })),
            _ => continue,
        };
        // One that is left out is no null.
        parameter["schema"] = is;
        extend(&mut parameter["schema"], &bounds);
    }
}

/// A charge and a payout have one body, and what either may be of is refused by the other at most.
fn order_fen(limits: &Limits) -> RangeInclusive<i64> {
    1..=limits.charge_fen_max.max(limits.payout_fen_max).get()
}

/// Of 64 bits, within bounds.
pub(super) fn integer(bounds: RangeInclusive<i64>) -> Value {
    json!({ "format": "int64", "minimum": bounds.start(), "maximum": bounds.end() })
}

fn widened(bounds: RangeInclusive<u32>) -> RangeInclusive<i64> {
    (*bounds.start()).into()..=(*bounds.end()).into()
}

/// A link has no id, all others have one: no derived schema can say so.
fn name_audiences(schemas: &mut Map<String, Value>) {
    let (no_id, id) = (json!({ "type": "null" }), json!({ "type": "string", "pattern": NAME_PATTERN }));
    let mut forms = Vec::new();
    for (kind, name, description, id, required) in [
        (AudienceType::Link, "LinkAudience", "Anyone who has the link.", no_id, &["type"][..]),
        (AudienceType::Group, "GroupAudience", "The members of a group.", id.clone(), &["type", "id"]),
        (AudienceType::User, "UserAudience", "One user.", id, &["type", "id"]),
    ] {
        let kind = json!(kind);
        let schema = json!({
            "title": name, "description": description,
            "type": "object", "additionalProperties": false, "required": required,
            "properties": { "type": { "type": "string", "const": kind }, "id": id },
        });
        schemas.insert(name.to_owned(), schema);
        forms.push((kind.as_str().expect("it is a word").to_owned(), name.to_owned()));
    }
    let description = schemas["AudienceBody"]["description"].clone();
    schemas.insert("AudienceBody".to_owned(), union(description, "type", &forms));
}
