//! The queue of a lane. Each opening that is admitted has a place, and the places are
//! the order of the queue: a client compares the place in its answer with the order
//! of the journal (I4).
//!
//! The limit is what the lane answers within a short time at its present rate
//! ([`AdaptiveLimit`]); an opening beyond it is refused at once. What is admitted
//! keeps its order.
//!
//! An envelope may hold as many places as are left for all others. So a hot one
//! takes half of them at most, and its neighbours find room. They
//! find it also when the limit has just fallen below what that one holds: each
//! may hold its even part of the limit.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::admission::{AdaptiveLimit, AdmissionBounds};
use hongbao_core::limits::{LANE_ADMITS_AT_FIRST, LANE_ADMITS_MIN, LANE_WAIT_MS_GOAL};
use hongbao_core::{EnvelopeId, Timestamp, UserId};
use hongbao_trace::Span;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::answer::OpenAnswer;
use crate::live::LiveEnvelope;

/// An opening that waits for its turn.
pub struct OpenJob {
    /// The envelope, as it was live when the opening was accepted.
    pub live: Arc<LiveEnvelope>,
    /// Who opens.
    pub user: UserId,
    /// Whether it takes a share; else it only asks what there is to say of an envelope
    /// that has expired.
    pub opens: bool,
    /// When it was accepted, to measure the wait.
    pub accepted: Instant,
    /// Past this time it is dropped before the transaction.
    pub deadline: Timestamp,
    /// Where the answer goes. Its client may be gone; the opening happens all the same.
    pub answer: oneshot::Sender<OpenAnswer>,
    /// Its place in the lane, which the queue gives it; free again when the job is dropped.
    pub place: Option<Place>,
    /// The span of the request that it answers.
    pub request: Option<Arc<Span>>,
}

impl OpenJob {
    /// A job that is accepted now for the present request, and where its answer arrives.
    pub fn new(
        live: Arc<LiveEnvelope>,
        user: UserId,
        opens: bool,
        deadline: Timestamp,
    ) -> (OpenJob, oneshot::Receiver<OpenAnswer>) {
        let (answer, answered) = oneshot::channel();
        let (accepted, request) = (Instant::now(), hongbao_trace::current());
        (OpenJob { live, user, opens, accepted, deadline, answer, place: None, request }, answered)
    }
}

/// Where an opening stands in the order in which a lane accepted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which lane of which process since which start. Places of different lanes do not compare.
    lane: u64,
    /// The place, from 1.
    place: u64,
}

/// As it is told: the lane and the place, both hexadecimal, like `17c90a3f2b00-1a`.
impl fmt::Display for Accepted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:x}-{:x}", self.lane, self.place)
    }
}

/// A bounded queue into a lane.
pub struct LaneQueue {
    jobs: mpsc::Sender<OpenJob>,
    lane: u64,
    state: Arc<Mutex<QueueState>>,
}

/// Those that were let in and have no answer yet, waiting or in the batch under way.
struct QueueState {
    limit: AdaptiveLimit,
    by_envelope: HashMap<EnvelopeId, usize>,
    places: u64,
    places_max: usize,
}

impl QueueState {
    /// Whether one more opening of this envelope is let in; if not, that is noted.
    fn has_room(&mut self, id: EnvelopeId) -> bool {
        let held = self.by_envelope.get(&id).copied().unwrap_or_default();
        let envelopes = self.by_envelope.len() + 1;
        let is_within_its_part = (held + 1) * envelopes <= self.limit.limit();
        let has_room = (held < self.limit.free() || is_within_its_part) && self.limit.under_way() < self.places_max;
        if !has_room {
            self.limit.turned_away();
        }
        has_room
    }
}

/// The place of one opening in a lane. Dropped with its answer, it is free again.
pub struct Place {
    state: Arc<Mutex<QueueState>>,
    id: EnvelopeId,
    since: Instant,
}

impl Place {
    /// Its answer is there, and how long that took says how fast the lane is: not
    /// so where it failed at once because the database is gone.
    pub fn measure(&self) {
        let now = Instant::now();
        self.state.lock().limit.measure(now - self.since, now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.limit.leave();
        if let Some(held) = state.by_envelope.get_mut(&self.id) {
            *held -= 1;
            if *held == 0 {
                state.by_envelope.remove(&self.id);
            }
        }
    }
}

impl LaneQueue {
    /// The queue of the lane of a [writer](hongbao_store::Store::writer_of), and its other end. Never are more than
    /// `places_max` inside at once, however fast the lane is.
    pub fn new(writer: u8, places_max: usize, now: Timestamp) -> (LaneQueue, mpsc::Receiver<OpenJob>) {
        let (jobs, waiting) = mpsc::channel(places_max);
        // Two starts differ in the time, two processes of one host in the number. It
        // only has to be improbable that two are taken for one.
        let start = now.millis().unsigned_abs() << 20;
        let lane = (start ^ u64::from(std::process::id()) << 7) ^ u64::from(writer);
        let limit = AdaptiveLimit::new(AdmissionBounds {
            least: LANE_ADMITS_MIN,
            initial: LANE_ADMITS_AT_FIRST,
            most: places_max,
            goal: Duration::from_millis(LANE_WAIT_MS_GOAL),
        });
        let state = QueueState { limit, by_envelope: HashMap::new(), places: 0, places_max };
        (LaneQueue { jobs, lane, state: Arc::new(Mutex::new(state)) }, waiting)
    }

    /// Whether an opening of this envelope would be let in now.
    pub fn has_room(&self, id: EnvelopeId) -> bool {
        self.state.lock().has_room(id)
    }

    /// Lets a job in, unless it could not be answered in time.
    pub fn accept(&self, mut job: OpenJob) -> Option<Accepted> {
        let id = job.live.envelope.id;
        // Held over all of it, so that the places are the order of the queue.
        let mut state = self.state.lock();
        if !state.has_room(id) {
            return None;
        }
        // The channel is full only where the lane has ended.
        let sent = self.jobs.try_reserve().ok()?;
        state.limit.enter();
        *state.by_envelope.entry(id).or_default() += 1;
        state.places += 1;
        job.place = Some(Place { state: self.state.clone(), id, since: job.accepted });
        sent.send(job);
        Some(Accepted { lane: self.lane, place: state.places })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_as_two_numbers() {
        assert_eq!(Accepted { lane: 0x1f, place: 10 }.to_string(), "1f-a");
    }

    #[test]
    fn lanes_of_different_writers_and_starts_are_not_mixed_up() {
        let at = |writer, ms| LaneQueue::new(writer, 1, Timestamp::from_millis(ms)).0.lane;
        let lanes = [at(0, 1_800_000_000_000), at(1, 1_800_000_000_000), at(0, 1_800_000_000_001)];
        assert!(lanes[0] != lanes[1] && lanes[0] != lanes[2] && lanes[1] != lanes[2]);
    }
}
