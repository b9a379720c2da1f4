//! How a request gets to a server: over a link, or over HTTP.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use hongbao_http::hop::ENVELOPE_ID;
use hongbao_http::hot::Found;
use hongbao_http::link::LinkAnswer;
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::client::{SendError, UpstreamClient};
use crate::deadline_body::DeadlineBody;
use crate::forward::Forward;
use crate::links::{End, Links};
use crate::metrics::GatewayMetrics;
use crate::options::GatewayOptions;
use crate::upstream::{InFlight, Upstream};

/// The connections of one thread.
pub(crate) struct Transport {
    client: UpstreamClient,
    /// `None` where openings are not handed over in frames.
    links: Option<Arc<Links>>,
    /// The milliseconds that are left when none are used.
    whole: (u64, HeaderValue),
}

/// A server's answer.
pub(crate) enum Answer {
    /// 200 to a grab or an opening, over a link.
    Found(Found),
    /// Any other, of which the body may still come.
    Other(Response<AnswerBody>),
}

/// The body of a server's answer.
pub(crate) enum AnswerBody {
    /// It comes.
    Streamed(Incoming),
    /// It is there.
    Whole(Bytes),
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Answer::Found(_) => StatusCode::OK,
            Answer::Other(response) => response.status(),
        }
    }

    /// Whether the server says that it does not hold the envelope that it was asked for, and not that it should be
    /// another one.
    pub(crate) fn is_misdirected(&self) -> bool {
        matches!(self, Answer::Other(response) if response.status() == StatusCode::MISDIRECTED_REQUEST
            && !response.headers().contains_key(ENVELOPE_ID))
    }
}

impl Transport {
    pub(crate) fn new(options: &GatewayOptions, metrics: &Arc<GatewayMetrics>) -> Transport {
        Transport {
            client: UpstreamClient::new(options.connect_timeout_ms),
            links: options.links.then(|| Arc::new(Links::new(options.connect_timeout_ms, metrics.clone()))),
            whole: (options.answer_within_ms, HeaderValue::from(options.answer_within_ms)),
        }
    }

    /// Sends a request of which nothing was done yet, and waits for the head of the answer. So many milliseconds
    /// are left for it; `None`: all of them.
    pub(crate) async fn send(
        &self,
        upstream: &Arc<Upstream>,
        forward: &Forward<'_>,
        left_ms: Option<u64>,
    ) -> Result<Answer, SendError> {
        let began = Instant::now();
        let mut left_ms = left_ms;
        if let Some(links) = &self.links
            && let Some(asked) =
                forward.on_link(left_ms.unwrap_or(self.whole.0), |request| links.ask(upstream, request))
        {
            match asked.end().await {
                End::Answered(LinkAnswer::Found(found)) => return Ok(Answer::Found(found)),
                End::Answered(LinkAnswer::Other(answer)) => {
                    let mut response = Response::new(AnswerBody::Whole(answer.body));
                    *response.status_mut() = answer.status;
                    *response.headers_mut() = answer.headers;
                    return Ok(Answer::Other(response));
                }
                End::Broken(reason) => return Err(SendError::Broken(reason)),
                // As with a kept connection that turns out to be closed: a new one shows whether the server is there.
                End::NotSent => {
                    let waited_ms = began.elapsed().as_millis() as u64;
                    left_ms = Some(left_ms.unwrap_or(self.whole.0).saturating_sub(waited_ms));
                }
            }
        }
        let left = left_ms.map_or_else(|| self.whole.1.clone(), HeaderValue::from);
        let response = Box::pin(self.client.send(upstream, forward.to_http(left))).await?;
        Ok(Answer::Other(response.map(AnswerBody::Streamed)))
    }
}

impl AnswerBody {
    /// An answer that goes on for as long as its server likes, and keeps no place of other requests.
    pub(crate) fn into_stream(self) -> Body {
        match self {
            AnswerBody::Streamed(body) => Body::new(body),
            AnswerBody::Whole(body) => Body::from(body),
        }
    }

    /// As it goes to the client; a request whose answer still comes counts as being at the server.
    pub(crate) fn into_body(self, head_came: Instant, in_flight: InFlight) -> Body {
        match self {
            AnswerBody::Streamed(body) => Body::new(DeadlineBody::new(body, head_came, in_flight)),
            AnswerBody::Whole(body) => Body::from(body),
        }
    }
}
