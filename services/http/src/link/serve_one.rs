//! One request of a link, answered as if it had come over HTTP.

use std::time::Instant;

use axum::body::Bytes;
use axum::response::Response;
use bytes::BufMut as _;
use hongbao_core::calls::Call;
use hongbao_core::limits::LINK_FRAME_BYTES_MAX;
use hongbao_trace::context::TRACEPARENT;
use http::header::{AUTHORIZATION, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, response};
use http_body_util::{BodyExt as _, Full, Limited};

use super::frame::LinkRequest;
use crate::hop::DEADLINE_MS;
use crate::mark::REHEARSAL;
use crate::outer::Outer;
use crate::request_id::{RequestIds, X_REQUEST_ID};

/// An answer that is there as a whole.
pub(super) struct Whole {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
}

/// Answers a request that came at `started`; `None` if there is no answer that could be sent.
pub(super) async fn serve_one(
    outer: &Outer,
    ids: &RequestIds,
    started: Instant,
    request: LinkRequest<Bytes>,
) -> Option<Whole> {
    // Through everything that a request of HTTP passes: this is the only way in.
    let (response, _) = outer.answer_as(ids, started, as_http(request)?).await;
    whole(response).await
}

/// `None` if a value is none that a header may have.
fn as_http(request: LinkRequest<Bytes>) -> Option<Request<Full<Bytes>>> {
    let LinkRequest { call, id, deadline_ms, token, mark, request_id, traceparent, body } = request;
    let verb = if call == Call::Open { "open" } else { "grab" };
    let mut path = Vec::with_capacity(64);
    path.put_slice(b"/v1/envelopes/");
    path.put_slice(id.to_string().as_bytes());
    path.put_u8(b'/');
    path.put_slice(verb.as_bytes());
    let mut http = Request::new(Full::new(body));
    *http.method_mut() = Method::POST;
    *http.uri_mut() = Uri::from(PathAndQuery::from_maybe_shared(Bytes::from(path)).ok()?);
    let headers: &mut HeaderMap = http.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("link"));
    headers.insert(DEADLINE_MS, HeaderValue::from(deadline_ms));
    let given = [
        (AUTHORIZATION, Some(token)),
        (REHEARSAL, mark),
        (X_REQUEST_ID, Some(request_id)),
        (HeaderName::from_static(TRACEPARENT), traceparent),
    ];
    for (name, value) in given {
        let Some(value) = value else { continue };
        headers.insert(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    Some(http)
}

async fn whole(response: Response) -> Option<Whole> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, LINK_FRAME_BYTES_MAX).collect().await.ok()?.to_bytes();
    Some(Whole { head, body })
}
