//! What a client is told when something went wrong, and with which status.
//!
//! This is the one place where errors become responses. A [`Problem`] travels as
//! an extension of an empty response; [`crate::Outer`] knows the request id and
//! writes the body, so that no handler has to pass the id around.

use std::borrow::Cow;
use std::fmt::Display;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hongbao_core::id::stable_hash;
use hongbao_core::limits::{PROBLEM_TEXT_CHARS_MAX, RETRY_AFTER_S_MAX};
use hongbao_core::request::FieldError;
use hongbao_core::wire::ProblemBody;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::request_id::RequestId;

/// The media type of RFC 9457.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What a 404 says where no route leads: the same from a server, the all-in-one process and a gateway.
pub const NO_SUCH_CALL: &str = "there is no such call";

/// What a 404 says where the route exists, but not the envelope.
pub const NO_SUCH_ENVELOPE: &str = "there is no such envelope";

/// Seconds in `Retry-After` where nothing better is known: each request is told
/// another time, so that those who were refused together do not come back together.
fn spread_s(request_id: &RequestId) -> u32 {
    1 + (stable_hash(request_id.as_str().as_bytes()) % u64::from(RETRY_AFTER_S_MAX)) as u32
}

/// What a program decides by. Its text is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Code {
    /// The request makes no sense, whoever sends it.
    InvalidRequest,
    /// The request is not HTTP as RFC 9112 wants it.
    BadRequest,
    /// The path and the query are over the limit.
    UriTooLong,
    /// The head of the request is over the limit.
    HeadTooLarge,
    /// No token, or one that is not good.
    Unauthorized,
    /// The caller's role does not allow it.
    Forbidden,
    /// No such thing, or no such call.
    NotFound,
    /// Only the sender may pay.
    NotSender,
    /// The caller is not in the envelope's audience.
    NotInvited,
    /// Marked as a rehearsal where none is taken.
    RehearsalOff,
    /// Marked as a rehearsal by somebody who is no operator.
    RehearsalRefused,
    /// The ticket is another's, of another envelope, expired or made up.
    TicketInvalid,
    /// The balance does not suffice.
    InsufficientFunds,
    /// The envelope was never paid, and never will be.
    Cancelled,
    /// The id was used for something else.
    IdConflict,
    /// The body is over the limit.
    BodyTooLarge,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// This server's SET does not hold the envelope's slot.
    Misdirected,
    /// The caller asks too often.
    RateLimited,
    /// A queue is full: refused at once, nothing was done.
    Busy,
    /// Something that is needed does not answer; nothing was done.
    Unavailable,
    /// This server is going away.
    Draining,
    /// It may have happened or not: asking again settles it.
    OutcomeUnknown,
    /// A defect.
    Internal,
    /// The client took too long to send the request.
    RequestTimeout,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 25] = [
        Code::InvalidRequest,
        Code::BadRequest,
        Code::UriTooLong,
        Code::HeadTooLarge,
        Code::Unauthorized,
        Code::Forbidden,
        Code::NotFound,
        Code::NotSender,
        Code::NotInvited,
        Code::RehearsalOff,
        Code::RehearsalRefused,
        Code::TicketInvalid,
        Code::InsufficientFunds,
        Code::Cancelled,
        Code::IdConflict,
        Code::BodyTooLarge,
        Code::MethodNotAllowed,
        Code::Misdirected,
        Code::RateLimited,
        Code::Busy,
        Code::Unavailable,
        Code::Draining,
        Code::OutcomeUnknown,
        Code::Internal,
        Code::RequestTimeout,
    ];

    /// Text, status, title, and whether the same request may succeed later.
    const fn row(self) -> (&'static str, StatusCode, &'static str, bool) {
        use StatusCode as S;
        match self {
            Code::InvalidRequest => ("invalid_request", S::UNPROCESSABLE_ENTITY, "The request is invalid", false),
            Code::BadRequest => ("bad_request", S::BAD_REQUEST, "The request is not proper HTTP", false),
            Code::UriTooLong => ("uri_too_long", S::URI_TOO_LONG, "The address is too long", false),
            Code::HeadTooLarge => {
                ("head_too_large", S::REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large", false)
            }
            Code::Unauthorized => ("unauthorized", S::UNAUTHORIZED, "A valid token is needed", false),
            Code::Forbidden => ("forbidden", S::FORBIDDEN, "The caller may not do this", false),
            Code::NotFound => ("not_found", S::NOT_FOUND, "There is no such thing", false),
            Code::NotSender => ("not_sender", S::FORBIDDEN, "Only its sender may do this", false),
            Code::NotInvited => ("not_invited", S::FORBIDDEN, "The envelope is for others", false),
            Code::RehearsalOff => ("rehearsal_off", S::FORBIDDEN, "Rehearsals are not taken here", false),
            Code::RehearsalRefused => ("rehearsal_refused", S::FORBIDDEN, "An operator's mark is needed", false),
            Code::TicketInvalid => ("ticket_invalid", S::FORBIDDEN, "The ticket is not valid", false),
            Code::InsufficientFunds => {
                ("insufficient_funds", S::PAYMENT_REQUIRED, "The balance does not suffice", false)
            }
            Code::Cancelled => ("cancelled", S::CONFLICT, "The envelope was cancelled", false),
            Code::IdConflict => ("id_conflict", S::CONFLICT, "The id was used for something else", false),
            Code::BodyTooLarge => ("body_too_large", S::PAYLOAD_TOO_LARGE, "The body is too large", false),
            Code::MethodNotAllowed => ("method_not_allowed", S::METHOD_NOT_ALLOWED, "Not with this method", false),
            Code::Misdirected => ("misdirected", S::MISDIRECTED_REQUEST, "Another server holds this envelope", true),
            Code::RateLimited => ("rate_limited", S::TOO_MANY_REQUESTS, "Too many requests", true),
            Code::Busy => ("busy", S::SERVICE_UNAVAILABLE, "Too much to do just now", true),
            Code::Unavailable => ("unavailable", S::SERVICE_UNAVAILABLE, "The service cannot do this now", true),
            Code::Draining => ("draining", S::SERVICE_UNAVAILABLE, "This server is going away", true),
            Code::OutcomeUnknown => {
                ("outcome_unknown", S::GATEWAY_TIMEOUT, "It may have happened or not: ask again", true)
            }
            Code::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "The server failed", true),
            Code::RequestTimeout => ("request_timeout", S::REQUEST_TIMEOUT, "The request came too slowly", true),
        }
    }

    /// The stable text: `insufficient_funds`.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    /// The code in words.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// Whether the same request may succeed later.
    pub const fn is_retryable(self) -> bool {
        self.row().3
    }

    /// Whether we failed, as against refusing by design: what an operator's log is for.
    pub const fn is_fault(self) -> bool {
        matches!(self, Code::Internal | Code::Unavailable | Code::OutcomeUnknown)
    }

    /// The code for a response that came without a problem.
    fn of_status(status: StatusCode) -> Code {
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
}

/// An error as it is told to the client. Becomes a response by `?` in a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What a program decides by.
    pub code: Code,
    /// What happened this time, in words. Never a secret, never a stack trace.
    pub detail: Cow<'static, str>,
    /// The path of the wrong field in the request, where one is to blame.
    pub field: Option<String>,
    /// Seconds after which trying again makes sense; for 429 and 503 it has a default.
    pub retry_after_s: Option<u32>,
    /// What an operator needs to know and a client must not: for the log alone.
    pub cause: Option<String>,
}

impl Problem {
    /// A problem with a code and words for this time.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { code, detail: detail.into(), field: None, retry_after_s: None, cause: None }
    }

    /// A wrong field and why, in words that follow its name: `must be …`, `is …`.
    pub fn invalid_field(field: impl Into<String>, reason: &str) -> Problem {
        let field = field.into();
        let detail = bounded(&format!("`{field}` {reason}"));
        Problem { field: Some(field), ..Problem::new(Code::InvalidRequest, detail) }
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
        let code = Code::of_status(status);
        Problem::new(code, if code == Code::NotFound { NO_SUCH_CALL } else { code.title() })
    }

    /// The document of RFC 9457.
    pub fn body(&self, request_id: &RequestId) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:hongbao:problem:{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone().into_owned(),
            code: self.code.as_str().to_owned(),
            retryable: self.code.is_retryable(),
            request_id: request_id.as_str().to_owned(),
            field: self.field.clone(),
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
        *response.status_mut() = self.code.status();
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
        problem.code.status(),
        id.as_str(),
        body.len(),
    )
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.code.status();
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
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
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
            assert_eq!((code.status().as_u16(), code.as_str()), (status, text));
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
