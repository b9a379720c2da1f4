//! Events as they happen: server-sent events (WHATWG HTML, 9.2).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use futures_util::stream::unfold;
use hongbao_core::calls::Call;
use hongbao_core::limits::{EVENT_HEARTBEAT_MS, EVENT_REREAD_MS, EVENT_RETRY_MS, EVENT_STREAM_PAGE_MAX};
use hongbao_http::{Caller, Code, Problem, Query, TokenExpiry, hop};
use serde::Deserialize;
use tokio::time::Instant;

use super::events::reader;
use super::traffic::SelectedServer;
use crate::event_tail::{TooMany, Waker};
use crate::feeds::{Events, FeedReader};
use crate::server::Server;

/// Where a client that was cut off says how far it has come.
const LAST_EVENT_ID: &str = "last-event-id";

/// Where a stream begins.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// `next_cursor` of a page, the `id` of an event of a stream, or `end`; a header `Last-Event-ID` comes before it.
    /// Without both the stream begins with the first event that is kept.
    cursor: Option<String>,
}

/// The same events as they happen, as server-sent events.
///
/// Each has an `id`, with which a client that was cut off goes on (`Last-Event-ID`), and one event as its `data`. An
/// event `lost` says that some from before are not kept any more. A stream ends after a while, and when its token
/// expires; its client opens the next one.
#[utoipa::path(get, path = Call::EventStream.path(), operation_id = "streamEvents", tag = "events",
    params(StreamQuery),
    responses((status = 200, description = "Events, without an end.", body = String, content_type = "text/event-stream")))]
pub async fn stream(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    TokenExpiry(expires_at): TokenExpiry,
    headers: HeaderMap,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Problem> {
    let refused = || Problem::invalid_field("Last-Event-ID", "must be the id of an event of a stream");
    let last = headers.get(LAST_EVENT_ID).map(|id| id.to_str().map_err(|_| refused())).transpose()?;
    let (reader, _) = reader(&server, &caller, last.or(query.cursor.as_deref())).await?;
    let waker = server.event_tail().open(&caller.user, reader.feeds()).map_err(|too_many| match too_many {
        TooMany::Here => Problem::new(Code::Busy, "too many streams are open here; try again"),
        TooMany::OfUser => Problem::new(Code::RateLimited, "you have as many streams open as a user may"),
    })?;
    // What a token shows ends with it: its client comes again with a new one.
    let left_ms = expires_at.millis_since(server.clock().now()).max(0).unsigned_abs();
    let lasts = Duration::from_secs(server.event_stream_s_max()).min(Duration::from_millis(left_ms));
    let until = Instant::now() + lasts;
    let stream = Stream { server, reader, waker, until, ready: VecDeque::from([opening()]), is_at_end: false };
    let body = Body::from_stream(unfold(stream, |stream| async { stream.next().await }));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(hop::EVENT_STREAM));
    // What stands between must neither keep it nor wait for its end.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Sent at once, so that the client knows that it is connected.
fn opening() -> Bytes {
    Bytes::from(format!("retry: {EVENT_RETRY_MS}\n: connected\n\n"))
}

struct Stream {
    server: Arc<Server>,
    reader: FeedReader,
    waker: Waker,
    until: Instant,
    ready: VecDeque<Bytes>,
    /// Everything that there was has been read.
    is_at_end: bool,
}

impl Stream {
    /// The next bytes; `None` at the end.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Stream)> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some((Ok(bytes), self));
            }
            let now = Instant::now();
            if now >= self.until {
                return None;
            }
            if self.is_at_end {
                let heartbeat = (now + Duration::from_millis(EVENT_HEARTBEAT_MS)).min(self.until);
                tokio::select! {
                    () = self.waker.woken() => self.is_at_end = false,
                    () = tokio::time::sleep_until(heartbeat) => self.ready.push_back(Bytes::from_static(b":\n\n")),
                }
                continue;
            }
            match self.reader.next(&**self.server.wallet(), EVENT_STREAM_PAGE_MAX).await {
                Ok(given) if given.events.is_empty() && given.lost_before.is_none() => self.is_at_end = given.is_end,
                Ok(given) => self.take(given),
                Err(error) => {
                    tracing::debug!(%error, "a stream cannot read events");
                    self.ready.push_back(Bytes::from_static(b":\n\n"));
                    tokio::time::sleep(Duration::from_millis(EVENT_REREAD_MS)).await;
                }
            }
        }
    }

    fn take(&mut self, given: Events) {
        let mut text = String::new();
        if let Some(lost_before) = given.lost_before {
            let _ = write!(text, "event: lost\ndata: {{\"lost_before\":\"{lost_before}\"}}\n\n");
        }
        self.waker.sent(given.events.len());
        // What comes after the read wakes the stream.
        self.is_at_end = given.is_end;
        for (event, cursor) in given.events {
            let data = serde_json::to_string(&event).expect("an event is made of strings and numbers");
            let _ = write!(text, "id: {}\ndata: {data}\n\n", cursor.to_text());
        }
        self.ready.push_back(text.into());
    }
}
