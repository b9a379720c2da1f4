//! The key by which a client names a request, to repeat it.

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request::Parts;
use hongbao_core::RequestKey;
use hongbao_core::user::must_be_a_name;
use hongbao_http::Problem;

/// Its header, which problems and the document name as `Idempotency-Key`.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SHOWN_AS: &str = "Idempotency-Key";

/// The key of a request, if it has one. Two keys are refused, and so is one that is no name.
pub struct KeyInHeader(pub Option<RequestKey>);

impl<S: Send + Sync> FromRequestParts<S> for KeyInHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<KeyInHeader, Problem> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let key = match (values.next(), values.next()) {
            (None, _) => return Ok(KeyInHeader(None)),
            (Some(value), None) => value.to_str().ok().and_then(RequestKey::parse),
            (Some(_), Some(_)) => return Err(Problem::invalid_field(SHOWN_AS, "is there more than once")),
        };
        key.map(|key| KeyInHeader(Some(key))).ok_or_else(|| Problem::invalid_field(SHOWN_AS, &must_be_a_name()))
    }
}
