//! Which envelopes are known to exist.

use std::collections::HashSet;

use hongbao_core::EnvelopeId;
use hongbao_core::limits::AUDIT_ENVELOPES_REMEMBERED_MAX;

/// Envelopes that exist: the latest [`AUDIT_ENVELOPES_REMEMBERED_MAX`] at least. Forgetting one costs a read.
#[derive(Default)]
pub struct Known {
    young: HashSet<EnvelopeId>,
    old: HashSet<EnvelopeId>,
}

impl Known {
    /// Whether an envelope is known to exist.
    pub fn contains(&self, id: EnvelopeId) -> bool {
        self.young.contains(&id) || self.old.contains(&id)
    }

    /// It exists.
    pub fn insert(&mut self, id: EnvelopeId) {
        if self.young.len() == AUDIT_ENVELOPES_REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id);
    }
}
