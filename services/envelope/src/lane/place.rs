//! The places of a lane: who is inside, and whether one more finds room.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use hongbao_core::EnvelopeId;
use hongbao_core::admission::AdaptiveLimit;
use parking_lot::Mutex;

/// Those that were let in and have no answer yet, waiting or in the batch under way.
pub(super) struct QueueState {
    limit: AdaptiveLimit,
    by_envelope: HashMap<EnvelopeId, usize>,
    places: u64,
    places_max: usize,
}

impl QueueState {
    pub(super) fn new(limit: AdaptiveLimit, places_max: usize) -> QueueState {
        QueueState { limit, by_envelope: HashMap::new(), places: 0, places_max }
    }

    /// Counts one that is let in; gives its place, from 1.
    pub(super) fn enter(&mut self, id: EnvelopeId) -> u64 {
        self.limit.enter();
        *self.by_envelope.entry(id).or_default() += 1;
        self.places += 1;
        self.places
    }

    /// Whether one more opening of this envelope is let in; if not, that is noted.
    pub(super) fn has_room(&mut self, id: EnvelopeId) -> bool {
        let held = self.by_envelope.get(&id).copied().unwrap_or_default();
        let envelopes = self.by_envelope.len() + 1;
        let is_within_its_part = (held + 1) * envelopes <= self.limit.limit();
        let has_room = (held < self.limit.free() || is_within_its_part) && self.limit.under_way() < self.places_max;
        if !has_room {
            self.limit.turned_away();
        }
        has_room
    }
}

/// The place of one opening in a lane. Dropped with its answer, it is free again.
pub struct Place {
    state: Arc<Mutex<QueueState>>,
    id: EnvelopeId,
    since: Instant,
}

impl Place {
    pub(super) fn new(state: Arc<Mutex<QueueState>>, id: EnvelopeId, since: Instant) -> Place {
        Place { state, id, since }
    }

    /// Its answer is there, and how long that took says how fast the lane is: not
    /// so where it failed at once because the database is gone.
    pub fn measure(&self) {
        let now = Instant::now();
        self.state.lock().limit.measure(now - self.since, now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.limit.leave();
        if let Some(held) = state.by_envelope.get_mut(&self.id) {
            *held -= 1;
            if *held == 0 {
                state.by_envelope.remove(&self.id);
            }
        }
    }
}
