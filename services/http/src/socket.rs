//! The socket of a connection, and what the connection is doing.
//!
//! hyper's own timer for heads is armed and disarmed with every request, behind
//! one lock for all of them, and cannot tell an idle connection from one that
//! sends its head by the byte. Here a request costs a few stores.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::options::ServeOptions;
use crate::outer::Outer;
use crate::problem::Code;
use crate::request_id::{RequestIds, X_REQUEST_ID};
use crate::stream::Stream;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
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
    /// The answer goes on until its handler ends it; the client takes what comes.
    Streaming = 5,
}

/// The phase of a connection and since when, in one word. Only the connection's
/// own task touches it.
pub(crate) struct Watch {
    opened: Instant,
    /// Milliseconds from `opened` to the begin of the phase, times eight, plus the phase.
    word: AtomicU64,
    /// The last request was perhaps answered before it was read to its end.
    lingers: AtomicBool,
}

impl Watch {
    /// Of a connection that was opened at this moment: the first head has yet to come.
    pub(crate) fn new(opened: Instant) -> Watch {
        Watch { opened, word: AtomicU64::new(Phase::Head as u64), lingers: false.into() }
    }

    /// The last request was perhaps answered before it was read to its end.
    pub(crate) fn lingers(&self, lingers: bool) {
        self.lingers.store(lingers, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self, phase: Phase, now: Instant) {
        let millis = now.saturating_duration_since(self.opened).as_millis() as u64;
        self.word.store(millis << 3 | phase as u64, Ordering::Relaxed);
    }

    /// A phase that has no deadline.
    pub(crate) fn enter_untimed(&self, phase: Phase) {
        self.word.store(phase as u64, Ordering::Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.word.load(Ordering::Relaxed) & 7 {
            0 => Phase::Idle,
            1 => Phase::Received,
            2 => Phase::Head,
            3 => Phase::Handling,
            5 => Phase::Streaming,
            _ => Phase::Closing,
        }
    }

    /// When the phase has lasted too long; `None` if it may last.
    pub(crate) fn deadline(&self, options: &ServeOptions) -> Option<Instant> {
        let since = self.opened + Duration::from_millis(self.word.load(Ordering::Relaxed) >> 3);
        match self.phase() {
            Phase::Idle | Phase::Streaming => Some(since + options.idle_timeout),
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
pub(crate) struct Socket {
    stream: Stream,
    /// What was read before.
    received: Vec<u8>,
    watch: Arc<Watch>,
    outer: Arc<Outer>,
    ids: Arc<RequestIds>,
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
    /// What was `received` on the stream already is read first.
    pub(crate) fn new(
        stream: Stream,
        received: Vec<u8>,
        watch: Arc<Watch>,
        outer: Arc<Outer>,
        ids: Arc<RequestIds>,
    ) -> Socket {
        Socket { stream, received, watch, outer, ids, write_blocked: false, instead: Vec::new() }
    }

    /// The connection, when HTTP has ended on it.
    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Takes an answer of hyper's own, whose bytes count as written; `None` for all others.
    fn replace(&mut self, written: &[u8]) -> Option<usize> {
        let code = code_of_own_answer(written)?;
        self.instead = self.outer.unreadable_head(&self.ids, code).into_bytes();
        // What follows the head was not read.
        self.watch.lingers(true);
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
        // What a stream sends now and then shows that its client is there.
        if matches!(result, Poll::Ready(Ok(_))) && self.watch.phase() == Phase::Streaming {
            self.watch.enter(Phase::Streaming, Instant::now());
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
        if this.received.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buf))?;
        } else {
            let taken = this.received.len().min(buf.remaining());
            buf.put_slice(&this.received[..taken]);
            this.received.drain(..taken);
        }
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
