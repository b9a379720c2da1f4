//! A request on its way to a server: as HTTP has it, and as a link has it.

use axum::body::Bytes;
use hongbao_core::calls::Call;
use hongbao_http::hop::DEADLINE_MS;
use hongbao_http::link::LinkRequest;
use hongbao_http::mark::REHEARSAL;
use hongbao_http::request_id::X_REQUEST_ID;
use hongbao_http::request_span::propagate;
use hongbao_http::{Code, HotRequest, Problem};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Uri, Version};
use http_body_util::Full;

use crate::fleet::Key;

/// A request that passes the gateway, with what of it may pass.
pub(crate) struct Forward {
    pub(crate) call: Call,
    /// By what its server is chosen.
    pub(crate) key: Key,
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
}

impl Forward {
    /// Of one of the two calls that were read past hyper: what else the client has sent means nothing to a server.
    pub(crate) fn of_hot(request: &HotRequest<'_>) -> Result<Forward, Problem> {
        let text = |text: &str| HeaderValue::from_str(text).map_err(|_| Problem::new(Code::BadRequest, "a header"));
        let mut http = Request::new(());
        *http.method_mut() = Method::POST;
        *http.uri_mut() = Uri::try_from(request.path).map_err(|_| Problem::new(Code::BadRequest, "the path"))?;
        http.headers_mut().insert(AUTHORIZATION, text(request.authorization)?);
        if let Some(id) = &request.request_id {
            http.headers_mut().insert(X_REQUEST_ID, id.to_header());
        }
        let (parts, ()) = http.into_parts();
        let (key, body) = (Key::Envelope(request.id), Bytes::copy_from_slice(request.body));
        Ok(Forward { call: request.call, key, parts, body })
    }

    /// For a connection of HTTP, with the milliseconds that are left for its answer.
    pub(crate) fn to_http(&self, left_ms: HeaderValue) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.parts.uri.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.parts.headers.clone();
        request.headers_mut().insert(DEADLINE_MS, left_ms);
        propagate(request.headers_mut());
        request
    }

    /// Hands it to `ask` as it goes over a link; `None` for other calls than openings and grabs, and for one that
    /// says what a frame has no field for and a server would see.
    pub(crate) fn on_link<T>(&self, left_ms: u64, ask: impl FnOnce(&LinkRequest<&[u8]>) -> Option<T>) -> Option<T> {
        let Key::Envelope(id) = self.key else { return None };
        if !matches!(self.call, Call::Open | Call::Grab) || !is_canonical(&self.parts.uri) {
            return None;
        }
        let value = |name| self.parts.headers.get(name).map(HeaderValue::as_bytes);
        let traceparent = hongbao_trace::current().map(|span| span.context.traceparent());
        ask(&LinkRequest {
            call: self.call,
            id,
            deadline_ms: u32::try_from(left_ms).ok()?,
            token: value(AUTHORIZATION)?,
            mark: value(REHEARSAL),
            request_id: value(X_REQUEST_ID)?,
            traceparent: traceparent.as_ref().map(|traceparent| &traceparent[..]),
            body: &self.body,
        })
    }
}

/// Whether the address says nothing but the call and the envelope, with the id as we write it. A query is an error, of
/// which the server tells; and a refusal is remembered by the path.
fn is_canonical(uri: &Uri) -> bool {
    uri.query().is_none() && !uri.path().bytes().any(|byte| byte.is_ascii_uppercase())
}
