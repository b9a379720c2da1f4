//! A link, on the server's side.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::time::Instant;

use axum::body::Bytes;
use bytes::BytesMut;
use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::FuturesUnordered;
use hongbao_core::limits::{LINK_BYTES_MAX, LINK_REQUESTS_MAX};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::answer::encode_answer;
use super::frame::{self, FrameError, Number, ToServer, encode_small, kind};
use super::serve_one::{Whole, serve_one};
use super::upgrade::LinkDoor;
use crate::options::ServeOptions;
use crate::outer::Outer;
use crate::request_id::RequestIds;

/// Why a link broke.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a request has the number of one that is not answered")]
    Number,
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
    mut stream: TcpStream,
    received: Bytes,
    outer: &Outer,
    ids: &RequestIds,
    door: &LinkDoor,
    options: &ServeOptions,
    quit: Option<oneshot::Receiver<()>>,
) {
    let metrics = door.metrics.links();
    metrics.opened();
    let mut link = Link { received: BytesMut::from(received), ..Link::default() };
    let result = link.serve(&mut stream, outer, ids, door, options, quit).await;
    metrics.ended();
    if let Err(reason) = result {
        metrics.broken();
        if let Some(suppressed) = door.log.take() {
            tracing::warn!(%reason, unanswered = link.held.iter().flatten().count(), suppressed, "a link broke");
        }
    }
}

/// What stands between reading and writing.
struct Link {
    /// Bytes that are not yet a frame that was taken.
    received: BytesMut,
    /// Frames to be sent.
    out: Vec<u8>,
    /// How many they are.
    out_frames: u64,
    /// By place: the requests that are not answered.
    held: [Option<Held>; LINK_REQUESTS_MAX],
    /// Bytes of these.
    held_bytes: usize,
}

/// A request that is not answered.
struct Held {
    number: Number,
    bytes: usize,
    abort: AbortHandle,
}

impl Default for Link {
    fn default() -> Link {
        let (received, out) = (BytesMut::new(), Vec::new());
        Link { received, out, out_frames: 0, held: [const { None }; LINK_REQUESTS_MAX], held_bytes: 0 }
    }
}

impl Link {
    async fn serve(
        &mut self,
        stream: &mut TcpStream,
        outer: &Outer,
        ids: &RequestIds,
        door: &LinkDoor,
        options: &ServeOptions,
        mut quit: Option<oneshot::Receiver<()>>,
    ) -> Result<(), Broken> {
        let metrics = door.metrics.links();
        let (mut reader, mut writer) = stream.split();
        let mut under_way = FuturesUnordered::new();
        let mut look = pin!(sleep_until((Instant::now() + options.head_timeout).into()));
        let (mut read_at, mut wrote_at) = (Instant::now(), Instant::now());
        // Since when a frame is there in part.
        let mut partial_since: Option<Instant> = None;
        let (mut is_closed, mut is_gathered) = (false, false);
        if quit.is_none() {
            self.send(|out| encode_small(kind::LEAVING, None, out));
        }
        loop {
            let mut taken = 0;
            while self.held_bytes < LINK_BYTES_MAX
                && let Some(frame) = frame::take(&mut self.received)?
            {
                taken += 1;
                let bytes = frame.len();
                match ToServer::decode(frame)? {
                    ToServer::Request(number, request) => {
                        let registration = self.hold(number, bytes)?;
                        let work = AssertUnwindSafe(serve_one(outer, ids, read_at, request)).catch_unwind();
                        let work = Abortable::new(work, registration);
                        under_way.push(async move { (number, work.await) });
                    }
                    ToServer::Cancel(number) => self.cancel(number),
                }
            }
            if taken > 0 {
                metrics.received(taken);
            }
            if self.received.is_empty() || self.held_bytes >= LINK_BYTES_MAX {
                partial_since = None;
            } else if taken > 0 || partial_since.is_none() {
                partial_since = Some(read_at);
            }
            if is_closed && under_way.is_empty() && self.out.is_empty() {
                return if self.received.is_empty() { Ok(()) } else { Err(Broken::Truncated) };
            }
            let may_read = !is_closed && self.held_bytes < LINK_BYTES_MAX;
            tokio::select! {
                biased;
                () = fired(&mut quit), if quit.is_some() => {
                    quit = None;
                    self.send(|out| encode_small(kind::LEAVING, None, out));
                }
                Some((number, work)) = under_way.next(), if !under_way.is_empty() => self.answer(number, work),
                // What else becomes ready in this turn of the runtime goes out in the same write.
                () = yield_now(), if !self.out.is_empty() && !is_gathered => {
                    is_gathered = true;
                    wrote_at = Instant::now();
                    metrics.sent(std::mem::take(&mut self.out_frames));
                }
                written = writer.write(&self.out), if is_gathered => {
                    self.out.drain(..written?);
                    is_gathered = !self.out.is_empty();
                    wrote_at = Instant::now();
                }
                read = reader.read_buf(&mut self.received), if may_read => {
                    is_closed = read? == 0;
                    read_at = Instant::now();
                }
                () = look.as_mut() => {
                    let now = Instant::now();
                    if partial_since.is_some_and(|since| now - since >= options.head_timeout) {
                        return Err(Broken::SlowFrame);
                    }
                    let is_idle = |since| now - since >= options.idle_timeout;
                    if is_gathered && is_idle(wrote_at) {
                        return Err(Broken::SlowReader);
                    }
                    if under_way.is_empty() && self.out.is_empty() && is_idle(read_at) {
                        return Ok(());
                    }
                    look.as_mut().reset((now + options.head_timeout).into());
                }
            }
        }
    }

    fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.out);
        self.out_frames += 1;
    }

    fn hold(&mut self, number: Number, bytes: usize) -> Result<futures_util::future::AbortRegistration, Broken> {
        let place = &mut self.held[number.place()];
        if place.is_some() {
            return Err(Broken::Number);
        }
        let (abort, registration) = AbortHandle::new_pair();
        *place = Some(Held { number, bytes, abort });
        self.held_bytes += bytes;
        Ok(registration)
    }

    /// Ends a request; one that was answered meanwhile needs nothing.
    fn cancel(&self, number: Number) {
        if let Some(held) = &self.held[number.place()]
            && held.number == number
        {
            held.abort.abort();
        }
    }

    fn answer(&mut self, number: Number, work: Result<std::thread::Result<Option<Whole>>, Aborted>) {
        if let Some(held) = self.held[number.place()].take() {
            self.held_bytes -= held.bytes;
        }
        self.out_frames += 1;
        if let Ok(Ok(Some(Whole { head, body }))) = work
            && encode_answer(number, &head, &body, &mut self.out)
        {
            return;
        }
        encode_small(kind::LOST, Some(number), &mut self.out);
    }
}

/// Resolves with `quit`; a sender that was dropped says the same as a signal.
async fn fired(quit: &mut Option<oneshot::Receiver<()>>) {
    if let Some(quit) = quit {
        let _ = Pin::new(quit).await;
    }
}
