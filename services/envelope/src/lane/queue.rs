//! The way into a lane. Whoever comes in is given a place, and the places are
//! the order of the queue: what a client is told by its opening's place can be
//! held against the order of the journal from outside (I4).
//!
//! So many are let in as the lane answers within a short time at the rate at which
//! it answers now ([`AdaptiveLimit`]); who comes beyond that is refused at once.
//! Nobody is passed over: those who are in stay in their order.
//!
//! An envelope may hold as many places as are left for all others. So one that
//! everybody opens takes half of them at most, and its neighbours find room. They
//! find it also when the limit has just fallen below what that one holds: each
//! may hold its part of the limit, as if all that are inside shared it alike.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::admission::{AdaptiveLimit, AdmissionBounds};
use hongbao_core::limits::{LANE_ADMITS_AT_FIRST, LANE_ADMITS_MIN, LANE_WAIT_MS_GOAL};
use hongbao_core::{EnvelopeId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::job::OpenJob;
use super::place::{Place, QueueState};

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

impl LaneQueue {
    /// The queue of the lane of a database, and its other end. Never are more than
    /// `places_max` inside at once, however fast the lane is.
    pub fn new(database: u8, places_max: usize, now: Timestamp) -> (LaneQueue, mpsc::Receiver<OpenJob>) {
        let (jobs, waiting) = mpsc::channel(places_max);
        // Two starts differ in the time, two processes of one host in the number. It
        // only has to be improbable that two are taken for one.
        let start = now.millis().unsigned_abs() << 20;
        let lane = (start ^ u64::from(std::process::id()) << 7) ^ u64::from(database);
        let limit = AdaptiveLimit::new(AdmissionBounds {
            least: LANE_ADMITS_MIN,
            initial: LANE_ADMITS_AT_FIRST,
            most: places_max,
            goal: Duration::from_millis(LANE_WAIT_MS_GOAL),
        });
        let state = QueueState::new(limit, places_max);
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
        let place = state.enter(id);
        job.place = Some(Place::new(self.state.clone(), id, job.accepted));
        sent.send(job);
        Some(Accepted { lane: self.lane, place })
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
    fn lanes_of_different_databases_and_starts_are_not_mixed_up() {
        let at = |database, ms| LaneQueue::new(database, 1, Timestamp::from_millis(ms)).0.lane;
        let lanes = [at(0, 1_800_000_000_000), at(1, 1_800_000_000_000), at(0, 1_800_000_000_001)];
        assert!(lanes[0] != lanes[1] && lanes[0] != lanes[2] && lanes[1] != lanes[2]);
    }
}
