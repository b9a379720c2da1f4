//! Envelopes whose snapshots wait to be written.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hongbao_core::EnvelopeId;
use hongbao_core::limits::SNAPSHOTS_WAITING_MAX;

use crate::live_envelope::LiveEnvelope;

/// One envelope that has changed since its last snapshot.
pub struct Changed {
    /// What is remembered of it.
    pub live: Arc<LiveEnvelope>,
    /// The epoch of its database when it changed.
    pub epoch: u64,
    /// Its snapshot takes the place of whatever is there.
    pub overwrites: bool,
}

/// A queue that holds each envelope once, however often it changes.
#[derive(Default)]
pub struct Waiting {
    order: VecDeque<EnvelopeId>,
    changed: HashMap<EnvelopeId, Changed>,
}

impl Waiting {
    /// Adds an envelope, in its old place if it waits already; false when there is no room.
    pub fn push(&mut self, changed: Changed) -> bool {
        let id = changed.live.envelope.id;
        if let Some(waits) = self.changed.get_mut(&id) {
            *waits = Changed { overwrites: changed.overwrites || waits.overwrites, ..changed };
            return true;
        }
        if self.order.len() >= SNAPSHOTS_WAITING_MAX {
            return false;
        }
        self.order.push_back(id);
        self.changed.insert(id, changed);
        true
    }

    /// Adds an envelope again, unless it has changed meanwhile; false when there is no room.
    pub fn put_back(&mut self, changed: Changed) -> bool {
        if let Some(waits) = self.changed.get_mut(&changed.live.envelope.id) {
            waits.overwrites |= changed.overwrites;
            return true;
        }
        self.push(changed)
    }

    /// Takes the one that waits longest.
    pub fn pop(&mut self) -> Option<Changed> {
        let id = self.order.pop_front()?;
        self.changed.remove(&id)
    }
}
