//! A link, on the server's side.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::time::Instant;

use axum::body::Bytes;
use futures_util::future::Abortable;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::frame::make_room;
use super::metrics::LinkMetrics;
use super::serve_one::serve_one;
use super::under_way::{Frames, WrongFrame};
use super::upgrade::LinkDoor;
use crate::options::ServeOptions;
use crate::outer::Outer;
use crate::request_id::RequestIds;
use crate::stream::Stream;

/// Why a link broke.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Frame(#[from] WrongFrame),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it ended within a frame")]
    Truncated,
    #[error("the rest of a frame did not come in time")]
    SlowFrame,
    #[error("the gateway took no answers")]
    SlowReader,
}

/// Serves a link until the gateway closes it, it is idle for too long, or it breaks. When
/// `quit` resolves, or at once without one, it tells the gateway that the server goes away.
pub(crate) async fn serve_link(
    mut stream: Stream,
    received: Bytes,
    outer: &Outer,
    ids: &RequestIds,
    door: &LinkDoor,
    options: &ServeOptions,
    quit: Option<oneshot::Receiver<()>>,
) {
    let metrics = door.metrics.links();
    metrics.opened();
    let mut link = Link::new(received);
    let result = match &mut stream {
        Stream::Plain(tcp) => link.serve(tcp.split(), outer, ids, metrics, options, quit).await,
        Stream::Tls(tls) => Box::pin(link.serve(tokio::io::split(tls), outer, ids, metrics, options, quit)).await,
    };
    metrics.ended();
    if result.is_ok() {
        stream.close(options.linger_timeout).await;
    }
    if let Err(reason) = result {
        metrics.broken();
        if let Some(suppressed) = door.log.take() {
            tracing::warn!(error = %reason, unanswered = link.frames.unanswered(), suppressed, "a link broke");
        }
    }
}

/// A link between two waits.
struct Link {
    frames: Frames,
    /// When bytes came last, and when some went last.
    read_at: Instant,
    wrote_at: Instant,
    /// Since when a frame is there in part.
    partial_since: Option<Instant>,
    /// The gateway knows that the server goes away.
    is_leaving: bool,
    /// The gateway sends no more.
    is_closed: bool,
}

impl Link {
    fn new(received: Bytes) -> Link {
        let (frames, now) = (Frames::new(received), Instant::now());
        Link { frames, read_at: now, wrote_at: now, partial_since: None, is_leaving: false, is_closed: false }
    }

    async fn serve(
        &mut self,
        (mut reader, mut writer): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
        outer: &Outer,
        ids: &RequestIds,
        metrics: &LinkMetrics,
        options: &ServeOptions,
        mut quit: Option<oneshot::Receiver<()>>,
    ) -> Result<(), Broken> {
        let mut under_way = FuturesUnordered::new();
        let mut look = pin!(sleep_until((self.read_at + options.head_timeout).into()));
        // What is ready has been gathered, and is being written; all of it is written, and TLS may have kept some.
        let (mut is_writing, mut is_flushing) = (false, false);
        if quit.is_none() {
            self.leave();
            look.as_mut().reset((self.read_at + options.linger_timeout).into());
        }
        loop {
            let mut taken = 0;
            while let Some(frame) = self.frames.take()? {
                taken += 1;
                let Some((number, request, registration)) = frame else { continue };
                let work = AssertUnwindSafe(serve_one(outer, ids, self.read_at, request)).catch_unwind();
                let work = Abortable::new(work, registration);
                under_way.push(async move { (number, work.await) });
            }
            if taken > 0 {
                metrics.received(taken);
            }
            self.note_partial(taken > 0);
            if self.is_closed && under_way.is_empty() && self.frames.out.is_empty() && !is_flushing {
                return if self.frames.received.is_empty() { Ok(()) } else { Err(Broken::Truncated) };
            }
            let may_read = !self.is_closed && self.frames.has_room();
            if may_read {
                make_room(&mut self.frames.received);
            }
            tokio::select! {
                biased;
                () = fired(&mut quit), if quit.is_some() => {
                    quit = None;
                    self.leave();
                    look.as_mut().reset((Instant::now() + options.linger_timeout).into());
                }
                Some((number, work)) = under_way.next(), if !under_way.is_empty() => {
                    // A panic was caught, and what was cancelled has no answer either.
                    self.frames.answer(number, work.ok().and_then(Result::ok).flatten());
                }
                // What else becomes ready in this turn of the runtime goes out in the same write.
                () = yield_now(), if !self.frames.out.is_empty() && !is_writing => {
                    is_writing = true;
                    self.wrote_at = Instant::now();
                    metrics.sent(std::mem::take(&mut self.frames.out_frames));
                }
                written = write_or_flush(&mut writer, &self.frames.out, is_writing), if is_writing || is_flushing => {
                    self.frames.out.drain(..written?);
                    let has_more = is_writing && !self.frames.out.is_empty();
                    (is_writing, is_flushing) = (has_more, is_writing && !has_more);
                    self.wrote_at = Instant::now();
                }
                read = reader.read_buf(&mut self.frames.received), if may_read => {
                    self.is_closed = match read {
                        // A process that ends closes its sockets, and has no time to say so within TLS.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && under_way.is_empty() => true,
                        read => read? == 0,
                    };
                    self.read_at = Instant::now();
                }
                () = look.as_mut() => {
                    let now = Instant::now();
                    if self.is_over(now, under_way.is_empty(), options)? {
                        return Ok(());
                    }
                    let next = if self.is_leaving { options.linger_timeout } else { options.head_timeout };
                    look.as_mut().reset((now + next).into());
                }
            }
        }
    }

    fn leave(&mut self) {
        self.is_leaving = true;
        self.frames.leave();
    }

    /// A frame that is there in part has its time from its first bytes on, and none while it waits for room.
    fn note_partial(&mut self, has_taken: bool) {
        if self.frames.received.is_empty() || !self.frames.has_room() {
            self.partial_since = None;
        } else if has_taken || self.partial_since.is_none() {
            self.partial_since = Some(self.read_at);
        }
    }

    /// Whether the link has been of no use for too long.
    fn is_over(&self, now: Instant, is_idle: bool, options: &ServeOptions) -> Result<bool, Broken> {
        if self.partial_since.is_some_and(|since| now - since >= options.head_timeout) {
            return Err(Broken::SlowFrame);
        }
        if !self.frames.out.is_empty() {
            return if now - self.wrote_at >= options.idle_timeout { Err(Broken::SlowReader) } else { Ok(false) };
        }
        // A gateway closes a link at once that the server leaves, unless it does not run.
        let idle_max = if self.is_leaving { options.linger_timeout } else { options.idle_timeout };
        Ok(is_idle && now - self.read_at.max(self.wrote_at) >= idle_max)
    }
}

/// Writes some of the bytes, and says how many, or sends what TLS has kept of those before.
async fn write_or_flush(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8], writes: bool) -> io::Result<usize> {
    match writes {
        true => writer.write(bytes).await,
        false => writer.flush().await.map(|()| 0),
    }
}

/// Resolves with `quit`; a sender that was dropped says the same as a signal.
async fn fired(quit: &mut Option<oneshot::Receiver<()>>) {
    if let Some(quit) = quit {
        let _ = Pin::new(quit).await;
    }
}
