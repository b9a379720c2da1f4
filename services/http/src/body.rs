//! A request body that must arrive in time and be small.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hongbao_core::limits::BODY_BYTES_MAX;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use crate::problem::{Code, Problem, bounded};

/// The whole body. Over [`BODY_BYTES_MAX`] bytes: 413, with or without a
/// content length. Too slow for the server that it came through: 408.
pub async fn read_body(mut body: Body) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(unreadable)?.into_data() else { continue };
        if first.len() + all.len() + data.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        // Nearly every body comes in one piece, which need not be copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

pub(crate) fn too_large() -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body is over {BODY_BYTES_MAX} bytes"))
}

fn unreadable(error: axum::Error) -> Problem {
    let error = error.into_inner();
    match error.downcast_ref::<TooSlow>() {
        Some(TooSlow(timeout)) => {
            Problem::new(Code::RequestTimeout, format!("the body did not arrive within {} ms", timeout.as_millis()))
        }
        None => Problem::new(Code::InvalidRequest, format!("the body did not arrive: {}", bounded(&error))),
    }
}

/// The client took too long.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive within {0:?}")]
struct TooSlow(Duration);

/// A body that fails when it has not arrived whole within a time.
///
/// A timer is a lock that all requests share, so it is armed only when the body
/// is waited for twice: hyper hands over even a body that is already there only
/// at the second look.
pub(crate) struct Timely<B> {
    body: B,
    timeout: Duration,
    looked: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<B> Timely<B> {
    pub(crate) fn new(body: B, timeout: Duration) -> Timely<B> {
        Timely { body, timeout, looked: false, sleep: None }
    }
}

impl<B> HttpBody for Timely<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if !this.looked {
            this.looked = true;
            // Makes sure that there is a second look.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.timeout)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Some(Err(TooSlow(this.timeout).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
