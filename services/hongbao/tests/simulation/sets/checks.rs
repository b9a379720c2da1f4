//! What must hold after each step, and in the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_core::fence::{Accepted, State, Version, in_force};
use hongbao_core::held::HeldSlots;
use hongbao_core::{Clock, EnvelopeId};

use super::databases::SetDatabases;
use super::files::SETS;

/// Where envelopes lie, and where the maps in force place them.
pub struct Placed {
    /// The SET that each of the envelopes which there are was found in.
    found_in: BTreeMap<EnvelopeId, usize>,
    version: Option<Version>,
    /// By the number of the SET.
    held: Vec<HeldSlots>,
}

impl Placed {
    pub fn new() -> Placed {
        Placed { found_in: BTreeMap::new(), version: None, held: Vec::new() }
    }

    pub fn count(&self) -> usize {
        self.found_in.len()
    }

    pub fn by_sets(&self) -> [u64; SETS.len()] {
        let mut counts = [0; SETS.len()];
        self.found_in.values().for_each(|set| counts[*set] += 1);
        counts
    }

    pub fn set_of(&self, id: EnvelopeId) -> Option<usize> {
        self.found_in.get(&id).copied()
    }

    pub fn version(&self) -> &Version {
        self.version.as_ref().expect("the first file came into force at the beginning")
    }

    /// Looks in all SETs for an envelope that may have been made just now.
    pub async fn look_for(&mut self, id: EnvelopeId, sets: &[Arc<SetDatabases>]) {
        for (set, databases) in sets.iter().enumerate() {
            if databases.store.load(id).await.unwrap().is_some() {
                self.find(id, set);
            }
        }
    }

    fn find(&mut self, id: EnvelopeId, set: usize) {
        let other = self.found_in.insert(id, set).filter(|other| *other != set);
        assert_eq!(other, None, "placed: {id} lies in SET {set}, too");
        self.check_place(id, set);
    }

    fn check_place(&self, id: EnvelopeId, set: usize) {
        assert!(self.held[set].holds(id), "placed: {id} lies in SET {set}, and the map of its time does not say so");
    }

    /// Fences may have changed: no id is accepted twice, and the envelopes lie where the topology in force places them.
    pub fn check_fences(&mut self, sets: &[Arc<SetDatabases>], clock: &dyn Clock) {
        let read: Vec<Vec<State>> =
            sets.iter().map(|set| set.read(clock).into_iter().map(|(_, state)| state).collect()).collect();
        let version = in_force(read.iter().flatten()).cloned();
        if version != self.version {
            self.held = SETS.iter().map(|(name, _)| version.as_ref().unwrap().maps.held_by(name)).collect();
            self.version = version;
            self.found_in.iter().for_each(|(id, set)| self.check_place(*id, *set));
        }
        let mut rows: Vec<&Accepted> = read.iter().flatten().flat_map(|state| &state.rows).collect();
        rows.sort_unstable();
        for pair in rows.windows(2) {
            let meets = pair[0].slot == pair[1].slot && pair[1].from < pair[0].until;
            assert!(!meets, "accepted: two databases accept the same ids: {pair:?}");
        }
    }
}
