//! Whether this server has been asked all the time.
//!
//! A server that is stopped and goes on, or that could not be reached for a moment,
//! was thought dead, and another one has owned its envelopes meanwhile. It cannot
//! know which of them: what it remembers from before may lack openings, and the user of
//! such a one would get `ready` from a grab. A server that had no request for
//! [`SILENCE_MS_MAX`] therefore asks the database once for each envelope that it
//! remembers from before, when it is grabbed. A busy server never does, and an
//! idle one has the time.
//!
//! A silence that only a part of its callers keeps goes unnoticed here. Then the
//! journal's keys tell at the next opening, as always.

use std::sync::atomic::{AtomicI64, Ordering};

use hongbao_core::Timestamp;
use hongbao_core::limits::SILENCE_MS_MAX;

/// When this server was asked something.
pub struct Presence {
    asked_at: AtomicI64,
    /// What was complete before may be old.
    silent_until: AtomicI64,
}

impl Presence {
    /// From now on.
    pub fn new(now: Timestamp) -> Presence {
        Presence { asked_at: AtomicI64::new(now.millis()), silent_until: AtomicI64::new(i64::MIN) }
    }

    /// A request comes in.
    pub fn asked(&self, now: Timestamp) {
        let before = self.asked_at.load(Ordering::Relaxed);
        let silent_ms = now.millis() - before;
        // Written now and then only: all threads share it.
        if (0..SILENCE_MS_MAX / 4).contains(&silent_ms) {
            return;
        }
        if silent_ms >= SILENCE_MS_MAX {
            self.silent_until.fetch_max(now.millis(), Ordering::Relaxed);
        }
        self.asked_at.store(now.millis(), Ordering::Relaxed);
    }

    /// Whether another server may have added to what was complete at that time.
    pub fn may_have_missed(&self, complete_at: Timestamp) -> bool {
        complete_at.millis() < self.silent_until.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_from_before_a_silence_may_be_old() {
        let at = Timestamp::from_millis;
        let presence = Presence::new(at(0));
        for now in (0..10 * SILENCE_MS_MAX).step_by(SILENCE_MS_MAX as usize / 3) {
            presence.asked(at(now));
            assert!(!presence.may_have_missed(at(0)), "asked all the time");
        }
        let back = 20 * SILENCE_MS_MAX;
        presence.asked(at(back));
        assert!(presence.may_have_missed(at(0)) && presence.may_have_missed(at(back - 1)));
        assert!(!presence.may_have_missed(at(back)));
        // A clock that was set back makes nothing old, and does not last as a silence.
        presence.asked(at(0));
        presence.asked(at(1));
        assert!(!presence.may_have_missed(at(back)));
    }
}
