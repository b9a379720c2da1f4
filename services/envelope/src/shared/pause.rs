//! When the writer of snapshots tries again after Redis has refused them.
//!
//! A Redis that is full (`maxmemory` with `noeviction`), or a replica, answers
//! reads and refuses writes. It is not away, and nothing is gained by knocking
//! at it in every round: so writes rest, each time twice as long.

use std::time::{Duration, Instant};

use hongbao_core::limits::{SNAPSHOT_REFUSED_REST_MS_MAX, SNAPSHOT_REFUSED_REST_MS_MIN};

const REST_MIN: Duration = Duration::from_millis(SNAPSHOT_REFUSED_REST_MS_MIN);
const REST_MAX: Duration = Duration::from_millis(SNAPSHOT_REFUSED_REST_MS_MAX);
/// Refusals that follow each other within this time are one trouble, which is
/// reported once: a Redis at its limit takes a snapshot now and then, as others expire.
const ONE_TROUBLE: Duration = Duration::from_millis(2 * SNAPSHOT_REFUSED_REST_MS_MAX);

/// The rest between two tries.
#[derive(Default)]
pub struct Pause {
    last: Option<Refusal>,
    is_on: bool,
}

struct Refusal {
    at: Instant,
    rest: Duration,
}

impl Pause {
    /// Whether nothing should be written yet.
    pub fn rests(&self, now: Instant) -> bool {
        self.is_on && self.last.as_ref().is_some_and(|last| now.duration_since(last.at) < last.rest)
    }

    /// Redis has refused; whether that is worth a line in the log.
    pub fn refused(&mut self, now: Instant) -> bool {
        let before = self.last.take().filter(|last| now.duration_since(last.at) < ONE_TROUBLE);
        let rest = before.as_ref().map_or(REST_MIN, |last| (last.rest * 2).min(REST_MAX));
        self.last = Some(Refusal { at: now, rest });
        self.is_on = true;
        before.is_none()
    }

    /// Redis has taken snapshots; whether it had refused those before.
    pub fn accepted(&mut self) -> bool {
        std::mem::take(&mut self.is_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_doubles_the_rest_up_to_the_longest() {
        let (mut pause, mut now) = (Pause::default(), Instant::now());
        assert!(!pause.rests(now));
        let mut rest = REST_MIN;
        for _ in 0..10 {
            pause.refused(now);
            assert!(pause.rests(now + rest - Duration::from_millis(1)));
            assert!(!pause.rests(now + rest));
            now += rest;
            rest = (rest * 2).min(REST_MAX);
        }
        assert_eq!(rest, REST_MAX);
    }

    #[test]
    fn a_trouble_is_told_once_however_often_redis_takes_something_between() {
        let (mut pause, mut now) = (Pause::default(), Instant::now());
        assert!(pause.refused(now), "the first");
        for _ in 0..10 {
            now += REST_MAX;
            assert!(pause.accepted());
            assert!(!pause.accepted(), "once");
            assert!(!pause.rests(now), "what is taken is written on");
            assert!(!pause.refused(now));
        }
        assert!(pause.refused(now + ONE_TROUBLE), "a new one");
        assert!(!pause.rests(now + ONE_TROUBLE + REST_MIN), "with the shortest rest");
    }
}
