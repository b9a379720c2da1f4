//! The answer of a request that failed, and its status.
//!
//! This is the one place where errors become responses. A [`Problem`] travels as
//! an extension of an empty response; [`crate::Outer`] knows the request id and
//! writes the body, so that no handler has to pass the id around.

use std::borrow::Cow;
use std::fmt::Display;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use hongbao_core::field::FieldError;
use hongbao_core::id::stable_hash;
use hongbao_core::limits::{PROBLEM_TEXT_CHARS_MAX, RETRY_AFTER_S_MAX};
pub use hongbao_core::problem::Code;
use hongbao_core::wire::ProblemBody;
use hongbao_core::{Timestamp, UserLimit};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use crate::request_id::RequestId;

/// The media type of RFC 9457.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What a 404 says where no route leads: the same from a server, the all-in-one process and a gateway.
pub const NO_SUCH_CALL: &str = "there is no such call";

/// What a 404 says where the route exists, but not the envelope.
pub const NO_SUCH_ENVELOPE: &str = "there is no such envelope";

/// Seconds in `Retry-After` where nothing better is known: each request gets
/// another time, so that those who were refused together do not come back together.
fn spread_s(request_id: &RequestId) -> u32 {
    1 + (stable_hash(request_id.as_str().as_bytes()) % u64::from(RETRY_AFTER_S_MAX)) as u32
}

/// The status that a code comes with.
pub(crate) fn status_of(code: Code) -> StatusCode {
    StatusCode::from_u16(code.status()).expect("every code has a status of HTTP")
}

/// The code for a response that came without a problem.
fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthorized,
        StatusCode::FORBIDDEN => Code::Forbidden,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::REQUEST_TIMEOUT => Code::RequestTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::TOO_MANY_REQUESTS => Code::RateLimited,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::GATEWAY_TIMEOUT => Code::OutcomeUnknown,
        other if other.is_client_error() => Code::InvalidRequest,
        _ => Code::Internal,
    }
}

/// An error as the client gets it. Becomes a response by `?` in a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What a program decides by.
    pub code: Code,
    /// What happened this time. Never a secret, never a stack trace.
    pub detail: Cow<'static, str>,
    /// The path of the wrong field in the request, where one is to blame.
    pub field: Option<String>,
    /// The limit that would be exceeded, and when it leaves room again, if it ever does.
    pub limit: Option<(UserLimit, Option<Timestamp>)>,
    /// Seconds after which trying again makes sense; for 429 and 503 it has a default.
    pub retry_after_s: Option<u32>,
    /// What an operator needs to know and a client must not: for the log alone.
    pub cause: Option<String>,
}

impl Problem {
    /// A problem with a code and what happened this time.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { code, detail: detail.into(), field: None, limit: None, retry_after_s: None, cause: None }
    }

    /// A wrong field and why, as a phrase that follows its name: `must be …`, `is …`.
    pub fn invalid_field(field: impl Into<String>, reason: &str) -> Problem {
        let field = field.into();
        let detail = bounded(&format!("`{field}` {reason}"));
        Problem { field: Some(field), ..Problem::new(Code::InvalidRequest, detail) }
    }

    /// A limit of the caller, and when it leaves room again, if it ever does.
    pub fn limit_exceeded(limit: UserLimit, resets_at: Option<Timestamp>, detail: String) -> Problem {
        Problem { limit: Some((limit, resets_at)), ..Problem::new(Code::LimitExceeded, detail) }
    }

    /// The same, to be tried again after so many seconds.
    pub fn retry_after_s(self, seconds: u32) -> Problem {
        Problem { retry_after_s: Some(seconds), ..self }
    }

    /// The same, with what the log should say about it.
    pub fn caused_by(self, cause: impl Into<String>) -> Problem {
        Problem { cause: Some(cause.into()), ..self }
    }

    /// The problem of a response that came without one: a route that does not
    /// exist, or a refusal of the framework.
    pub(crate) fn of_status(status: StatusCode) -> Problem {
        let code = code_of(status);
        Problem::new(code, if code == Code::NotFound { NO_SUCH_CALL } else { code.title() })
    }

    /// The document of RFC 9457.
    pub fn body(&self, request_id: &RequestId) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:hongbao:problem:{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone().into_owned(),
            code: self.code.as_str().to_owned(),
            retryable: self.code.is_retryable(),
            request_id: request_id.as_str().to_owned(),
            field: self.field.clone(),
            limit: self.limit.map(|(limit, _)| limit.as_str().to_owned()),
            resets_at: self.limit.and_then(|(_, resets_at)| resets_at),
        }
    }

    /// Seconds after which this request should come again; `None` where that is not said.
    pub(crate) fn wait_s(&self, request_id: &RequestId) -> Option<u32> {
        match self.code {
            Code::RateLimited | Code::Busy | Code::Unavailable | Code::Draining => {
                Some(self.retry_after_s.unwrap_or_else(|| spread_s(request_id)))
            }
            _ => None,
        }
    }

    /// Writes the document into a response that carries this problem, and the
    /// headers that its code asks for. Other headers stay as they are.
    pub(crate) fn write(&self, response: &mut Response, request_id: &RequestId) {
        let body = serde_json::to_vec(&self.body(request_id)).expect("strings and numbers always serialise");
        *response.status_mut() = status_of(self.code);
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = self.wait_s(request_id) {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.code {
            Code::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // The rest of the body is still on its way, or where it ends is not sure: this connection cannot be
            // used again.
            Code::BodyTooLarge | Code::RequestTimeout | Code::BadRequest => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
    }
}

/// A problem as it stands on the wire, where no router writes it: the last answer of its connection.
pub(crate) fn on_the_wire(problem: &Problem, id: &RequestId) -> String {
    let body = serde_json::to_string(&problem.body(id)).expect("strings and numbers always serialise");
    let retry_after = problem.wait_s(id).map_or_else(String::new, |wait_s| format!("retry-after: {wait_s}\r\n"));
    format!(
        "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\n{retry_after}x-request-id: {}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        status_of(problem.code),
        id.as_str(),
        body.len(),
    )
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status_of(self.code);
        response.extensions_mut().insert(self);
        response
    }
}

/// Text that came from a client, cut to a length that fits a log line.
pub(crate) fn bounded(text: &(impl Display + ?Sized)) -> String {
    let mut text = text.to_string();
    if let Some((cut, _)) = text.char_indices().nth(PROBLEM_TEXT_CHARS_MAX) {
        text.truncate(cut);
    }
    text
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<RequestId, Problem> {
        let id = RequestId::in_headers(&parts.headers);
        id.ok_or_else(|| Problem::new(Code::Internal, "the request came past the outer layer"))
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Problem {
        Problem::invalid_field(error.field, &error.reason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_its_own_text_and_an_error_status() {
        let texts: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            let status = status_of(code);
            assert!(status.is_client_error() || status.is_server_error(), "{code:?}");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code:?}");
        }
    }

    #[test]
    fn the_codes_of_the_contract_have_its_statuses() {
        let contract = [
            (Code::InvalidRequest, 422, "invalid_request"),
            (Code::BadRequest, 400, "bad_request"),
            (Code::UriTooLong, 414, "uri_too_long"),
            (Code::HeadTooLarge, 431, "head_too_large"),
            (Code::Unauthorized, 401, "unauthorized"),
            (Code::InsufficientFunds, 402, "insufficient_funds"),
            (Code::NotSender, 403, "not_sender"),
            (Code::NotInvited, 403, "not_invited"),
            (Code::RehearsalOff, 403, "rehearsal_off"),
            (Code::RehearsalRefused, 403, "rehearsal_refused"),
            (Code::TicketInvalid, 403, "ticket_invalid"),
            (Code::Cancelled, 409, "cancelled"),
            (Code::BodyTooLarge, 413, "body_too_large"),
            (Code::Misdirected, 421, "misdirected"),
            (Code::Busy, 503, "busy"),
            (Code::OutcomeUnknown, 504, "outcome_unknown"),
        ];
        for (code, status, text) in contract {
            assert_eq!((code.status(), code.as_str()), (status, text));
        }
    }

    #[test]
    fn a_problem_is_written_with_the_headers_of_its_code() {
        let id = RequestId::parse(b"r-1").unwrap();
        let written = |problem: Problem| {
            let mut response = problem.clone().into_response();
            problem.write(&mut response, &id);
            response
        };
        let limited = written(Problem::new(Code::RateLimited, "slow down").retry_after_s(7));
        assert_eq!(limited.headers()[RETRY_AFTER], "7");
        let told: HashSet<_> = (0..64)
            .map(|number| {
                let id = RequestId::parse(format!("r-{number}").as_bytes()).unwrap();
                let busy = Problem::new(Code::Busy, "the lane is full");
                let mut response = busy.clone().into_response();
                busy.write(&mut response, &id);
                response.headers()[RETRY_AFTER].to_str().unwrap().parse::<u32>().unwrap()
            })
            .collect();
        assert_eq!(told, (1..=RETRY_AFTER_S_MAX).collect(), "not all at the same time");
        let unauthorized = written(Problem::new(Code::Unauthorized, "no token"));
        assert_eq!(unauthorized.headers()[WWW_AUTHENTICATE], "Bearer");
        assert_eq!(unauthorized.headers()[CONTENT_TYPE], "application/problem+json");
        assert!(!unauthorized.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn the_body_names_the_field_only_when_one_is_to_blame() {
        let id = RequestId::parse(b"r-1").unwrap();
        let body = serde_json::to_value(Problem::invalid_field("shares", "must be 1 to 500").body(&id)).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:hongbao:problem:invalid_request", "title": "The request is invalid", "status": 422,
                "detail": "`shares` must be 1 to 500", "code": "invalid_request", "retryable": false, "request_id": "r-1",
                "field": "shares",
            })
        );
        let body = serde_json::to_value(Problem::new(Code::Busy, "full").body(&id)).unwrap();
        assert!(body.get("field").is_none());
    }
}
