//! The way into a lane. Whoever comes in is given a place, and the places are
//! the order of the queue: what a client is told by its opening's place can be
//! held against the order of the journal from outside (I4).

use std::fmt;
use std::sync::Mutex;

use hongbao_core::Timestamp;
use tokio::sync::mpsc;

use super::OpenJob;

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
    places: Mutex<u64>,
}

impl LaneQueue {
    /// The queue of the lane of a database, and its other end. So many may wait.
    pub fn new(database: u8, waiting_max: usize, now: Timestamp) -> (LaneQueue, mpsc::Receiver<OpenJob>) {
        let (jobs, waiting) = mpsc::channel(waiting_max);
        // Two starts differ in the time, two processes of one host in the number. It
        // only has to be improbable that two are taken for one.
        let start = now.millis().unsigned_abs() << 20;
        let lane = (start ^ u64::from(std::process::id()) << 7) ^ u64::from(database);
        (LaneQueue { jobs, lane, places: Mutex::new(0) }, waiting)
    }

    /// Lets a job in, unless the queue is full.
    pub fn accept(&self, job: OpenJob) -> Option<Accepted> {
        // Held over both, so that the places are the order of the queue.
        let mut places = self.places.lock().expect("nobody panics with the lock");
        self.jobs.try_send(job).ok()?;
        *places += 1;
        Some(Accepted { lane: self.lane, place: *places })
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
