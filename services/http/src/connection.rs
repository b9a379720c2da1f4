//! One connection: what is served on it, and for how long it may do what it is doing.
//!
//! Each connection has one timer that is looked at a few times a minute.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use axum::response::Response;
use futures_util::FutureExt as _;
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep_until, timeout};

use crate::hop::is_event_stream;
use crate::link::{Agreed, LinkDoor, serve_link};
use crate::options::ServeOptions;
use crate::outer::Outer;
use crate::request_id::RequestIds;
use crate::socket::{Phase, Socket, Watch};
use crate::stream::Stream;
use crate::tls::ServerTls;
use crate::{hot, http2};

/// What the requests of one connection share.
struct Connection {
    outer: Arc<Outer>,
    ids: Arc<RequestIds>,
    watch: Arc<Watch>,
    links: Arc<LinkDoor>,
    agreed: Agreed,
}

impl Connection {
    async fn answer(&self, mut request: http::Request<Incoming>) -> Response {
        if let Some(response) = self.links.answer(&mut request, &self.agreed) {
            return response;
        }
        let started = Instant::now();
        self.watch.enter_untimed(Phase::Handling);
        let has_body = !request.body().is_end_stream();
        let (mut response, ended) = self.outer.answer_as(&self.ids, started, request).await;
        // A handler that refuses has often not read the body.
        let refused = response.status().is_client_error() || response.status().is_server_error();
        self.watch.lingers(has_body && refused);
        if is_event_stream(response.headers()) {
            // It is the last answer of its connection, and has no end that could be waited for.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            self.watch.enter(Phase::Streaming, ended);
        } else {
            self.watch.enter(Phase::Idle, ended);
        }
        response
    }
}

/// Serves one connection until it ends, is too slow, or `quit` fires and it has
/// answered what it was asked.
pub(crate) async fn drive(
    http: http1::Builder,
    tcp: TcpStream,
    number: u64,
    outer: Arc<Outer>,
    links: Arc<LinkDoor>,
    options: Arc<ServeOptions>,
    mut quit: oneshot::Receiver<()>,
) {
    let mut stream = match &options.tls {
        None => Stream::Plain(tcp),
        Some(tls) => match shake_hands(tls, tcp, number, &options, &mut quit).await {
            Some((stream, false)) => stream,
            Some((stream, true)) => return http2::drive(stream, number, outer, options, quit).await,
            None => return,
        },
    };
    let ids = Arc::new(outer.ids_of_connection(number));
    let mut received = Vec::new();
    if let Some(calls) = outer.hot() {
        match hot::connection::drive(&**calls, &mut stream, &outer, &ids, &options, &mut quit).await {
            Some(bytes) => received = bytes,
            None => return stream.close(options.linger_timeout).await,
        }
    }
    let opened = Instant::now();
    let watch = Arc::new(Watch::new(opened));
    let socket = Socket::new(stream, received, watch.clone(), outer.clone(), ids.clone());
    let shared = Arc::new(Connection { outer, ids, watch: watch.clone(), links, agreed: Agreed::default() });
    let serving = shared.clone();
    let service = hyper::service::service_fn(move |request| {
        let shared = serving.clone();
        async move { Ok::<_, std::convert::Infallible>(shared.answer(request).await) }
    });
    let quitting = {
        let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service).with_upgrades());
        let mut quitting = false;
        let mut lingering = false;
        let mut timer = pin!(sleep_until((opened + options.head_timeout).into()));
        std::future::poll_fn(|context| {
            if let Poll::Ready(result) = connection.as_mut().poll(context) {
                return ended(number, result);
            }
            // A dropped sender says the same as a signal.
            if !quitting && quit.poll_unpin(context).is_ready() {
                quitting = true;
                if watch.phase() == Phase::Streaming {
                    // Its client goes on elsewhere from where it was.
                    return Poll::Ready(());
                }
                connection.as_mut().graceful_shutdown();
                if let Poll::Ready(result) = connection.as_mut().poll(context) {
                    return ended(number, result);
                }
            }
            if !lingering && watch.phase() == Phase::Closing {
                lingering = true;
                timer.as_mut().reset((Instant::now() + options.linger_timeout).into());
            }
            while timer.as_mut().poll(context).is_ready() {
                let now = Instant::now();
                // No phase that begins from now on can be over before this.
                let next = now + options.head_timeout;
                let next = match watch.deadline(&options) {
                    Some(deadline) if deadline <= now => {
                        tracing::debug!(connection = number, phase = ?watch.phase(), "cut: too slow");
                        return Poll::Ready(());
                    }
                    Some(deadline) => next.min(deadline),
                    None => next,
                };
                timer.as_mut().reset(next.into());
            }
            Poll::Pending
        })
        .await;
        // hyper's connection ends here: an upgrade that was agreed on and did not come about is known then.
        quitting
    };
    if let Some((socket, received, _inside)) = shared.agreed.connection::<Socket>().await {
        let quit = (!quitting).then_some(quit);
        serve_link(socket.into_stream(), received, &shared.outer, &shared.ids, &shared.links, &options, quit).await;
    }
}

/// Shakes hands, which has to come to an end in time, and before `quit` fires; whether HTTP/2 was agreed on.
async fn shake_hands(
    tls: &ServerTls,
    tcp: TcpStream,
    number: u64,
    options: &ServeOptions,
    quit: &mut oneshot::Receiver<()>,
) -> Option<(Stream, bool)> {
    let shaking = timeout(options.head_timeout, tls.accept(tcp));
    let shaken = tokio::select! {
        _ = quit => return None,
        shaken = shaking => shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    };
    if let Err(error) = &shaken {
        tracing::debug!(connection = number, %error, "the TLS handshake failed");
    }
    shaken.ok()
}

fn ended(number: u64, result: hyper::Result<()>) -> Poll<()> {
    if let Err(error) = result {
        tracing::debug!(connection = number, %error, "the connection failed");
    }
    Poll::Ready(())
}
