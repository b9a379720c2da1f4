//! The frames of a link that are not done with: received and not taken, unanswered, not sent.

use axum::body::Bytes;
use bytes::BytesMut;
use futures_util::future::{AbortHandle, AbortRegistration};
use hongbao_core::limits::{LINK_BYTES_MAX, LINK_REQUESTS_MAX};

use super::frame::{self, FrameError, LinkRequest, Number, ToServer, encode_small, kind};
use super::serve_one::Whole;

/// Why what came cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum WrongFrame {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a request has the number of one that is not answered")]
    Number,
}

/// A request that was taken, and by what its work notices that it is cancelled.
type Taken = (Number, LinkRequest<Bytes>, AbortRegistration);

/// The frames of one link.
pub(super) struct Frames {
    /// Bytes that came.
    pub(super) received: BytesMut,
    /// Bytes that have yet to go, and how many frames of them are not counted yet.
    pub(super) out: Vec<u8>,
    pub(super) out_frames: u64,
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

impl Frames {
    pub(super) fn new(received: Bytes) -> Frames {
        let held = [const { None }; LINK_REQUESTS_MAX];
        Frames { received: received.into(), out: Vec::new(), out_frames: 0, held, held_bytes: 0 }
    }

    /// Takes the next frame if it is there and there is room for it; `Some(None)`: it was one that needs no work.
    pub(super) fn take(&mut self) -> Result<Option<Option<Taken>>, WrongFrame> {
        if !self.has_room() {
            return Ok(None);
        }
        let Some(frame) = frame::take(&mut self.received)? else { return Ok(None) };
        let bytes = frame.len();
        match ToServer::decode(frame)? {
            ToServer::Request(number, request) => {
                let place = &mut self.held[number.place()];
                if place.is_some() {
                    return Err(WrongFrame::Number);
                }
                let (abort, registration) = AbortHandle::new_pair();
                *place = Some(Held { number, bytes, abort });
                self.held_bytes += bytes;
                Ok(Some(Some((number, request, registration))))
            }
            ToServer::Cancel(number) => {
                // One that was answered meanwhile needs nothing.
                if let Some(held) = self.held[number.place()].as_ref().filter(|held| held.number == number) {
                    held.abort.abort();
                }
                Ok(Some(None))
            }
        }
    }

    /// Whether one more request may be taken: what is unanswered and what is not sent is bounded.
    pub(super) fn has_room(&self) -> bool {
        self.held_bytes < LINK_BYTES_MAX && self.out.len() < LINK_BYTES_MAX
    }

    pub(super) fn unanswered(&self) -> usize {
        self.held.iter().flatten().count()
    }

    /// Answers a request; without an answer that fits, that there is none.
    pub(super) fn answer(&mut self, number: Number, answer: Option<Whole>) {
        if let Some(held) = self.held[number.place()].take() {
            self.held_bytes -= held.bytes;
        }
        self.out_frames += 1;
        let is_sent = answer.is_some_and(|answer| answer.encode(number, &mut self.out));
        if !is_sent {
            encode_small(kind::LOST, Some(number), &mut self.out);
        }
    }

    /// Says that the server goes away.
    pub(super) fn leave(&mut self) {
        self.out_frames += 1;
        encode_small(kind::LEAVING, None, &mut self.out);
    }
}
