//! The permits that this process holds: those in use, and those that are kept
//! for a while because the next batch will want them.
//!
//! Of an envelope that is opened now and then, the last permit is kept until it
//! expires, and renewed only if it was used again: giving it back and taking it
//! anew would cost more than all else that an opening asks of memcached. Where
//! the cap is so low that a kept permit could bar another process, it is given
//! back as soon as the others are.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hongbao_core::EnvelopeId;
use hongbao_core::limits::PERMITS_HELD_MAX;

/// A permit that was not used for so long is given back.
pub const KEPT_FOR: Duration = Duration::from_millis(500);

/// Once an envelope is full it is not asked about again for so long, unless a
/// permit of our own comes free.
const FULL_FOR: Duration = Duration::from_millis(5);

/// The permits of one envelope.
struct PermitState {
    /// Counted in memcached as ours.
    taken: u32,
    /// Counted in this process alone, while memcached was away.
    local: u32,
    /// In use; never more than the two together.
    inside: u32,
    /// The fewest that were not in use since `watched_since`.
    least_idle: u32,
    watched_since: Instant,
    written_at: Option<Instant>,
    /// Entered again since it was written.
    used_again: bool,
    full_since: Option<Instant>,
}

impl PermitState {
    fn new(now: Instant) -> PermitState {
        PermitState {
            taken: 0,
            local: 0,
            inside: 0,
            least_idle: 0,
            watched_since: now,
            written_at: None,
            used_again: false,
            full_since: None,
        }
    }

    fn written(&mut self, now: Instant) {
        self.written_at = Some(now);
        self.used_again = false;
    }

    fn idle(&self) -> u32 {
        self.taken + self.local - self.inside
    }
}

/// Whether an envelope can be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// With a permit that was kept.
    Entered,
    /// The cap is reached.
    Full,
    /// memcached must be asked for one more.
    Ask,
}

/// How long permits are kept.
pub struct RetentionPolicy {
    /// Those that were not used for so long are given back.
    pub kept_for: Duration,
    /// The last one of an envelope is not: if it is not used again, it expires.
    pub keeps_last: bool,
    /// What was not written for so long is written again.
    pub renew_after: Duration,
    /// What was not written for so long counts no more in memcached.
    pub expires_after: Duration,
    /// Envelopes at a time.
    pub writes_max: usize,
}

/// The permits of all envelopes.
#[derive(Default)]
pub struct PermitStates(HashMap<EnvelopeId, PermitState>);

impl PermitStates {
    /// Enters with a kept permit, if there is one.
    pub fn enter(&mut self, id: EnvelopeId, cap: u32, now: Instant) -> Admission {
        self.enter_among(id, cap, now, PERMITS_HELD_MAX)
    }

    /// The same, with room for `max` envelopes.
    fn enter_among(&mut self, id: EnvelopeId, cap: u32, now: Instant, max: usize) -> Admission {
        if !self.0.contains_key(&id) && cap > 0 && self.0.len() >= max {
            self.forget_idle();
        }
        let len = self.0.len();
        let Some(held) = self.0.get_mut(&id) else {
            return if cap == 0 || len >= max { Admission::Full } else { Admission::Ask };
        };
        if held.inside >= cap {
            return Admission::Full;
        }
        if held.idle() > 0 {
            held.inside += 1;
            held.used_again = true;
            held.least_idle = held.least_idle.min(held.idle());
            return Admission::Entered;
        }
        match held.full_since {
            Some(since) if now.saturating_duration_since(since) < FULL_FOR => Admission::Full,
            _ => Admission::Ask,
        }
    }

    /// Makes room at once: what is unused is no longer held, without a request to
    /// memcached, where it ends with its time to live.
    fn forget_idle(&mut self) {
        self.0.retain(|_, held| held.inside > 0);
    }

    /// memcached has counted one more for us: enters with it.
    pub fn granted(&mut self, id: EnvelopeId, now: Instant) {
        let held = self.0.entry(id).or_insert_with(|| PermitState::new(now));
        held.taken += 1;
        held.inside += 1;
        held.written(now);
        held.full_since = None;
    }

    /// memcached says that the cap is reached.
    pub fn refused(&mut self, id: EnvelopeId, now: Instant) {
        self.0.entry(id).or_insert_with(|| PermitState::new(now)).full_since = Some(now);
    }

    /// Enters by our own count; false if the cap is reached.
    pub fn enter_locally(&mut self, id: EnvelopeId, cap: u32, now: Instant) -> bool {
        let held = self.0.entry(id).or_insert_with(|| PermitState::new(now));
        let enters = held.inside < cap;
        if enters {
            held.local += 1;
            held.inside += 1;
        }
        enters
    }

    /// A transaction leaves; the permit is kept, unless it was only counted here.
    pub fn leave(&mut self, id: EnvelopeId) {
        let Some(held) = self.0.get_mut(&id) else { return };
        held.inside = held.inside.saturating_sub(1);
        held.local = held.local.saturating_sub(1);
    }

    /// What memcached should count as ours.
    pub fn taken(&self, id: EnvelopeId) -> u32 {
        self.0.get(&id).map_or(0, |held| held.taken)
    }

    /// Our part has been written.
    pub fn written(&mut self, id: EnvelopeId, now: Instant) {
        if let Some(held) = self.0.get_mut(&id) {
            held.written(now);
        }
    }

    /// memcached may have lost everything: every part is to be written again.
    pub fn write_all_again(&mut self) {
        for held in self.0.values_mut() {
            held.written_at = None;
        }
    }

    /// Stops holding what was idle all the time since the last look, and names
    /// the envelopes whose part is to be written: fewer permits, or the same
    /// ones, if they were not written for long.
    pub fn take_due(&mut self, now: Instant, terms: &RetentionPolicy) -> Vec<EnvelopeId> {
        let mut ids = Vec::new();
        self.0.retain(|id, held| {
            if ids.len() >= terms.writes_max {
                return true;
            }
            if now.saturating_duration_since(held.watched_since) >= terms.kept_for {
                let kept = if terms.keeps_last { held.taken.min(1) } else { 0 };
                let unused = held.least_idle.min(held.taken - kept);
                held.taken -= unused;
                held.watched_since = now;
                held.least_idle = held.idle();
                if unused > 0 {
                    ids.push(*id);
                }
                if held.taken == 0 && held.inside == 0 {
                    return false;
                }
            }
            let written = held.written_at.map(|at| now.saturating_duration_since(at));
            if held.taken > 0 && written.is_none_or(|ago| ago >= terms.renew_after) {
                let is_wanted = held.inside > 0 || held.used_again || !terms.keeps_last;
                if is_wanted && ids.last() != Some(id) {
                    ids.push(*id);
                }
                return is_wanted || written.is_some_and(|ago| ago < terms.expires_after);
            }
            true
        });
        ids
    }

    /// Envelopes with permits.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hongbao_core::Timestamp;

    const CAP: u32 = 2;
    const RENEW: Duration = Duration::from_secs(10);
    const EXPIRES: Duration = Duration::from_secs(19);
    const BRIEFLY: RetentionPolicy = RetentionPolicy {
        kept_for: KEPT_FOR,
        keeps_last: false,
        renew_after: RENEW,
        expires_after: EXPIRES,
        writes_max: 9,
    };
    const LONG: RetentionPolicy = RetentionPolicy { keeps_last: true, ..BRIEFLY };

    fn id() -> EnvelopeId {
        EnvelopeId::mint(Timestamp::from_millis(1), [7; 10])
    }

    #[test]
    fn a_permit_is_used_again_and_given_back_when_nobody_wants_it() {
        let (mut held, start) = (PermitStates::default(), Instant::now());
        assert_eq!(held.enter(id(), CAP, start), Admission::Ask);
        held.granted(id(), start);
        for step in 1..10 {
            let now = start + KEPT_FOR * step;
            held.leave(id());
            assert_eq!(held.enter(id(), CAP, now), Admission::Entered, "while it is used it is kept");
            assert!(held.take_due(now, &BRIEFLY).is_empty());
        }
        held.leave(id());
        let now = start + KEPT_FOR * 11;
        // The first look begins a time without use, the second ends it.
        assert!(held.take_due(now, &BRIEFLY).is_empty());
        assert_eq!(held.take_due(now + KEPT_FOR, &BRIEFLY), [id()]);
        assert_eq!((held.taken(id()), held.len()), (0, 0));
    }

    #[test]
    fn the_last_permit_is_kept_until_it_expires_unless_it_is_used_again() {
        let (mut held, start) = (PermitStates::default(), Instant::now());
        for _ in 0..2 {
            held.granted(id(), start);
        }
        for _ in 0..2 {
            held.leave(id());
        }
        held.take_due(start + KEPT_FOR, &LONG);
        assert_eq!(held.take_due(start + KEPT_FOR * 2, &LONG), [id()], "all but one are given back");
        let again = start + KEPT_FOR * 2;
        held.written(id(), again);
        assert!(held.take_due(again + RENEW / 2, &LONG).is_empty());
        assert_eq!((held.taken(id()), held.enter(id(), CAP, again + RENEW / 2)), (1, Admission::Entered));
        assert_eq!(held.take_due(again + RENEW, &LONG), [id()], "in use, it is renewed");
        held.written(id(), again + RENEW);
        assert_eq!(held.take_due(again + RENEW * 2, &LONG), [id()], "a transaction is inside");
        held.written(id(), again + RENEW * 2);
        held.leave(id());
        assert!(held.take_due(again + RENEW * 3, &LONG).is_empty());
        assert_eq!(held.taken(id()), 1, "it need not be renewed, and lasts");
        assert!(held.take_due(again + RENEW * 2 + EXPIRES, &LONG).is_empty());
        assert_eq!((held.taken(id()), held.len()), (0, 0), "without a word it expires");
    }

    #[test]
    fn of_many_permits_only_those_in_use_are_kept() {
        let (mut held, start) = (PermitStates::default(), Instant::now());
        for _ in 0..8 {
            held.granted(id(), start);
        }
        for _ in 0..8 {
            held.leave(id());
        }
        held.take_due(start + KEPT_FOR, &BRIEFLY);
        for _ in 0..20 {
            assert_eq!(held.enter(id(), 8, start), Admission::Entered);
            assert_eq!(held.enter(id(), 8, start), Admission::Entered);
            held.leave(id());
            held.leave(id());
        }
        held.take_due(start + KEPT_FOR * 2, &BRIEFLY);
        assert_eq!(held.taken(id()), 2);
    }

    #[test]
    fn what_was_counted_here_alone_is_not_kept() {
        let (mut held, now) = (PermitStates::default(), Instant::now());
        assert!(held.enter_locally(id(), CAP, now) && held.enter_locally(id(), CAP, now));
        assert!(!held.enter_locally(id(), CAP, now));
        held.leave(id());
        assert_eq!(held.enter(id(), CAP, now), Admission::Ask);
    }

    #[test]
    fn a_full_envelope_is_not_asked_about_at_once_and_a_lower_cap_holds_at_once() {
        let (mut held, now) = (PermitStates::default(), Instant::now());
        held.granted(id(), now);
        held.refused(id(), now);
        assert_eq!(held.enter(id(), CAP, now), Admission::Full);
        assert_eq!(held.enter(id(), CAP, now + FULL_FOR), Admission::Ask);
        held.leave(id());
        assert_eq!(held.enter(id(), CAP, now), Admission::Entered);
        held.leave(id());
        assert_eq!(held.enter(id(), 0, now), Admission::Full);
    }

    #[test]
    fn where_there_is_no_room_what_nobody_uses_makes_some() {
        let (mut held, now) = (PermitStates::default(), Instant::now());
        let ids: Vec<_> = (0..4).map(|number| EnvelopeId::mint(Timestamp::from_millis(1), [number; 10])).collect();
        for id in &ids[..3] {
            assert_eq!(held.enter_among(*id, CAP, now, 3), Admission::Ask);
            held.granted(*id, now);
        }
        assert_eq!(held.enter_among(ids[3], CAP, now, 3), Admission::Full, "all are in use");
        held.leave(ids[0]);
        held.leave(ids[1]);
        assert_eq!(held.enter_among(ids[3], CAP, now, 3), Admission::Ask);
        assert_eq!((held.len(), held.taken(ids[0]), held.taken(ids[2])), (1, 0, 1), "who is inside counts on");
    }

    #[test]
    fn what_is_held_long_is_written_again() {
        let (mut held, start) = (PermitStates::default(), Instant::now());
        held.granted(id(), start);
        assert!(held.take_due(start + RENEW / 2, &BRIEFLY).is_empty());
        assert_eq!(held.take_due(start + RENEW, &BRIEFLY), [id()]);
        held.written(id(), start + RENEW);
        assert!(held.take_due(start + RENEW, &BRIEFLY).is_empty());
        held.write_all_again();
        assert_eq!(held.take_due(start + RENEW, &BRIEFLY), [id()]);
    }
}
