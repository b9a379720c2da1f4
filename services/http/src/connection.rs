//! One connection: its socket, what it is doing, and for how long it may.
//!
//! hyper's own timer for heads is armed and disarmed with every request, behind
//! one lock for all of them, and cannot tell an idle connection from one that
//! sends its head by the byte. Here a request costs a few stores, and each
//! connection has one timer that is looked at a few times a minute.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use crate::options::ServeOptions;
use crate::outer::Outer;
use crate::problem::Code;
use crate::request_id::{RequestIds, X_REQUEST_ID};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between two requests, or sending the last answer.
    Idle = 0,
    /// Bytes have come. Nearly always they are a whole head, and the time is not worth a look.
    Received = 1,
    /// They were not a whole head: waiting for the rest.
    Head = 2,
    /// A handler is at work; it minds its own time.
    Handling = 3,
    /// The answer was sent; what still comes in is thrown away.
    Closing = 4,
}

/// The phase of a connection and since when, in one word. Only the connection's
/// own task touches it.
struct Watch {
    opened: Instant,
    /// Milliseconds from `opened` to the begin of the phase, times eight, plus the phase.
    word: AtomicU64,
    /// The last request was perhaps answered before it was read to its end.
    lingers: AtomicBool,
}

impl Watch {
    fn enter(&self, phase: Phase, now: Instant) {
        let millis = now.saturating_duration_since(self.opened).as_millis() as u64;
        self.word.store(millis << 3 | phase as u64, Ordering::Relaxed);
    }

    /// A phase that has no deadline.
    fn enter_untimed(&self, phase: Phase) {
        self.word.store(phase as u64, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.word.load(Ordering::Relaxed) & 7 {
            0 => Phase::Idle,
            1 => Phase::Received,
            2 => Phase::Head,
            3 => Phase::Handling,
            _ => Phase::Closing,
        }
    }

    /// When the phase has lasted too long; `None` if it may last.
    fn deadline(&self, options: &ServeOptions) -> Option<Instant> {
        let since = self.opened + Duration::from_millis(self.word.load(Ordering::Relaxed) >> 3);
        match self.phase() {
            Phase::Idle => Some(since + options.idle_timeout),
            Phase::Head => Some(since + options.head_timeout),
            Phase::Received | Phase::Handling => None,
            Phase::Closing => Some(since + options.linger_timeout),
        }
    }
}

/// A socket that tells the [`Watch`] what it sees.
///
/// hyper answers a head that it cannot read by itself, without a body, and offers no way to
/// say anything else. That answer is the last one of its connection and is written by itself;
/// the socket sends a problem document in its place.
struct Socket {
    stream: TcpStream,
    watch: Arc<Watch>,
    connection: Arc<Connection>,
    /// The last write found no room.
    write_blocked: bool,
    /// What has yet to be sent in the place of hyper's own answer.
    instead: Vec<u8>,
}

/// The code that says the same as an answer of hyper's own; `None` for an answer of ours.
/// An answer begins here, and ours all have a request id, which hyper knows nothing of.
fn code_of_own_answer(written: &[u8]) -> Option<Code> {
    let status = written.strip_prefix(b"HTTP/1.1 4")?;
    let code = match status.first_chunk()? {
        b"00 " => Code::BadRequest,
        b"14 " => Code::UriTooLong,
        b"31 " => Code::HeadTooLarge,
        _ => return None,
    };
    let is_whole = written.ends_with(b"\r\n\r\n");
    let has_id = written.windows(X_REQUEST_ID.as_str().len()).any(|window| window == X_REQUEST_ID.as_str().as_bytes());
    (is_whole && !has_id).then_some(code)
}

impl Socket {
    /// Takes an answer of hyper's own, whose bytes count as written; `None` for all others.
    fn replace(&mut self, written: &[u8]) -> Option<usize> {
        let code = code_of_own_answer(written)?;
        let Connection { outer, ids, watch } = &*self.connection;
        self.instead = outer.unreadable_head(ids, code).into_bytes();
        // What follows the head was not read.
        watch.lingers.store(true, Ordering::Relaxed);
        Some(written.len())
    }

    fn poll_send_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.instead))?;
            self.instead.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        // A client that takes its answer slowly is not idle as long as it takes some.
        let was_blocked = std::mem::replace(&mut self.write_blocked, result.is_pending());
        if was_blocked && result.is_ready() && self.watch.phase() == Phase::Idle {
            self.watch.enter(Phase::Idle, Instant::now());
        }
        result
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.phase() == Phase::Received {
            this.watch.enter(Phase::Head, Instant::now());
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buf))?;
        if buf.filled().len() > before && this.watch.phase() == Phase::Idle {
            this.watch.enter_untimed(Phase::Received);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(taken) = this.replace(buf) {
            return Poll::Ready(Ok(taken));
        }
        let result = Pin::new(&mut this.stream).poll_write(context, buf);
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // hyper hands over as many slices as it has places for, most of them empty.
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next())
            && let Some(taken) = this.replace(only)
        {
            return Poll::Ready(Ok(taken));
        }
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, bufs);
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send_instead(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    /// Closes the sending side. After an answer to a request that was perhaps
    /// not read to its end, what still comes is read and thrown away for a
    /// while: closing over unread bytes would reset the connection, and the
    /// client would lose the answer.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.phase() != Phase::Closing {
            ready!(this.poll_send_instead(context))?;
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.watch.lingers.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            this.watch.enter(Phase::Closing, Instant::now());
        }
        let mut waste = [0; 4_096];
        loop {
            let mut waste = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut this.stream).poll_read(context, &mut waste)) {
                Ok(()) if !waste.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// What the requests of one connection share.
struct Connection {
    outer: Arc<Outer>,
    ids: RequestIds,
    watch: Arc<Watch>,
}

impl Connection {
    async fn answer(&self, request: http::Request<Incoming>) -> Response {
        let started = Instant::now();
        self.watch.enter_untimed(Phase::Handling);
        let has_body = !request.body().is_end_stream();
        let (response, ended) = self.outer.answer_as(&self.ids, started, request).await;
        // A handler that refuses has often not read the body.
        let refused = response.status().is_client_error() || response.status().is_server_error();
        self.watch.lingers.store(has_body && refused, Ordering::Relaxed);
        self.watch.enter(Phase::Idle, ended);
        response
    }
}

/// Serves one connection until it ends, is too slow, or `quit` fires and it has
/// answered what it was asked.
pub(crate) async fn drive(
    http: http1::Builder,
    stream: TcpStream,
    number: u64,
    outer: Arc<Outer>,
    options: Arc<ServeOptions>,
    quit: oneshot::Receiver<()>,
) {
    let opened = Instant::now();
    let watch = Arc::new(Watch { opened, word: AtomicU64::new(Phase::Head as u64), lingers: false.into() });
    let ids = outer.ids_of_connection(number);
    let shared = Arc::new(Connection { outer, ids, watch: watch.clone() });
    let socket =
        Socket { stream, watch: watch.clone(), connection: shared.clone(), write_blocked: false, instead: Vec::new() };
    let service = hyper::service::service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, std::convert::Infallible>(shared.answer(request).await) }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    let mut quit = pin!(quit);
    let mut quitting = false;
    let mut lingering = false;
    let mut timer = pin!(sleep_until((opened + options.head_timeout).into()));
    std::future::poll_fn(|context| {
        if let Poll::Ready(result) = connection.as_mut().poll(context) {
            return ended(number, result);
        }
        // A dropped sender says the same as a signal.
        if !quitting && quit.as_mut().poll(context).is_ready() {
            quitting = true;
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
}

fn ended(number: u64, result: hyper::Result<()>) -> Poll<()> {
    if let Err(error) = result {
        tracing::debug!(connection = number, %error, "the connection failed");
    }
    Poll::Ready(())
}
