//! A request on its way to a server: as HTTP has it, and as a link has it.

use axum::body::Bytes;
use hongbao_core::EnvelopeId;
use hongbao_core::calls::Call;
use hongbao_http::HotRequest;
use hongbao_http::hop::{DEADLINE_MS, ENVELOPE_ID};
use hongbao_http::link::LinkRequest;
use hongbao_http::mark::REHEARSAL;
use hongbao_http::request_id::X_REQUEST_ID;
use hongbao_http::request_span::propagate;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use http_body_util::Full;
use tokio::time::Instant;

use crate::fleet::Key;

/// A request that passes the gateway, with what of it may pass.
pub(crate) struct Forward<'a> {
    pub(crate) call: Call,
    /// By what its server is chosen.
    pub(crate) key: Key,
    pub(crate) message: Message<'a>,
    /// By when it has to be answered; `None`: as long from now on as the gateway gives it.
    pub(crate) deadline: Option<Instant>,
}

/// Tells the server the id of a new envelope, in the headers of a request.
pub(crate) fn put_id(headers: &mut HeaderMap, id: EnvelopeId) {
    let text = HeaderValue::try_from(id.to_string()).expect("an id is made of hex digits and dashes");
    headers.insert(ENVELOPE_ID, text);
    if let Some(span) = hongbao_trace::current() {
        span.record("envelope_id", id.to_string());
    }
}

/// What passes.
pub(crate) enum Message<'a> {
    /// Of a request of HTTP.
    Http(Box<Parts>, Bytes),
    /// Of one of the two calls that were read past hyper: what else the client has sent means nothing to a server.
    Hot(HotRequest<'a>),
}

impl Forward<'_> {
    /// The same for the owner of another envelope, in what is left of its time.
    pub(crate) fn renamed(mut self, id: EnvelopeId, deadline: Instant) -> Self {
        if let Message::Http(parts, _) = &mut self.message {
            put_id(&mut parts.headers, id);
        }
        Forward { key: Key::Envelope(id), deadline: Some(deadline), ..self }
    }

    /// For a connection of HTTP, with the milliseconds that are left for its answer.
    pub(crate) fn to_http(&self, left_ms: HeaderValue) -> Request<Full<Bytes>> {
        let mut request = match &self.message {
            Message::Http(parts, body) => {
                let mut request = Request::new(Full::new(body.clone()));
                *request.method_mut() = parts.method.clone();
                *request.uri_mut() = parts.uri.clone();
                *request.headers_mut() = parts.headers.clone();
                request
            }
            Message::Hot(hot) => {
                let mut request = Request::new(Full::new(Bytes::copy_from_slice(hot.body)));
                *request.method_mut() = Method::POST;
                *request.uri_mut() = Uri::try_from(hot.path).expect("a call and an id");
                let token = HeaderValue::from_str(hot.authorization).expect("visible characters and blanks");
                request.headers_mut().insert(AUTHORIZATION, token);
                if let Some(id) = &hot.request_id {
                    request.headers_mut().insert(X_REQUEST_ID, id.to_header());
                }
                request
            }
        };
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().insert(DEADLINE_MS, left_ms);
        propagate(request.headers_mut());
        request
    }

    /// Hands it to `ask` as it goes over a link; `None` for other calls than openings and grabs, and for one that
    /// says what a frame has no field for and a server would see.
    pub(crate) fn on_link<T>(&self, left_ms: u64, ask: impl FnOnce(&LinkRequest<&[u8]>) -> Option<T>) -> Option<T> {
        let Key::Envelope(id) = self.key else { return None };
        if !matches!(self.call, Call::Open | Call::Grab) {
            return None;
        }
        let traceparent = hongbao_trace::current().map(|span| span.context.traceparent());
        let traceparent = traceparent.as_ref().map(|traceparent| &traceparent[..]);
        let (call, deadline_ms) = (self.call, u32::try_from(left_ms).ok()?);
        let request = match &self.message {
            Message::Http(parts, body) => {
                let value = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
                let (token, mark, request_id) = (value(AUTHORIZATION)?, value(REHEARSAL), value(X_REQUEST_ID)?);
                if parts.uri.query().is_some() || !is_canonical(parts.uri.path()) {
                    return None;
                }
                LinkRequest { call, id, deadline_ms, token, mark, request_id, traceparent, body: &body[..] }
            }
            Message::Hot(hot) => {
                if !is_canonical(hot.path) {
                    return None;
                }
                let (token, request_id) = (hot.authorization.as_bytes(), hot.request_id.as_ref()?.as_str().as_bytes());
                LinkRequest { call, id, deadline_ms, token, mark: None, request_id, traceparent, body: hot.body }
            }
        };
        ask(&request)
    }
}

/// Whether the path says nothing but the call and the envelope, with the id as we write it: a refusal is remembered by
/// the path. (A query is an error, which the server answers.)
fn is_canonical(path: &str) -> bool {
    !path.bytes().any(|byte| byte.is_ascii_uppercase())
}
