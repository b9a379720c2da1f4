//! The contract as an OpenAPI document, generated from the handlers and the table of calls.
//!
//! What can be derived from types is derived; the passes below add the rest to the document, out of the
//! constants, limits and types that the calls themselves use.

mod answers;
mod bounds;
mod examples;
mod names;
mod parts;
mod problems;
#[cfg(test)]
mod tests;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use hongbao_core::Limits;
use hongbao_core::calls::{Call, Routing};
use hongbao_core::user::NAME_PATTERN;
use hongbao_core::wire::ProblemBody;
use hongbao_http::mark::REHEARSAL;
use hongbao_http::request_id::X_REQUEST_ID;
use hongbao_http::{Code, hop};
use serde_json::{Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::request_key::IDEMPOTENCY_KEY;
use super::{dev, handlers};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hongbao",
        description = "Red envelopes: send, grab, open. Money is in fen, as integers; every error is an \
            `application/problem+json` with a stable `code`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    external_docs(url = "/docs", description = "The same as a page, with what a client does about each problem."),
    servers((url = "/", description = "The service that serves this document.")),
    tags(
        (name = "envelopes", description = "Send, grab, open, look."),
        (name = "wallet", description = "A user's own money."),
        (name = "money", description = "Where money comes in and goes out, at the payment provider."),
        (name = "events", description = "What happened to money."),
        (name = "operator", description = "What operators ask of one server."),
        (name = "development", description = "Tokens and money for nothing, where nothing is real."),
    ),
    components(schemas(ProblemBody, Code)),
    modifiers(&BearerTokens),
)]
struct Api;

struct BearerTokens;

impl Modify for BearerTokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let reason = "A JSON Web Token. `sub` is the user, `groups` are the user's groups; one with `role` \
            `operator` may call what operators call.";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(reason));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    }
}

/// What a process answers, as far as it differs between installations.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// What a request may ask for.
    pub limits: &'a Limits,
    /// Whether a request may be marked as a rehearsal.
    pub takes_rehearsals: bool,
    /// Whether it makes tokens.
    pub issues_tokens: bool,
    /// Whether it makes money, be it for rehearsals alone.
    pub makes_money: bool,
    /// Whether there is a payment provider.
    pub has_provider: bool,
    /// Whether operators may ask, who ask each server by itself and no gateway.
    pub asked_directly: bool,
}

/// The document of what is offered.
pub fn document(offer: &Offer<'_>) -> Value {
    let mut document = Api::openapi();
    for of_routes in [handlers::calls().into_openapi(), dev::money().into_openapi(), dev::tokens().into_openapi()] {
        document.merge(of_routes);
    }
    let mut document = serde_json::to_value(document).expect("a document is made of strings and numbers");
    names::give(&mut document);
    // It may be left out, and is no null.
    if let Some(pay) = parts::operation(&mut document, &Call::Pay.info()) {
        pay["requestBody"]["required"] = false.into();
    }
    problems::add(&mut document, offer.takes_rehearsals);
    add_headers(&mut document, offer.takes_rehearsals);
    add_keys(&mut document);
    bounds::bind(&mut document, offer.limits);
    answers::bind(&mut document);
    examples::add(&mut document, offer.limits);
    let is_offered = |call: Call| match call {
        Call::DevToken => offer.issues_tokens,
        Call::DevTopUp => offer.makes_money,
        call if call.info().needs_provider => offer.has_provider,
        call => offer.asked_directly || call.info().routing != Routing::Nowhere,
    };
    for call in Call::ALL.into_iter().filter(|call| !is_offered(*call)) {
        parts::remove(&mut document, call.path());
    }
    parts::remove_unused(&mut document);
    document
}

/// The headers of requests: by one a client names its request, by the other an operator moves a call into the
/// rehearsal.
fn add_headers(document: &mut Value, takes_rehearsals: bool) {
    let id = "Names the request in the log and in the answer. What is not 1 to 64 of `A-Za-z0-9_-` is replaced.";
    let mark = "An operator's token: the call is part of a rehearsal, in which nothing is real.";
    for operation in parts::operations(document) {
        let needs_token = operation["security"] != json!([]);
        let mut headers = vec![header(&X_REQUEST_ID, id, Some(examples::REQUEST_ID))];
        headers.extend((takes_rehearsals && needs_token).then(|| header(&REHEARSAL, mark, None)));
        let operation = operation.as_object_mut().expect("an operation is an object");
        let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
        parameters.as_array_mut().expect("parameters are a list").extend(headers);
    }
}

/// The header by which a client names a request.
fn add_keys(document: &mut Value) {
    let reason = "Names the request for 48 hours: repeated with the same body it is the same request, and has the same \
        answer, with the resource as it is by then.";
    for call in Call::ALL.map(Call::info).into_iter().filter(|call| call.takes_key) {
        let Some(operation) = parts::operation(document, &call) else { continue };
        let mut key = header(&IDEMPOTENCY_KEY, reason, Some(examples::REQUEST_KEY));
        key["schema"]["pattern"] = NAME_PATTERN.into();
        operation["parameters"].as_array_mut().expect("every call has headers").push(key);
    }
}

/// A header that a request may have.
fn header(name: &HeaderName, reason: &str, example: Option<&str>) -> Value {
    let mut parameter = json!({
        "name": name.as_str(), "in": "header", "required": false, "description": reason,
        "schema": { "type": "string" },
    });
    if let Some(example) = example {
        parameter["example"] = example.into();
    }
    parameter
}

/// What is made of the document: for who asks this server, and for who asks through a gateway.
#[derive(Clone)]
pub(super) struct Copies {
    here: Bytes,
    through_a_gateway: Bytes,
}

impl Copies {
    /// Made by `write` of both documents.
    pub(super) fn of(offer: Offer<'_>, write: impl Fn(&Value) -> String) -> Copies {
        let copy = |asked_directly| Bytes::from(write(&document(&Offer { asked_directly, ..offer })));
        Copies { here: copy(true), through_a_gateway: copy(false) }
    }

    /// The one for a request with these headers.
    pub(super) fn for_request(&self, headers: &HeaderMap) -> Bytes {
        let is_passed_on = headers.contains_key(hop::DEADLINE_MS);
        if is_passed_on { self.through_a_gateway.clone() } else { self.here.clone() }
    }
}

/// The document as it is sent.
#[derive(Clone)]
pub(super) struct Document(Copies);

impl Document {
    /// Of what is offered.
    pub(super) fn of(offer: Offer<'_>) -> Document {
        Document(Copies::of(offer, Value::to_string))
    }

    /// The answer of `GET /openapi.json`.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = Response::new(self.0.for_request(headers).into());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
