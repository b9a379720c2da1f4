//! The requests of one link: those that wait to be written, and those that wait for their answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::limits::{LINK_CANCEL_MS_MAX, LINK_REQUESTS_MAX, LINK_SILENT_MS_MAX};
use hongbao_http::link::frame::encode_cancel;
use hongbao_http::link::{LinkAnswer, LinkRequest, Number, ToGateway};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// How a request ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The server has answered it.
    Answered(LinkAnswer),
    /// No byte of it was written: another may be asked.
    NotSent,
    /// It was written, perhaps in part, and there is no answer.
    Broken(String),
}

/// One link. It is shared by the requests on it and by the task that reads and writes.
pub(super) struct Link {
    state: Mutex<State>,
    /// Wakes the task: there is something to write, or nothing more to wait for.
    pub(super) work: Notify,
}

struct State {
    standing: Standing,
    places: [Place; LINK_REQUESTS_MAX],
    /// The places that hold nothing.
    free: Vec<usize>,
    /// Places of cancelled requests.
    cancelled: usize,
    /// Frames that the task has not taken yet.
    queue: Vec<u8>,
    queue_frames: u64,
    /// Bytes that were ever put into the queue, and ever written.
    queued: u64,
    written: u64,
    /// Requests that were ever asked here.
    asked: u64,
}

/// Whether a link takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does.
    Open,
    /// Not any more: it ends when what it has is answered.
    Leaving,
    /// It has ended.
    Ended,
}

/// A request of [`LINK_REQUESTS_MAX`].
struct Place {
    uses: u32,
    holds: Holds,
}

enum Holds {
    Nothing,
    /// A request whose frame begins after so many bytes.
    Request(u64, oneshot::Sender<End>),
    /// One that is not waited for any more since then; the server has yet to confirm it.
    Cancelled(Instant),
}

/// What the task writes next.
pub(super) enum Next {
    /// These frames, so many.
    Write(u64),
    /// Nothing yet.
    Wait,
    /// Nothing ever.
    End,
}

impl Link {
    pub(super) fn new() -> Link {
        let places = [const { Place { uses: 0, holds: Holds::Nothing } }; LINK_REQUESTS_MAX];
        let state = State {
            standing: Standing::Open,
            places,
            free: (0..LINK_REQUESTS_MAX).rev().collect(),
            cancelled: 0,
            queue: Vec::new(),
            queue_frames: 0,
            queued: 0,
            written: 0,
            asked: 0,
        };
        Link { state: Mutex::new(state), work: Notify::new() }
    }

    /// Puts a request into the queue; `None` if there is no place for it, or it is too long for a frame.
    pub(super) fn ask(self: &Arc<Link>, request: &LinkRequest<&[u8]>) -> Option<Asked> {
        let mut state = self.state.lock();
        if state.standing != Standing::Open || state.is_silent() {
            return None;
        }
        let place = *state.free.last()?;
        let uses = state.places[place].uses.wrapping_add(1);
        let number = Number::new(place, uses);
        let before = state.queue.len();
        if !request.encode(number, &mut state.queue) {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        state.places[place] = Place { uses, holds: Holds::Request(state.queued, sender) };
        state.free.pop();
        state.asked += 1;
        state.has_queued(before);
        if before == 0 {
            self.work.notify_one();
        }
        Some(Asked { link: self.clone(), number, answer, has_ended: false })
    }

    /// Takes in a frame of the server; an error if it answers what was not asked.
    pub(super) fn deliver(&self, frame: ToGateway) -> Result<(), &'static str> {
        let mut state = self.state.lock();
        let (number, end) = match frame {
            ToGateway::Leaving => {
                self.leave(&mut state);
                return Ok(());
            }
            ToGateway::Answer(number, answer) => (number, End::Answered(answer)),
            ToGateway::Lost(number) => (number, End::Broken("the server has given it up".to_owned())),
        };
        let place = &mut state.places[number.place()];
        if Number::new(number.place(), place.uses) != number {
            return Err("an answer to nothing that was asked");
        }
        match std::mem::replace(&mut place.holds, Holds::Nothing) {
            Holds::Nothing => return Err("a second answer"),
            // Who asked may have gone in this moment.
            Holds::Request(_, sender) => drop(sender.send(end)),
            Holds::Cancelled(_) => state.cancelled -= 1,
        }
        state.free.push(number.place());
        if !state.is_used() && state.standing == Standing::Leaving {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Takes no more requests; what is under way is answered.
    pub(super) fn close(&self) {
        self.leave(&mut self.state.lock());
    }

    fn leave(&self, state: &mut State) {
        if state.standing == Standing::Open {
            state.standing = Standing::Leaving;
            self.work.notify_one();
        }
    }

    /// What is to be written, which takes the place of what is in `spare`.
    pub(super) fn next(&self, spare: &mut Vec<u8>) -> Next {
        let mut state = self.state.lock();
        if state.queue.is_empty() {
            return match state.standing {
                Standing::Leaving if !state.is_used() => Next::End,
                _ => Next::Wait,
            };
        }
        spare.clear();
        std::mem::swap(&mut state.queue, spare);
        Next::Write(std::mem::take(&mut state.queue_frames))
    }

    /// So many more bytes were written.
    pub(super) fn wrote(&self, bytes: usize) {
        self.state.lock().written += bytes as u64;
    }

    /// Ends the link, and all that is under way on it; gives how many outcomes are unknown by it.
    pub(super) fn end(&self, reason: &str) -> usize {
        let mut state = self.state.lock();
        state.standing = Standing::Ended;
        let written = state.written;
        let mut unknown = 0;
        for place in &mut state.places {
            if let Holds::Request(begin, sender) = std::mem::replace(&mut place.holds, Holds::Nothing) {
                let is_sent = begin < written;
                unknown += usize::from(is_sent);
                // Who asked may have gone in this moment.
                let _ = sender.send(if is_sent { End::Broken(reason.to_owned()) } else { End::NotSent });
            }
        }
        unknown
    }

    pub(super) fn standing(&self) -> Standing {
        self.state.lock().standing
    }

    /// How often something was asked here, and whether anything is under way.
    pub(super) fn usage(&self) -> (u64, bool) {
        let state = self.state.lock();
        (state.asked, state.is_used())
    }

    /// Whether the server has confirmed no cancel for so long that it must be gone.
    pub(super) fn is_dead(&self) -> bool {
        self.state.lock().waits_to_confirm() >= Duration::from_millis(LINK_SILENT_MS_MAX)
    }

    /// An answer is not waited for any more.
    fn cancel(&self, number: Number) {
        let mut state = self.state.lock();
        let place = &mut state.places[number.place()];
        let is_its_own = Number::new(number.place(), place.uses) == number;
        if !is_its_own || !matches!(place.holds, Holds::Request(..)) {
            return;
        }
        place.holds = Holds::Cancelled(Instant::now());
        state.cancelled += 1;
        let before = state.queue.len();
        encode_cancel(number, &mut state.queue);
        state.has_queued(before);
        if before == 0 {
            self.work.notify_one();
        }
    }
}

impl State {
    /// A frame was appended to a queue of so many bytes.
    fn has_queued(&mut self, before: usize) {
        self.queued += (self.queue.len() - before) as u64;
        self.queue_frames += 1;
    }

    /// Whether anything is under way, or cancelled and not confirmed.
    fn is_used(&self) -> bool {
        self.free.len() < LINK_REQUESTS_MAX
    }

    fn is_silent(&self) -> bool {
        self.waits_to_confirm() >= Duration::from_millis(LINK_CANCEL_MS_MAX)
    }

    /// For how long the server has not confirmed a cancel.
    fn waits_to_confirm(&self) -> Duration {
        if self.cancelled == 0 {
            return Duration::ZERO;
        }
        let since = self.places.iter().filter_map(|place| match place.holds {
            Holds::Cancelled(since) => Some(since),
            _ => None,
        });
        since.min().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// A request on a link. When it is dropped without its answer, the server is sent a cancel.
pub(crate) struct Asked {
    link: Arc<Link>,
    number: Number,
    answer: oneshot::Receiver<End>,
    has_ended: bool,
}

impl Asked {
    /// Waits for its end.
    pub(crate) async fn end(mut self) -> End {
        let end = (&mut self.answer).await;
        self.has_ended = true;
        end.unwrap_or_else(|_| End::Broken("the link has gone".to_owned()))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.has_ended {
            self.link.cancel(self.number);
        }
    }
}
