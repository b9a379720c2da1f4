//! How the requests ended that were forwarded to a server, for the rule of a canary.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hongbao_core::topology::Measured;

/// Each power of two of microseconds is divided into so many classes of equal width.
const PARTS: usize = 8;
const PARTS_BITS: u32 = PARTS.trailing_zeros();
/// From there on, 67 s, all is one class: no answer takes as long.
const TOP_BITS: u32 = 26;
const CLASSES: usize = (TOP_BITS - PARTS_BITS + 1) as usize * PARTS;

/// Counts since the start of the process. A request costs three additions and no lock.
#[derive(Debug)]
pub(crate) struct AnswerCounts {
    requests: AtomicU64,
    errors: AtomicU64,
    /// Answers by their time.
    by_time: [AtomicU64; CLASSES],
}

impl AnswerCounts {
    pub(crate) fn new() -> AnswerCounts {
        let none = || AtomicU64::new(0);
        AnswerCounts { requests: none(), errors: none(), by_time: std::array::from_fn(|_| none()) }
    }

    /// The head of an answer came after this time.
    pub(crate) fn answered(&self, is_error: bool, after: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(is_error), Ordering::Relaxed);
        self.by_time[class_of(after)].fetch_add(1, Ordering::Relaxed);
    }

    /// A request that was sent, and had no answer.
    pub(crate) fn unanswered(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn totals(&self) -> AnswerTotals {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        AnswerTotals {
            requests: read(&self.requests),
            errors: read(&self.errors),
            by_time: self.by_time.iter().map(read).collect(),
        }
    }
}

/// What was counted up to a moment, or between two.
#[derive(Clone, Debug)]
pub(crate) struct AnswerTotals {
    requests: u64,
    errors: u64,
    by_time: Vec<u64>,
}

impl AnswerTotals {
    /// Those of several servers together.
    pub(crate) fn sum(all: impl Iterator<Item = AnswerTotals>) -> AnswerTotals {
        let none = AnswerTotals { requests: 0, errors: 0, by_time: vec![0; CLASSES] };
        all.fold(none, |sum, one| AnswerTotals {
            requests: sum.requests + one.requests,
            errors: sum.errors + one.errors,
            by_time: sum.by_time.iter().zip(&one.by_time).map(|(a, b)| a + b).collect(),
        })
    }

    /// The p99 is rounded up, by an eighth at most.
    pub(crate) fn measured(&self) -> Measured {
        let answered: u64 = self.by_time.iter().sum();
        let rank = answered - answered / 100;
        let mut passed = 0;
        let class = self.by_time.iter().position(|count| {
            passed += count;
            answered > 0 && passed >= rank
        });
        Measured { requests: self.requests, errors: self.errors, p99: class.map(end_of) }
    }
}

impl Sub<&AnswerTotals> for &AnswerTotals {
    type Output = AnswerTotals;

    /// What came since `earlier`.
    fn sub(self, earlier: &AnswerTotals) -> AnswerTotals {
        AnswerTotals {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            by_time: self.by_time.iter().zip(&earlier.by_time).map(|(now, then)| now.saturating_sub(*then)).collect(),
        }
    }
}

fn class_of(time: Duration) -> usize {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).clamp(1, (1 << TOP_BITS) - 1);
    let bits = us.ilog2();
    match bits.checked_sub(PARTS_BITS) {
        Some(shift) => (shift as usize) * PARTS + (us >> shift) as usize,
        None => us as usize,
    }
}

/// The longest time of a class, to the microsecond.
fn end_of(class: usize) -> Duration {
    let us = match class < 2 * PARTS {
        true => class as u64,
        false => {
            let shift = class / PARTS - 1;
            ((class - shift * PARTS + 1) << shift) as u64 - 1
        }
    };
    Duration::from_micros(us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_a_class_that_ends_an_eighth_above_it_at_most() {
        for us in (1..3_000_u64).chain([65_535, 65_536, 999_999, 5_000_000, (1 << TOP_BITS) - 1]) {
            let end = end_of(class_of(Duration::from_micros(us))).as_micros() as u64;
            assert!(us <= end && end <= us + us / 8, "{us} {end}");
        }
        assert_eq!(class_of(Duration::ZERO), 1);
        assert_eq!(class_of(Duration::from_secs(3_600)), CLASSES - 1);
    }

    #[test]
    fn what_came_between_two_moments_is_measured_and_what_was_before_is_not() {
        let counts = AnswerCounts::new();
        counts.answered(true, Duration::from_secs(5));
        let before = counts.totals();
        let ms = |us| Duration::from_micros(us);
        for number in 0..200 {
            counts.answered(number % 50 == 0, ms(if number < 198 { 8 } else { 10_000 }));
        }
        counts.unanswered();
        let measured = (&counts.totals() - &before).measured();
        assert_eq!((measured.requests, measured.errors), (201, 5));
        assert_eq!(measured.p99, Some(ms(8)), "the 198th of 200");
        counts.answered(false, ms(10_000));
        let p99 = (&counts.totals() - &before).measured().p99.unwrap();
        assert!(p99 >= ms(10_000) && p99 <= ms(11_250), "the 199th of 201: {p99:?}");
        let both = AnswerTotals::sum([before.clone(), before].into_iter()).measured();
        assert_eq!((both.requests, both.errors), (2, 2));
        assert_eq!(AnswerCounts::new().totals().measured(), Measured::default());
    }
}
