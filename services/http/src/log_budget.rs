//! How much may be logged when everything fails at once, or an attacker wants it to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lets through so many lines a second, and counts the rest.
pub struct LogBudget {
    started: Instant,
    per_s_max: u64,
    /// The second that `used` belongs to.
    second: AtomicU64,
    used: AtomicU64,
    suppressed: AtomicU64,
}

impl LogBudget {
    /// Lets through `per_s_max` lines a second.
    pub fn new(per_s_max: u64) -> LogBudget {
        LogBudget {
            started: Instant::now(),
            per_s_max,
            second: AtomicU64::new(0),
            used: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether one more line may be written; with how many were not since the last one.
    pub fn take(&self) -> Option<u64> {
        self.take_at(self.started.elapsed().as_secs())
    }

    fn take_at(&self, second: u64) -> Option<u64> {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.used.store(0, Ordering::Relaxed);
        }
        if self.used.fetch_add(1, Ordering::Relaxed) < self.per_s_max {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_budget_are_counted_and_told_in_the_next_second() {
        let budget = LogBudget::new(2);
        assert_eq!([7, 7, 7, 7].map(|second| budget.take_at(second)), [Some(0), Some(0), None, None]);
        assert_eq!([8, 8, 8].map(|second| budget.take_at(second)), [Some(2), Some(0), None]);
    }
}
