//! The contract as an OpenAPI document, generated from the handlers and the table of calls.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use hongbao_core::Limits;
use hongbao_core::calls::{Call, CallInfo, Method, Routing};
use hongbao_core::wire::ProblemBody;
use hongbao_http::mark::REHEARSAL;
use hongbao_http::request_id::X_REQUEST_ID;
use hongbao_http::{Code, hop};
use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required};
use utoipa::{Modify, OpenApi};

use super::{bounds, dev, handlers};

#[derive(OpenApi)]
#[openapi(
    info(title = "Hongbao", description = "Red envelopes: send, grab, open. Money is in fen, as integers; every error \
        is an `application/problem+json` with a stable `code`."),
    components(schemas(ProblemBody, Code)),
    modifiers(&BearerTokens, &CodesOfProblems),
)]
struct Api;

struct BearerTokens;

impl Modify for BearerTokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The codes that there are. The type of the body does not say them: a client
/// must bear one that it does not know.
struct CodesOfProblems;

impl Modify for CodesOfProblems {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let schemas = &mut document.components.get_or_insert_default().schemas;
        if let Some(RefOr::T(Schema::Object(body))) = schemas.get_mut("ProblemBody") {
            body.properties.insert("code".to_owned(), Ref::from_schema_name("Code").into());
        }
    }
}

/// What the table of calls says of each: whether it needs a token, and the problems
/// that it may answer with.
struct OfTheTable {
    takes_rehearsals: bool,
}

impl Modify for OfTheTable {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for call in Call::ALL.map(Call::info) {
            let Some(operation) = operation(document, &call) else { continue };
            if call.needs_token {
                operation.security = Some(vec![SecurityRequirement::new::<_, _, String>("bearer", [])]);
            }
            let mut by_status: BTreeMap<u16, Vec<String>> = BTreeMap::new();
            let problems = problems_of(&call, operation.request_body.is_some(), self.takes_rehearsals);
            for (code, meaning) in problems {
                let code_and_meaning = match meaning {
                    "" => format!("`{}`", code.as_str()),
                    meaning => format!("`{}`: {meaning}", code.as_str()),
                };
                by_status.entry(code.status()).or_default().push(code_and_meaning);
            }
            let answers = &mut operation.responses.responses;
            answers
                .extend(by_status.into_iter().map(|(status, texts)| (status.to_string(), problem(&texts.join("; ")))));
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

/// The part of the document about a call, if it is in there.
fn operation<'d>(document: &'d mut utoipa::openapi::OpenApi, call: &CallInfo) -> Option<&'d mut Operation> {
    let item = document.paths.paths.get_mut(call.path)?;
    match call.method {
        Method::Get => item.get.as_mut(),
        Method::Post => item.post.as_mut(),
        Method::Put => item.put.as_mut(),
    }
}

/// The header by which a client names its request.
struct IdOfRequest;

impl Modify for IdOfRequest {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let reason =
            "Names the request in the log and in the answer. What is not 1 to 64 of `A-Za-z0-9_-` is replaced.";
        for operation in operations(document) {
            operation.parameters.get_or_insert_default().push(header(&X_REQUEST_ID, reason).into());
        }
    }
}

/// The header that moves a call into the rehearsal.
struct MarkOfRehearsal;

impl Modify for MarkOfRehearsal {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let reason = "An operator's token: the call is part of a rehearsal, in which nothing is real.";
        for operation in operations(document).filter(|operation| operation.security.is_some()) {
            operation.parameters.get_or_insert_default().push(header(&REHEARSAL, reason).into());
        }
    }
}

fn operations(document: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    let items = document.paths.paths.values_mut();
    items.flat_map(|item| [&mut item.get, &mut item.put, &mut item.post]).flatten()
}

/// A header that a request may have.
fn header(name: &HeaderName, reason: &str) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let parameter = ParameterBuilder::new().name(name.as_str()).parameter_in(ParameterIn::Header);
    parameter.required(Required::False).description(Some(reason)).schema(Some(text)).build()
}

fn problem(reason: &str) -> RefOr<Response> {
    let schema = Ref::from_schema_name("ProblemBody");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    RefOr::T(ResponseBuilder::new().description(reason).content("application/problem+json", content).build())
}

/// What a process answers, as far as it differs between installations.
pub struct Offer<'a> {
    /// What a request may ask for.
    pub limits: &'a Limits,
    /// Whether a request may be marked as a rehearsal.
    pub takes_rehearsals: bool,
    /// Whether it makes tokens.
    pub issues_tokens: bool,
    /// Whether it makes money, be it for rehearsals alone.
    pub makes_money: bool,
    /// Whether operators may ask, who ask each server by itself and no gateway.
    pub asked_directly: bool,
}

/// The document of what is offered.
pub fn document(offer: &Offer<'_>) -> Value {
    let mut document = Api::openapi();
    for of_routes in [handlers::calls().into_openapi(), dev::money().into_openapi(), dev::tokens().into_openapi()] {
        document.merge(of_routes);
    }
    OfTheTable { takes_rehearsals: offer.takes_rehearsals }.modify(&mut document);
    IdOfRequest.modify(&mut document);
    if offer.takes_rehearsals {
        MarkOfRehearsal.modify(&mut document);
    }
    let is_offered = |call: Call| match call {
        Call::DevToken => offer.issues_tokens,
        Call::DevTopUp => offer.makes_money,
        call => offer.asked_directly || call.info().routing != Routing::Nowhere,
    };
    for call in Call::ALL.into_iter().filter(|call| !is_offered(*call)) {
        document.paths.paths.remove(call.path());
    }
    let mut document = serde_json::to_value(document).expect("a document is made of strings and numbers");
    bounds::bind(&mut document, offer.limits);
    document
}

/// The document as it is sent, to who asks this server and to who asks through a gateway.
#[derive(Clone)]
pub(super) struct Documents {
    here: Bytes,
    through_a_gateway: Bytes,
}

impl Documents {
    pub(super) fn of(offer: Offer<'_>) -> Documents {
        let text = |asked_directly| Bytes::from(document(&Offer { asked_directly, ..offer }).to_string());
        Documents { here: text(true), through_a_gateway: text(false) }
    }
}

/// The answer of `GET /openapi.json`.
pub(super) fn answer(documents: &Documents, headers: &HeaderMap) -> axum::response::Response {
    let is_passed_on = headers.contains_key(hop::DEADLINE_MS);
    let document = if is_passed_on { &documents.through_a_gateway } else { &documents.here };
    let mut response = axum::response::Response::new(document.clone().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Of a service that offers everything.
    fn whole_document() -> Value {
        let limits = Limits::default();
        document(&Offer {
            limits: &limits,
            takes_rehearsals: true,
            issues_tokens: true,
            makes_money: true,
            asked_directly: true,
        })
    }

    /// The statuses under which a call answers.
    fn statuses(document: &Value, path: &str, method: &str) -> Vec<String> {
        let answers = document["paths"][path][method]["responses"].as_object();
        answers.unwrap_or_else(|| panic!("{method} {path}")).keys().cloned().collect()
    }

    #[test]
    fn every_call_names_the_problems_that_it_may_answer_with() {
        let document = whole_document();
        let always = ["400", "413", "414", "422", "431", "500", "503"];
        for (path, method, own) in [
            ("/v1/envelopes", "post", &["201", "401", "403", "408", "409", "421", "429", "504"][..]),
            ("/v1/envelopes/{id}/pay", "post", &["200", "401", "402", "403", "404", "409", "421", "429", "504"]),
            ("/v1/envelopes/{id}/grab", "post", &["200", "401", "403", "404", "421", "429"]),
            ("/v1/envelopes/{id}/open", "post", &["200", "401", "403", "404", "408", "421", "429", "504"]),
            ("/v1/envelopes/{id}", "get", &["200", "401", "403", "404", "421", "429"]),
            ("/v1/wallet", "get", &["200", "401", "403", "429"]),
            ("/v1/wallet/transfers", "get", &["200", "401", "403", "429"]),
            ("/v1/wallet/envelopes", "get", &["200", "401", "403", "429"]),
            ("/v1/operator/permits", "get", &["200", "401", "403", "429"]),
            ("/v1/operator/permits", "put", &["200", "401", "403", "408", "429"]),
            ("/v1/dev/token", "post", &["200", "403", "408"]),
            ("/v1/dev/top-up", "post", &["200", "401", "403", "408", "409", "429", "504"]),
        ] {
            let mut expected: Vec<String> = always.iter().chain(own).map(|status| (*status).to_owned()).collect();
            expected.sort_unstable();
            assert_eq!(statuses(&document, path, method), expected, "{method} {path}");
            for status in expected.iter().filter(|status| !status.starts_with('2')) {
                let answer = &document["paths"][path][method]["responses"][status];
                let schema = &answer["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/ProblemBody", "{status}");
            }
        }
    }

    #[test]
    fn every_call_of_the_table_has_a_handler_and_no_handler_is_for_another() {
        let document = whole_document();
        let paths = document["paths"].as_object().unwrap();
        let of_path = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
        };
        let handled: BTreeSet<String> = paths.iter().flat_map(of_path).collect();
        let calls = Call::ALL.into_iter().filter(|call| *call != Call::Document).map(Call::info);
        let called: BTreeSet<String> = calls.map(|call| format!("{} {}", call.method.as_str(), call.path)).collect();
        assert_eq!(handled, called);
    }

    #[test]
    fn what_is_not_offered_is_not_in_the_document() {
        let limits = Limits::default();
        let document = document(&Offer {
            limits: &limits,
            takes_rehearsals: false,
            issues_tokens: false,
            makes_money: false,
            asked_directly: false,
        });
        let calls = &document["paths"];
        let is_offered = |path: &String| path.starts_with("/v1/dev/") || path.starts_with("/v1/operator/");
        assert!(!calls.as_object().unwrap().keys().any(is_offered));
        assert!(!calls.to_string().contains(REHEARSAL.as_str()));
        assert!(!statuses(&document, "/v1/wallet", "get").contains(&"403".to_owned()));
    }

    #[test]
    fn every_code_that_the_service_can_answer_with_is_listed() {
        let document = whole_document();
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["ProblemBody"]["properties"]["code"]["$ref"], "#/components/schemas/Code");
        // The schema is made from the variants, so that this also finds one that `ALL` or its text forgets.
        let listed = serde_json::json!(Code::ALL.map(Code::as_str));
        assert_eq!(schemas["Code"]["enum"], listed);
    }

    #[test]
    fn every_code_that_a_call_names_exists_and_has_the_status_that_it_stands_under() {
        let document = whole_document();
        let mut named = 0;
        let calls = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        for (status, answer) in calls.flat_map(|call| call["responses"].as_object().unwrap()) {
            if answer["content"]["application/problem+json"].is_null() {
                continue;
            }
            let codes = answer["description"].as_str().unwrap().split('`').skip(1).step_by(2);
            for text in codes.filter(|text| *text != "Retry-After") {
                let code = Code::ALL.into_iter().find(|code| code.as_str() == text);
                let code = code.unwrap_or_else(|| panic!("there is no code {text}"));
                assert_eq!(code.status().to_string(), *status, "{text}");
                named += 1;
            }
        }
        assert!(named > 50, "{named}");
    }
}
