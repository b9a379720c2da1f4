//! The circuit breaker: a provider that does not answer is not asked for a while, and then by one request.

use std::time::{Duration, Instant};

use hongbao_core::limits::{PROVIDER_FAILURES_MAX, PROVIDER_OPEN_CIRCUIT};

/// What is known of whether the provider answers.
#[derive(Debug, Default)]
pub struct Circuit {
    /// In a row.
    failures: u32,
    /// Nothing is sent before.
    opens_until: Option<Instant>,
    /// One is under way that shows whether it answers again.
    is_on_trial: bool,
    /// The provider has asked to come later.
    comes_later: Option<Instant>,
}

/// Why a request is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The provider has not answered lately.
    NoAnswers,
    /// The provider has asked to wait for so long.
    Later(Duration),
}

impl Circuit {
    /// Lets a request through, or says why not.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&mut self, now: Instant) -> Result<(), Closed> {
        if let Some(later) = self.comes_later.filter(|later| *later > now) {
            return Err(Closed::Later(later - now));
        }
        match self.opens_until {
            Some(until) if now < until || self.is_on_trial => Err(Closed::NoAnswers),
            Some(_) => {
                self.is_on_trial = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The provider answered.
    pub fn answered(&mut self) {
        *self = Circuit { comes_later: self.comes_later, ..Circuit::default() };
    }

    /// The provider did not answer, or nothing that can be used.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= PROVIDER_FAILURES_MAX {
            self.opens_until = Some(now + PROVIDER_OPEN_CIRCUIT);
            self.is_on_trial = false;
        }
    }

    /// The provider asks to wait for so long.
    pub fn asked_to_wait(&mut self, now: Instant, time: Duration) {
        self.answered();
        self.comes_later = Some(now + time);
    }

    /// Whether requests are held back because none was answered.
    pub fn is_open(&self) -> bool {
        self.opens_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for _ in 0..PROVIDER_FAILURES_MAX {
            assert!(circuit.admit(now).is_ok() && !circuit.is_open());
            circuit.failed(now);
        }
        circuit
    }

    #[test]
    fn after_failures_in_a_row_nothing_is_sent_and_then_one_is_tried() {
        let now = Instant::now();
        let mut circuit = failed(now);
        let soon = now + PROVIDER_OPEN_CIRCUIT - Duration::from_millis(1);
        assert_eq!((circuit.is_open(), circuit.admit(soon)), (true, Err(Closed::NoAnswers)));
        let then = now + PROVIDER_OPEN_CIRCUIT;
        assert_eq!([circuit.admit(then), circuit.admit(then)], [Ok(()), Err(Closed::NoAnswers)]);
        circuit.failed(then);
        assert_eq!(circuit.admit(then), Err(Closed::NoAnswers), "the one that was tried failed");
        assert_eq!(circuit.admit(then + PROVIDER_OPEN_CIRCUIT), Ok(()));
        circuit.answered();
        assert_eq!((circuit.is_open(), circuit.admit(then), circuit.admit(then)), (false, Ok(()), Ok(())));
    }

    #[test]
    fn an_answer_in_between_begins_the_count_anew() {
        let now = Instant::now();
        let mut circuit = Circuit::default();
        for turn in 0..3 * PROVIDER_FAILURES_MAX {
            assert_eq!(circuit.admit(now), Ok(()));
            if turn % 2 == 0 { circuit.failed(now) } else { circuit.answered() }
        }
        assert!(!circuit.is_open());
    }

    #[test]
    fn who_is_asked_to_wait_waits() {
        let now = Instant::now();
        let mut circuit = Circuit::default();
        circuit.asked_to_wait(now, Duration::from_secs(2));
        assert_eq!(circuit.admit(now), Err(Closed::Later(Duration::from_secs(2))));
        assert_eq!(circuit.admit(now + Duration::from_secs(2)), Ok(()));
        assert!(!circuit.is_open(), "it answers");
    }
}
