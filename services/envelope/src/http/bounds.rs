//! The bounds of the OpenAPI document, out of the constants and limits that
//! requests are checked against: a client's generator, and tests of the
//! service by its document, can rely on them.

use std::ops::RangeInclusive;

use hongbao_core::Limits;
use hongbao_core::limits::{CURSOR_DIGITS_MAX, GROUPS_MAX};
use hongbao_core::request::{GREETING_DEFAULT, GREETING_PATTERN};
use hongbao_core::ticket::TICKET_CHARS;
use hongbao_core::user::NAME_PATTERN;
use serde_json::{Value, json};

use super::dev::TOP_UP_FEN;
use super::envelopes::{AFTER_SEQ, PAGE_LIMIT};
use super::operator::PERMIT_CAP;

/// Answers whose every field is always there, null where it has no value.
const WHOLE: [&str; 5] = ["EnvelopeView", "Detail", "TransfersPage", "TransferView", "EnvelopesPage"];

/// Writes the bounds into a document that has none.
///
/// # Panics
/// If the document has lost a field that is bounded here: it is made of the same program.
pub(super) fn bind(document: &mut Value, limits: &Limits) {
    let schemas = document["components"]["schemas"].as_object_mut().expect("there are schemas");
    for name in WHOLE {
        let schema = schemas.get_mut(name).unwrap_or_else(|| panic!("{name}"));
        let names: Vec<String> = schema["properties"].as_object().expect("it has fields").keys().cloned().collect();
        schema["required"] = names.into();
    }
    schemas.insert("AudienceBody".to_owned(), audience());

    let shares = limits.shares();
    let most_fen = *limits.total_fen(limits.shares_max).end();
    for (name, fields) in [
        (
            "CreateEnvelope",
            json!({
                "total_fen": integer(1..=most_fen),
                "shares": integer(shares),
                "greeting": {
                    "maxLength": limits.greeting_chars_max, "pattern": GREETING_PATTERN, "default": GREETING_DEFAULT,
                },
                "expires_in_s": integer(limits.expires_in_s()),
            }),
        ),
        ("OpenRequest", json!({ "ticket": { "pattern": format!("^[A-Za-z0-9_-]{{{TICKET_CHARS}}}$") } })),
        ("PermitsRequest", json!({ "cap": integer(PERMIT_CAP) })),
        (
            "DevTokenRequest",
            json!({
                "user_id": { "pattern": NAME_PATTERN },
                "groups": { "maxItems": GROUPS_MAX, "items": { "pattern": NAME_PATTERN, "type": "string" } },
            }),
        ),
        ("TopUpRequest", json!({ "amount_fen": integer(TOP_UP_FEN) })),
    ] {
        // Of a service that offers fewer calls, some are not there.
        let Some(schema) = schemas.get_mut(name) else { continue };
        for (field, bounds) in fields.as_object().expect("it is one") {
            extend(schema["properties"].get_mut(field).unwrap_or_else(|| panic!("{name}.{field}")), bounds);
        }
    }

    let calls = document["paths"].as_object_mut().expect("there are calls");
    let calls = calls.values_mut().flat_map(|path| path.as_object_mut().expect("a path has methods").values_mut());
    let parameters = calls.filter_map(|call| call.get_mut("parameters")?.as_array_mut()).flatten();
    for parameter in parameters {
        let (type_of, bounds) = match parameter["name"].as_str().expect("a parameter has a name") {
            "after_seq" => ("integer", integer(widened(AFTER_SEQ))),
            "limit" => ("integer", integer(widened(PAGE_LIMIT))),
            "cursor" => ("string", json!({ "pattern": format!("^[0-9]{{1,{CURSOR_DIGITS_MAX}}}$") })),
            _ => continue,
        };
        // One that is left out is no null.
        parameter["schema"] = json!({ "type": type_of });
        extend(&mut parameter["schema"], &bounds);
    }
}

fn extend(schema: &mut Value, bounds: &Value) {
    let schema = schema.as_object_mut().expect("a schema is an object");
    for (name, bound) in bounds.as_object().expect("bounds are an object") {
        schema.insert(name.clone(), bound.clone());
    }
}

fn integer(bounds: RangeInclusive<i64>) -> Value {
    json!({ "format": "int64", "minimum": bounds.start(), "maximum": bounds.end() })
}

fn widened(bounds: RangeInclusive<u32>) -> RangeInclusive<i64> {
    (*bounds.start()).into()..=(*bounds.end()).into()
}

/// A link has no id, all others have one: no derived schema can say so.
fn audience() -> Value {
    let of = |types: &[&str], id: Value, required: &[&str]| {
        json!({
            "type": "object", "additionalProperties": false, "required": required,
            "properties": { "type": { "type": "string", "enum": types }, "id": id },
        })
    };
    json!({
        "description": "An audience: `{\"type\":\"link\"}`, or `group` or `user` with an `id`.",
        "oneOf": [
            of(&["link"], json!({ "type": "null" }), &["type"]),
            of(&["group", "user"], json!({ "type": "string", "pattern": NAME_PATTERN }), &["type", "id"]),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::super::openapi::{Offer, document};
    use super::*;

    fn whole_document(limits: &Limits) -> Value {
        document(&Offer {
            limits,
            takes_rehearsals: true,
            issues_tokens: true,
            makes_money: true,
            asked_directly: true,
        })
    }

    /// Whether it says which values are good.
    fn is_bounded(schema: &Value) -> bool {
        let has = |name: &str| schema.get(name).is_some();
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            // A reference, or one of several.
            _ => return has("$ref") || has("oneOf"),
        };
        types.iter().all(|type_of| match *type_of {
            "integer" => has("minimum") && has("maximum"),
            "string" => has("pattern") || has("enum") || schema["format"] == "uuid",
            "array" => has("maxItems") && is_bounded(&schema["items"]),
            "null" => true,
            other => panic!("nothing is known of {other}"),
        })
    }

    #[test]
    fn everything_that_a_client_sends_is_bounded_in_the_document() {
        let document = whole_document(&Limits::default());
        let schemas = &document["components"]["schemas"];
        let mut fields = 0;
        let calls = document["paths"].as_object().unwrap().iter();
        for (path, call) in calls.flat_map(|(path, item)| item.as_object().unwrap().values().map(move |c| (path, c))) {
            for parameter in call["parameters"].as_array().into_iter().flatten() {
                // Any will do, or it is a token.
                if parameter["in"] != "header" {
                    assert!(is_bounded(&parameter["schema"]), "{path}: {parameter}");
                    fields += 1;
                }
            }
            let Some(body) = call["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str() else {
                continue;
            };
            assert_eq!(call["requestBody"]["required"], true, "{path}");
            let body = &schemas[body.rsplit('/').next().unwrap()];
            assert_eq!(body["additionalProperties"], false, "{path}: unknown fields are refused");
            for (name, field) in body["properties"].as_object().unwrap() {
                assert!(is_bounded(field), "{path}: {name}: {field}");
                fields += 1;
            }
        }
        assert!(fields >= 20, "{fields}");
    }

    #[test]
    fn the_bounds_are_those_of_the_configuration() {
        let limits = Limits { expires_in_s_min: 1, shares_max: 7, greeting_chars_max: 3, ..Limits::default() };
        let document = whole_document(&limits);
        let create = &document["components"]["schemas"]["CreateEnvelope"]["properties"];
        assert_eq!((&create["shares"]["minimum"], &create["shares"]["maximum"]), (&json!(1), &json!(7)));
        assert_eq!(create["total_fen"]["maximum"], 7 * 20_000);
        assert_eq!(create["greeting"]["maxLength"], 3);
        assert_eq!(
            (&create["expires_in_s"]["minimum"], &create["expires_in_s"]["maximum"]),
            (&json!(1), &json!(86_400))
        );
    }

    #[test]
    fn a_field_that_may_be_null_is_there_all_the_same() {
        let document = whole_document(&Limits::default());
        let schemas = &document["components"]["schemas"];
        for (name, field) in [("EnvelopeView", "expires_at"), ("Detail", "luckiest"), ("TransfersPage", "next_cursor")]
        {
            let required = schemas[name]["required"].as_array().unwrap();
            assert!(required.contains(&json!(field)), "{name}: {required:?}");
        }
    }
}
