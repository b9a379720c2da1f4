//! What a database's clock showed, and what that says of it later.

use std::ops::RangeInclusive;
use std::time::Instant;

use hongbao_core::Timestamp;

/// One answer to the question for the clock.
#[derive(Clone, Copy)]
pub struct ClockRead {
    /// What the clock showed, in whole milliseconds: at some moment between the two that follow.
    pub clock: Timestamp,
    /// When it was asked.
    pub asked: Instant,
    /// When the answer was there.
    pub answered: Instant,
}

impl ClockRead {
    /// Between which moments the clock is at `now`. An answer that came late widens it: the time that it took is no
    /// difference between two clocks.
    pub fn clock_at(&self, now: Instant) -> RangeInclusive<Timestamp> {
        let after = |moment: Instant| now.saturating_duration_since(moment).as_millis() as i64;
        // What the whole milliseconds lack of the clock and of the time since may make one more.
        self.clock.plus_millis(after(self.answered))..=self.clock.plus_millis(after(self.asked) + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clock_may_have_been_read_at_the_question_or_at_the_answer() {
        let asked = Instant::now();
        let answered = asked + Duration::from_millis(70);
        let read = ClockRead { clock: Timestamp::from_millis(1_000), asked, answered };
        let clock = |millis| Timestamp::from_millis(millis);
        assert_eq!(read.clock_at(answered), clock(1_000)..=clock(1_071));
        assert_eq!(read.clock_at(answered + Duration::from_micros(500_900)), clock(1_500)..=clock(1_571));
    }
}
