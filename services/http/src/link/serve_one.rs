//! One request of a link, answered as if it had come over HTTP: by what answers the two
//! calls past the router, or as a request of HTTP.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::response::Response;
use hongbao_core::EnvelopeId;
use hongbao_core::calls::Call;
use hongbao_core::limits::LINK_FRAME_BYTES_MAX;
use hongbao_trace::context::TRACEPARENT;
use http::header::{AUTHORIZATION, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, response};
use http_body_util::{BodyExt as _, Full, Limited};

use super::answer::{encode_answer, encode_found, plain};
use super::frame::{LinkRequest, Number};
use crate::hop::DEADLINE_MS;
use crate::hot::{Found, HotAnswer, HotRequest};
use crate::mark::REHEARSAL;
use crate::outer::Outer;
use crate::request_id::{RequestId, RequestIds, X_REQUEST_ID};

/// An answer that is there as a whole.
pub(super) enum Whole {
    /// 200, to the request of this id.
    Found(Found, RequestId),
    /// Any other.
    Other(response::Parts, Bytes),
}

impl Whole {
    /// Appends its frame; false, and nothing appended, if it would be too long.
    #[must_use]
    pub(super) fn encode(&self, number: Number, into: &mut Vec<u8>) -> bool {
        match self {
            Whole::Found(found, id) => encode_found(number, found, id, into),
            Whole::Other(head, body) => encode_answer(number, head, body, into),
        }
    }
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
            HotAnswer::Found(found) => Some(Whole::Found(found, id)),
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

fn path_of(call: Call, id: EnvelopeId) -> String {
    format!("/v1/envelopes/{id}/{}", if call == Call::Open { "open" } else { "grab" })
}

async fn whole(response: Response) -> Option<Whole> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, LINK_FRAME_BYTES_MAX).collect().await.ok()?.to_bytes();
    Some(Whole::Other(head, body))
}
