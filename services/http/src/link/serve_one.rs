//! One request of a link, answered as if it had come over HTTP: by what answers the two
//! calls past the router, or as a request of HTTP.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::response::Response;
use hongbao_core::EnvelopeId;
use hongbao_core::calls::Call;
use hongbao_core::limits::LINK_FRAME_BYTES_MAX;
use hongbao_trace::context::TRACEPARENT;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, response};
use http_body_util::{BodyExt as _, Full, Limited};

use super::frame::LinkRequest;
use crate::hop::{ACCEPTED, DEADLINE_MS};
use crate::hot::{Found, HotAnswer, HotRequest};
use crate::mark::REHEARSAL;
use crate::outer::Outer;
use crate::request_id::{RequestId, RequestIds, X_REQUEST_ID};

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
    if let (Some(calls), None) = (outer.hot(), &request.mark)
        && let Some(authorization) = plain(&request.token)
        && let Some(token) = authorization.strip_prefix("Bearer ").filter(|token| !token.contains(' '))
        && let Some(request_id) = RequestId::parse(&request.request_id)
    {
        let path = path_of(request.call, request.id);
        let hot = HotRequest {
            call: request.call,
            path: &path,
            id: request.id,
            authorization,
            token,
            body: &request.body,
            request_id: Some(request_id),
            traceparent: request.traceparent.as_deref(),
            time_left: Some(Duration::from_millis(request.deadline_ms.into())),
        };
        let (answer, id, _) = outer.answer_hot(ids, started, hot, &**calls).await;
        return match answer {
            HotAnswer::Found(found) => Some(whole_of_found(found, id)),
            HotAnswer::Other(response) => whole(response).await,
        };
    }
    let (response, _) = Box::pin(outer.answer_as(ids, started, as_http(request)?)).await;
    whole(response).await
}

/// `None` if a value is none that a header may have.
fn as_http(request: LinkRequest<Bytes>) -> Option<Request<Full<Bytes>>> {
    let LinkRequest { call, id, deadline_ms, token, mark, request_id, traceparent, body } = request;
    let mut http = Request::new(Full::new(body));
    *http.method_mut() = Method::POST;
    *http.uri_mut() = Uri::from(PathAndQuery::try_from(path_of(call, id)).ok()?);
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

/// A value of visible characters and blanks.
fn plain(value: &[u8]) -> Option<&str> {
    let is_plain = value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    std::str::from_utf8(value).ok().filter(|_| is_plain)
}

fn path_of(call: Call, id: EnvelopeId) -> String {
    format!("/v1/envelopes/{id}/{}", if call == Call::Open { "open" } else { "grab" })
}

fn whole_of_found(found: Found, id: RequestId) -> Whole {
    let mut response = http::Response::new(());
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(accepted) = found.accepted {
        headers.insert(ACCEPTED, HeaderValue::try_from(accepted).expect("digits and a dash are a header's"));
    }
    headers.insert(X_REQUEST_ID, id.to_header());
    Whole { head: response.into_parts().0, body: found.body.into() }
}

async fn whole(response: Response) -> Option<Whole> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, LINK_FRAME_BYTES_MAX).collect().await.ok()?.to_bytes();
    Some(Whole { head, body })
}
