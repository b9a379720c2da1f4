//! The contract as an OpenAPI document, generated from the handlers.

use std::sync::LazyLock;

use axum::http::StatusCode;
use hongbao_core::wire::ProblemBody;
use hongbao_http::mark::REHEARSAL;
use hongbao_http::{Code, json_response};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required};
use utoipa::{Modify, OpenApi};

use super::{dev, envelopes, operator, wallet};

#[derive(OpenApi)]
#[openapi(
    info(title = "Hongbao", description = "Red envelopes: send, grab, open. Money is in fen, as integers; every error \
        is an `application/problem+json` with a stable `code`."),
    paths(
        envelopes::create, envelopes::pay, envelopes::grab, envelopes::open, envelopes::detail,
        wallet::balance, wallet::transfers, wallet::envelopes,
        operator::permits, operator::set_permits,
        dev::token, dev::top_up,
    ),
    components(schemas(ProblemBody, Code)),
    modifiers(&BearerTokens, &CodesOfProblems, &AnswersOfAll, &MarkOfRehearsal),
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

/// The problems that any call may answer with, beside its own.
struct AnswersOfAll;

impl Modify for AnswersOfAll {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for item in document.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.put, &mut item.post].into_iter().flatten() {
                let mut add = |status: StatusCode, words: &str| {
                    let answers = &mut operation.responses.responses;
                    answers.entry(status.as_str().to_owned()).or_insert_with(|| problem(words));
                };
                if operation.security.is_some() {
                    add(StatusCode::UNAUTHORIZED, "`unauthorized`: no token, or one that is not good");
                    add(StatusCode::TOO_MANY_REQUESTS, "`rate_limited`: ask again after `Retry-After`");
                }
                if operation.request_body.is_some() {
                    add(StatusCode::PAYLOAD_TOO_LARGE, "`body_too_large`");
                    add(StatusCode::UNPROCESSABLE_ENTITY, "`invalid_request`");
                }
                add(StatusCode::SERVICE_UNAVAILABLE, "`busy`, `unavailable`: nothing happened, try again");
            }
        }
    }
}

/// The header that moves a call into the rehearsal.
struct MarkOfRehearsal;

impl Modify for MarkOfRehearsal {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let operations = document.paths.paths.values_mut();
        let operations = operations.flat_map(|item| [&mut item.get, &mut item.put, &mut item.post]).flatten();
        for operation in operations.filter(|operation| operation.security.is_some()) {
            let Operation { parameters, responses, .. } = operation;
            parameters.get_or_insert_default().push(mark());
            let refused = "`rehearsal_off`, `rehearsal_refused`: only if it is marked as a rehearsal";
            responses.responses.entry(StatusCode::FORBIDDEN.as_str().to_owned()).or_insert_with(|| problem(refused));
        }
    }
}

fn mark() -> Parameter {
    let words = "An operator's token: the call is part of a rehearsal, in which nothing is real.";
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let parameter = ParameterBuilder::new().name(REHEARSAL.as_str()).parameter_in(ParameterIn::Header);
    parameter.required(Required::False).description(Some(words)).schema(Some(text)).build()
}

fn problem(words: &str) -> RefOr<Response> {
    let schema = Ref::from_schema_name("ProblemBody");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    RefOr::T(ResponseBuilder::new().description(words).content("application/problem+json", content).build())
}

static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(Api::openapi);

/// `GET /openapi.json`.
pub async fn document() -> axum::response::Response {
    json_response(StatusCode::OK, &*DOCUMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_names_the_problems_that_it_may_answer_with() {
        let document = serde_json::to_value(&*DOCUMENT).unwrap();
        let statuses = |path: &str, method: &str| -> Vec<String> {
            let answers = document["paths"][path][method]["responses"].as_object();
            answers.unwrap_or_else(|| panic!("{method} {path}")).keys().cloned().collect()
        };
        assert_eq!(
            statuses("/v1/envelopes/{id}/open", "post"),
            ["200", "401", "403", "404", "413", "422", "429", "503", "504"]
        );
        assert_eq!(statuses("/v1/wallet", "get"), ["200", "401", "403", "429", "503"]);
        assert_eq!(statuses("/v1/operator/permits", "put"), ["200", "401", "403", "413", "422", "429", "503"]);
        for status in statuses("/v1/envelopes/{id}/open", "post").iter().skip(1) {
            let answer = &document["paths"]["/v1/envelopes/{id}/open"]["post"]["responses"][status];
            let schema = &answer["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/ProblemBody", "{status}");
        }
    }

    #[test]
    fn every_code_that_the_service_can_answer_with_is_listed() {
        let document = serde_json::to_value(&*DOCUMENT).unwrap();
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["ProblemBody"]["properties"]["code"]["$ref"], "#/components/schemas/Code");
        // The schema is made from the variants, so that this also finds one that `ALL` or its text forgets.
        let listed = serde_json::json!(Code::ALL.map(Code::as_str));
        assert_eq!(schemas["Code"]["enum"], listed);
    }

    #[test]
    fn every_code_that_a_call_names_exists_and_has_the_status_that_it_stands_under() {
        let document = serde_json::to_value(&*DOCUMENT).unwrap();
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
                assert_eq!(code.status().as_str(), status, "{text}");
                named += 1;
            }
        }
        assert!(named > 50, "{named}");
    }
}
