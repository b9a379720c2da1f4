//! A server's answer on its way through.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Bytes;
use hongbao_core::limits::FORWARD_REST_MS_MAX;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::upstream::InFlight;

/// The body of an answer: what comes is passed on as it comes, until the time
/// is up. As long as it is not at its end, the request counts as being there.
pub(crate) struct DeadlineBody {
    body: Incoming,
    until: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    _in_flight: InFlight,
}

impl DeadlineBody {
    pub(crate) fn new(body: Incoming, head_came: Instant, in_flight: InFlight) -> DeadlineBody {
        DeadlineBody {
            body,
            until: head_came + Duration::from_millis(FORWARD_REST_MS_MAX),
            sleep: None,
            _in_flight: in_flight,
        }
    }
}

impl Body for DeadlineBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        // Nearly every answer is there as a whole with its head, and arms no timer.
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(this.until)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Some(Err("the rest of the answer did not come in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
