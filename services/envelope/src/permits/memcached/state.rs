//! The permits that this process holds: those in use, and those that are kept
//! for a while because the next transaction will want them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hongbao_core::EnvelopeId;
use hongbao_core::limits::{PERMIT_STANDING_CAP_MIN, PERMITS_HELD_MAX};

use super::standing::StandingPermit;

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
            full_since: None,
        }
    }

    fn idle(&self) -> u32 {
        self.taken + self.local - self.inside
    }
}

/// Whether an envelope can be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// With a permit that this process holds.
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
    /// What was not written for so long is written again.
    pub renew_after: Duration,
    /// Envelopes at a time.
    pub writes_max: usize,
}

/// The permits of all envelopes.
#[derive(Default)]
pub struct PermitStates {
    /// Those that memcached was asked for, and those that were counted here instead.
    asked: HashMap<EnvelopeId, PermitState>,
    /// The one of every envelope.
    pub standing: StandingPermit,
}

impl PermitStates {
    /// Enters with a permit that is held, if there is one.
    pub fn enter(&mut self, id: EnvelopeId, cap: u32, now: Instant) -> Admission {
        if cap >= PERMIT_STANDING_CAP_MIN && self.standing.enter(id, now) {
            return Admission::Entered;
        }
        self.enter_among(id, self.left_of(cap), now, PERMITS_HELD_MAX)
    }

    /// What is left of a cap for those who ask: a standing permit may be in use for any envelope.
    pub fn left_of(&self, cap: u32) -> u32 {
        cap.saturating_sub(self.standing.reserved())
    }

    /// The same, with room for `max` envelopes.
    fn enter_among(&mut self, id: EnvelopeId, cap: u32, now: Instant, max: usize) -> Admission {
        if !self.asked.contains_key(&id) && cap > 0 && self.asked.len() >= max {
            self.forget_idle();
        }
        let len = self.asked.len();
        let Some(held) = self.asked.get_mut(&id) else {
            return if cap == 0 || len >= max { Admission::Full } else { Admission::Ask };
        };
        if held.inside >= cap {
            return Admission::Full;
        }
        if held.idle() > 0 {
            held.inside += 1;
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
        self.asked.retain(|_, held| held.inside > 0);
    }

    /// memcached has counted one more for us: enters with it.
    pub fn granted(&mut self, id: EnvelopeId, now: Instant) {
        let held = self.asked.entry(id).or_insert_with(|| PermitState::new(now));
        held.taken += 1;
        held.inside += 1;
        held.written_at = Some(now);
        held.full_since = None;
    }

    /// memcached says that the cap is reached.
    pub fn refused(&mut self, id: EnvelopeId, now: Instant) {
        self.asked.entry(id).or_insert_with(|| PermitState::new(now)).full_since = Some(now);
    }

    /// Enters by our own count; false if the cap is reached.
    pub fn enter_locally(&mut self, id: EnvelopeId, cap: u32, now: Instant) -> bool {
        let cap = self.left_of(cap);
        let held = self.asked.entry(id).or_insert_with(|| PermitState::new(now));
        let enters = held.inside < cap;
        if enters {
            held.local += 1;
            held.inside += 1;
        }
        enters
    }

    /// A transaction leaves; the permit is kept, unless it was only counted here.
    pub fn leave(&mut self, id: EnvelopeId) {
        if self.standing.leave(id) {
            return;
        }
        let Some(held) = self.asked.get_mut(&id) else { return };
        held.inside = held.inside.saturating_sub(1);
        held.local = held.local.saturating_sub(1);
    }

    /// What memcached should count as ours.
    pub fn taken(&self, id: EnvelopeId) -> u32 {
        self.asked.get(&id).map_or(0, |held| held.taken)
    }

    /// Our part has been written.
    pub fn written(&mut self, id: EnvelopeId, now: Instant) {
        if let Some(held) = self.asked.get_mut(&id) {
            held.written_at = Some(now);
        }
    }

    /// memcached may have lost everything: every part is to be written again.
    pub fn write_all_again(&mut self) {
        for held in self.asked.values_mut() {
            held.written_at = None;
        }
    }

    /// Stops holding what was idle all the time since the last look, and names
    /// the envelopes whose part is to be written: fewer permits, or the same
    /// ones, if they were not written for long.
    pub fn take_due(&mut self, now: Instant, terms: &RetentionPolicy) -> Vec<EnvelopeId> {
        let mut ids = Vec::new();
        self.asked.retain(|id, held| {
            if ids.len() >= terms.writes_max {
                return true;
            }
            if now.saturating_duration_since(held.watched_since) >= terms.kept_for {
                let unused = held.least_idle.min(held.taken);
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
            let is_due = held.written_at.is_none_or(|at| now.saturating_duration_since(at) >= terms.renew_after);
            if held.taken > 0 && is_due && ids.last() != Some(id) {
                ids.push(*id);
            }
            true
        });
        ids
    }

    /// Envelopes of which permits were asked for.
    pub fn len(&self) -> usize {
        self.asked.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hongbao_core::Timestamp;

    const CAP: u32 = 2;
    const RENEW: Duration = Duration::from_secs(10);
    const POLICY: RetentionPolicy = RetentionPolicy { kept_for: KEPT_FOR, renew_after: RENEW, writes_max: 9 };

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
            assert!(held.take_due(now, &POLICY).is_empty());
        }
        held.leave(id());
        let now = start + KEPT_FOR * 11;
        // The first look begins a time without use, the second ends it.
        assert!(held.take_due(now, &POLICY).is_empty());
        assert_eq!(held.take_due(now + KEPT_FOR, &POLICY), [id()]);
        assert_eq!((held.taken(id()), held.len()), (0, 0));
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
        held.take_due(start + KEPT_FOR, &POLICY);
        for _ in 0..20 {
            assert_eq!(held.enter(id(), 8, start), Admission::Entered);
            assert_eq!(held.enter(id(), 8, start), Admission::Entered);
            held.leave(id());
            held.leave(id());
        }
        held.take_due(start + KEPT_FOR * 2, &POLICY);
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
        assert!(held.take_due(start + RENEW / 2, &POLICY).is_empty());
        assert_eq!(held.take_due(start + RENEW, &POLICY), [id()]);
        held.written(id(), start + RENEW);
        assert!(held.take_due(start + RENEW, &POLICY).is_empty());
        held.write_all_again();
        assert_eq!(held.take_due(start + RENEW, &POLICY), [id()]);
    }
}
