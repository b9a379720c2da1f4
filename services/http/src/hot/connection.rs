//! A connection as long as it brings nothing but the calls that are answered here.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use hongbao_core::limits::HOT_REQUEST_BYTES_MAX;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep_until, timeout};

use super::{HotCalls, request, response};
use crate::options::ServeOptions;
use crate::outer::Outer;
use crate::request_id::RequestIds;
use crate::stream::Stream;

/// Nearly all answers are shorter.
const HOT_ANSWER_BYTES_USUAL: usize = 512;

/// What happens next on a connection that waits.
enum Next {
    /// Bytes have come.
    Bytes,
    /// It is over: the client has gone, or was idle for too long, or the server stops.
    End,
}

/// Answers the calls that `calls` takes. Gives the bytes of the first other request, and of what follows
/// it, for hyper; `None` if the connection is over.
pub(crate) async fn drive(
    calls: &dyn HotCalls,
    stream: &mut Stream,
    outer: &Arc<Outer>,
    ids: &RequestIds,
    options: &ServeOptions,
    quit: &mut oneshot::Receiver<()>,
) -> Option<Vec<u8>> {
    let mut received = Vec::with_capacity(HOT_REQUEST_BYTES_MAX);
    let mut out = Vec::with_capacity(HOT_ANSWER_BYTES_USUAL);
    let mut deadline = Instant::now() + options.head_timeout;
    let mut timer = pin!(sleep_until(deadline.into()));
    // Requests that a client sends before it has its answer are unusual: they are answered after this one.
    let mut early = Vec::new();
    loop {
        // What came while the last one was answered is read already.
        if received.is_empty()
            && let Next::End = next(stream, &mut received, quit, timer.as_mut(), deadline).await
        {
            return None;
        }
        let started = Instant::now();
        let Some(request) = request::read(&received).filter(|request| calls.takes(request.call)) else {
            return Some(received);
        };
        let answered = {
            let mut answering = pin!(outer.answer_hot(ids, started, request, calls));
            let mut has_more = false;
            std::future::poll_fn(|context| {
                if let Poll::Ready(answered) = answering.as_mut().poll(context) {
                    return Poll::Ready(Some(answered));
                }
                if !has_more {
                    let read = pin!(stream.read_buf(&mut early)).poll(context);
                    match read {
                        Poll::Ready(Ok(1..)) => has_more = true,
                        Poll::Ready(_) => return Poll::Ready(None),
                        Poll::Pending => {}
                    }
                }
                Poll::Pending
            })
            .await
        };
        // The client has gone.
        let (answer, id, ended) = answered?;
        let is_last = !matches!(quit.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        let ends = response::write(&mut out, answer, &id, is_last).await.ok()?;
        received.clear();
        received.append(&mut early);
        let mut written = stream.write_now(&out);
        while written < out.len() {
            // A client that takes its answer slowly may, as long as it takes some.
            written +=
                timeout(options.idle_timeout, stream.write(&out[written..])).await.ok()?.ok().filter(|n| *n > 0)?;
        }
        stream.flush_within(options.idle_timeout).await.ok()?;
        // A look may have had many openings, and the connection may be idle for long.
        out.clear();
        out.shrink_to(HOT_REQUEST_BYTES_MAX);
        if ends {
            // The request was read whole, so that closing loses no answer to a client that waits for it.
            return None;
        }
        deadline = ended + options.idle_timeout;
    }
}

/// Waits for bytes of the next request.
async fn next(
    stream: &mut Stream,
    received: &mut Vec<u8>,
    quit: &mut oneshot::Receiver<()>,
    mut timer: Pin<&mut Sleep>,
    deadline: Instant,
) -> Next {
    std::future::poll_fn(|context| {
        match pin!(stream.read_buf(received)).poll(context) {
            Poll::Ready(Ok(1..)) => return Poll::Ready(Next::Bytes),
            Poll::Ready(_) => return Poll::Ready(Next::End),
            Poll::Pending => {}
        }
        // A dropped sender says the same as a signal.
        if Pin::new(&mut *quit).poll(context).is_ready() {
            return Poll::Ready(Next::End);
        }
        while timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(Next::End);
            }
            timer.as_mut().reset(deadline.into());
        }
        Poll::Pending
    })
    .await
}
