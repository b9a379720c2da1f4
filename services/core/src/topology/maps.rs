//! The dated slot maps of the topology file.

use serde::{Deserialize, Serialize};

use super::slots::SlotList;
use crate::id::Slot;
use crate::time::Timestamp;

/// Who holds which slots, for ids from a moment on. Before the first of them, the SETs' own `slots` say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapEntry {
    /// From which time of ids on it is in force, as RFC 3339.
    pub from: Timestamp,
    /// What each SET holds then; those that are not named hold nothing.
    pub sets: Vec<MapSet>,
}

/// One SET of a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapSet {
    /// Its name.
    pub name: String,
    /// The slots that it holds.
    pub slots: SlotList,
    /// Into how many databases its slots are folded, if that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<u8>,
}

impl MapEntry {
    pub(super) fn of(&self, set: &str) -> Option<&MapSet> {
        self.sets.iter().find(|entry| entry.name == set)
    }

    /// The slots of each SET, by its name.
    pub(super) fn held(&self) -> Vec<(&str, &[Slot])> {
        self.sets.iter().map(|set| (set.name.as_str(), set.slots.slots())).collect()
    }
}
