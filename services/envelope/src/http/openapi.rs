//! The contract as an OpenAPI document, generated from the handlers.

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use hongbao_core::wire::ProblemBody;
use hongbao_http::json_response;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
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
    components(schemas(ProblemBody)),
    modifiers(&BearerTokens),
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

static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(Api::openapi);

/// `GET /openapi.json`.
pub async fn document() -> Response {
    json_response(StatusCode::OK, &*DOCUMENT)
}
