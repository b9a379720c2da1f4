//! What the table of calls says of each: whether it needs a token, and the problems that it may answer with.

use std::collections::BTreeMap;

use hongbao_core::calls::{Call, CallInfo, Routing};
use hongbao_http::Code;
use hongbao_http::request_id::X_REQUEST_ID;
use serde_json::{Map, Value, json};

use super::examples::REQUEST_ID;
use super::parts::{id_pattern, operation, operations, reference};

/// Adds them to a document of good answers, whose headers are described with the rest.
pub(super) fn add(document: &mut Value, takes_rehearsals: bool) {
    document["components"]["headers"] = json!({
        "RequestId": {
            "description": "The id by which the request is found in the log.", "required": true,
            "schema": { "type": "string", "pattern": id_pattern() }, "example": REQUEST_ID,
        },
        "RetryAfter": {
            "description": "Seconds after which the same request may succeed.", "required": true,
            "schema": { "type": "integer", "format": "int64", "minimum": 1, "maximum": u32::MAX }, "example": 2,
        },
    });
    for call in Call::ALL.map(Call::info) {
        let Some(operation) = operation(document, &call) else { continue };
        operation["security"] = if call.needs_token { json!([{ "bearer": [] }]) } else { json!([]) };
        let mut by_status: BTreeMap<u16, Vec<(Code, &str)>> = BTreeMap::new();
        let has_body = operation.get("requestBody").is_some();
        for (code, meaning) in problems_of(&call, has_body, takes_rehearsals) {
            by_status.entry(code.status()).or_default().push((code, meaning));
        }
        let answers = operation["responses"].as_object_mut().expect("a call has answers");
        answers.extend(by_status.into_iter().map(|(status, problems)| (status.to_string(), answer(&problems))));
    }
    for operation in operations(document) {
        for (status, answer) in operation["responses"].as_object_mut().expect("a call has answers") {
            answer["headers"] = json!({ X_REQUEST_ID.as_str(): { "$ref": "#/components/headers/RequestId" } });
            if matches!(status.as_str(), "429" | "503") {
                answer["headers"]["retry-after"] = json!({ "$ref": "#/components/headers/RetryAfter" });
            }
        }
    }
}

/// Its own, and those that follow from what it is.
fn problems_of(call: &CallInfo, has_body: bool, takes_rehearsals: bool) -> Vec<(Code, &'static str)> {
    let mut problems = call.problems.to_vec();
    if call.needs_token {
        problems.push((Code::Unauthorized, "no token, or one that is not good"));
        problems.push((Code::RateLimited, "ask again after `Retry-After`"));
    }
    if call.needs_token && takes_rehearsals {
        let marked = "only if it is marked as a rehearsal";
        problems.extend([(Code::RehearsalOff, marked), (Code::RehearsalRefused, marked)]);
    }
    if call.routing == Routing::Owner {
        problems.push((Code::Misdirected, "only at a server itself"));
    }
    if has_body {
        problems.push((Code::RequestTimeout, "the body came too slowly"));
    }
    // What comes before the call is known, and what is looked at whatever the call: its head, the size of its body,
    // its query.
    problems.extend([
        (Code::BadRequest, "the head is not proper HTTP"),
        (Code::BodyTooLarge, ""),
        (Code::UriTooLong, ""),
        (Code::InvalidRequest, ""),
        (Code::HeadTooLarge, ""),
        (Code::Internal, ""),
        (Code::Busy, "nothing happened, try again"),
        (Code::Unavailable, "nothing happened, try again"),
        (Code::Draining, "nothing happened, try again"),
    ]);
    problems
}

/// A code that leads to what a client does about it.
fn link(code: Code) -> String {
    format!("[`{0}`]({1}#problem-{0})", code.as_str(), Call::Docs.path())
}

/// The answer of one status: what each of its codes means here, and an example of each.
fn answer(problems: &[(Code, &str)]) -> Value {
    let describe = |(code, meaning): &(Code, &str)| match *meaning {
        "" => link(*code),
        meaning => format!("{}: {meaning}", link(*code)),
    };
    let texts: Vec<String> = problems.iter().map(describe).collect();
    let example = |(code, _): &(Code, &str)| {
        let of_code = format!("#/components/examples/{}", code.as_str());
        (code.as_str().to_owned(), json!({ "$ref": of_code }))
    };
    let examples: Map<String, Value> = problems.iter().map(example).collect();
    json!({
        "description": texts.join("; "),
        "content": { "application/problem+json": {
            "schema": { "$ref": reference("ProblemBody") }, "examples": examples,
        } },
    })
}
