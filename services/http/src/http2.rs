//! A connection of HTTP/2: its requests become requests as HTTP/1.1 has them, and are answered as those are.
//!
//! It is closed when no request has come on it and no event was sent on it for too long, and as soon as it has none, when the server stops.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt as _;
use hongbao_core::limits::{BODY_BYTES_MAX, HTTP2_PING_EVERY, HTTP2_PING_WAIT_MAX, HTTP2_STREAMS_MAX};
use http::header::HOST;
use http::uri::Parts;
use http::{HeaderValue, Request, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use crate::hop::is_event_stream;
use crate::options::ServeOptions;
use crate::outer::Outer;
use crate::request_id::RequestIds;
use crate::stream::Stream;

/// What the requests of one connection share.
struct Connection {
    outer: Arc<Outer>,
    ids: RequestIds,
    opened: Instant,
    /// Requests that are being answered.
    under_way: AtomicUsize,
    /// Milliseconds from `opened` to the last moment at which a request came or was answered, or an event was taken; 0
    /// before the first.
    used_ms: AtomicU64,
}

impl Connection {
    async fn answer(self: Arc<Connection>, request: Request<Incoming>) -> Response {
        let started = Instant::now();
        self.under_way.fetch_add(1, Ordering::Relaxed);
        // A request that the client takes back is dropped here.
        let _ends = Ends(&self);
        self.note(started);
        let response = self.outer.answer_as(&self.ids, started, as_http1(request)).await.0;
        if !is_event_stream(response.headers()) {
            return response;
        }
        // What a stream sends now and then shows that its client is there: it is asked for as long as that is taken.
        let connection = self.clone();
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                connection.note(Instant::now());
                frame
            }))
        })
    }

    fn note(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.opened).as_millis() as u64;
        self.used_ms.store(millis.max(1), Ordering::Relaxed);
    }

    /// When the connection has been without a request for too long; `None` while it has one.
    fn deadline(&self, options: &ServeOptions) -> Option<Instant> {
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Some(match self.used_ms.load(Ordering::Relaxed) {
            0 => self.opened + options.head_timeout,
            used_ms => self.opened + Duration::from_millis(used_ms) + options.idle_timeout,
        })
    }
}

struct Ends<'a>(&'a Connection);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.note(Instant::now());
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The host that HTTP/2 has in a field of its own is where HTTP/1.1 has it; one that `Host` contradicts is a second one.
fn as_http1(mut request: Request<Incoming>) -> Request<Incoming> {
    *request.version_mut() = Version::HTTP_11;
    let Parts { authority, path_and_query, .. } = std::mem::take(request.uri_mut()).into_parts();
    *request.uri_mut() = path_and_query.map(Uri::from).unwrap_or_default();
    let Some(authority) = authority else { return request };
    let host = HeaderValue::from_str(authority.as_str()).expect("an authority is visible characters");
    if request.headers().get(HOST) != Some(&host) {
        request.headers_mut().append(HOST, host);
    }
    request
}

/// Serves one connection until it ends, has no request for too long, or `quit` fires and it has answered what it was
/// asked.
pub(crate) async fn drive(
    stream: Stream,
    number: u64,
    outer: Arc<Outer>,
    options: Arc<ServeOptions>,
    mut quit: oneshot::Receiver<()>,
) {
    let opened = Instant::now();
    let ids = outer.ids_of_connection(number);
    let shared = Connection { outer, ids, opened, under_way: AtomicUsize::new(0), used_ms: AtomicU64::new(0) };
    let shared = Arc::new(shared);
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(options.head_bytes_max as u32)
        // No body is larger, so that no client waits for more.
        .initial_stream_window_size(2 * BODY_BYTES_MAX as u32)
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(HTTP2_PING_WAIT_MAX);
    let serving = shared.clone();
    let service = service_fn(move |request| {
        let shared = serving.clone();
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut timer = pin!(sleep_until((opened + options.head_timeout).into()));
    // It ends when its last stream has; from then on it is waited for no longer than until this.
    let (mut is_closing, mut cut_at) = (false, None);
    std::future::poll_fn(|context| {
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(context) {
                if let Err(error) = result {
                    tracing::debug!(connection = number, %error, "the connection failed");
                }
                return Poll::Ready(());
            }
            // A dropped sender says the same as a signal.
            if !is_closing && quit.poll_unpin(context).is_ready() {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
                continue;
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if cut_at.is_some_and(|cut_at| cut_at <= now) {
                if shared.under_way.load(Ordering::Relaxed) == 0 {
                    tracing::debug!(connection = number, "cut: its client takes no answers");
                    return Poll::Ready(());
                }
                // It had sent a request before it knew that the connection closes.
                cut_at = Some(now + options.linger_timeout);
            }
            let deadline = shared.deadline(&options);
            if cut_at.is_none() && deadline.is_some_and(|deadline| deadline <= now) {
                is_closing = true;
                cut_at = Some(now + options.linger_timeout);
                connection.as_mut().graceful_shutdown();
            }
            // No deadline that is set from now on comes before this.
            let next = now + options.head_timeout.min(options.idle_timeout);
            let next =
                [cut_at, deadline.filter(|deadline| *deadline > now)].into_iter().flatten().fold(next, Instant::min);
            timer.as_mut().reset(next.into());
        }
    })
    .await;
}
