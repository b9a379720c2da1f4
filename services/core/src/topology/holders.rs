//! What each SET holds, and when, by a topology file; and which files may follow each other.

use std::collections::BTreeMap;

use super::{LeftEntry, SetEntry, TopologyFile};
use crate::held::{BEGINNING, HeldSlots, HeldSpan, NEVER};
use crate::id::{Fold, SLOTS, Slot};
use crate::limits::MAP_AHEAD_MS_MIN;
use crate::slot_maps::SlotMaps;
use crate::time::Timestamp;

impl TopologyFile {
    /// The number of the map in force for ids of this time: 0 for the SETs' own slots.
    pub fn map_number_at(&self, time: Timestamp) -> usize {
        self.maps.iter().filter(|map| map.from <= time).count()
    }

    /// The slots of a SET in the map of this number.
    pub fn slots_in<'a>(&'a self, map: usize, set: &'a SetEntry) -> &'a [Slot] {
        self.slots_named(map, &set.name, set.slots.slots())
    }

    /// Those of a SET that has left.
    pub(super) fn slots_of<'a>(&'a self, map: usize, left: &'a LeftEntry) -> &'a [Slot] {
        self.slots_named(map, &left.name, left.slots.slots())
    }

    fn slots_named<'a>(&'a self, map: usize, name: &str, at_first: &'a [Slot]) -> &'a [Slot] {
        match map.checked_sub(1) {
            None => at_first,
            Some(later) => self.maps[later].of(name).map_or(&[], |entry| entry.slots.slots()),
        }
    }

    /// What a SET holds, map by map. `fold` is that of the installation, for SETs of which the file says nothing else.
    ///
    /// # Errors
    /// When a number of databases does not divide the number of slots.
    pub fn held_by(&self, set: &SetEntry, fold: Fold) -> Result<HeldSlots, String> {
        self.held_named(&set.name, set.slots.slots(), set.databases, fold)
    }

    /// What a SET held that has left.
    ///
    /// # Errors
    /// As [`held_by`](TopologyFile::held_by).
    pub fn held_by_left(&self, left: &LeftEntry, fold: Fold) -> Result<HeldSlots, String> {
        self.held_named(&left.name, left.slots.slots(), left.databases, fold)
    }

    fn held_named(
        &self,
        name: &str,
        at_first: &[Slot],
        databases: Option<u8>,
        fold: Fold,
    ) -> Result<HeldSlots, String> {
        let folded = |databases: Option<u8>, fold: Fold| match databases {
            None => Ok(fold),
            Some(databases) => Fold::new(databases, fold.tables())
                .ok_or_else(|| format!("SET {name:?}: databases = {databases} does not divide {SLOTS}")),
        };
        let mut fold = folded(databases, fold)?;
        let first = HeldSpan { from: BEGINNING, until: NEVER, slots: at_first.to_vec(), fold };
        let mut spans = vec![first];
        for (number, map) in self.maps.iter().enumerate() {
            fold = folded(map.of(name).and_then(|entry| entry.databases), fold)?;
            if let Some(before) = spans.last_mut() {
                before.until = map.from;
            }
            let slots = self.slots_named(number + 1, name, at_first).to_vec();
            spans.push(HeldSpan { from: map.from, until: NEVER, slots, fold });
        }
        Ok(HeldSlots::new(spans))
    }

    /// Its maps by the names of SETs. `fold` is that of the installation.
    ///
    /// # Errors
    /// As [`held_by`](TopologyFile::held_by).
    pub fn slot_maps(&self, fold: Fold) -> Result<SlotMaps, String> {
        let mut held = BTreeMap::new();
        for set in &self.sets {
            held.insert(set.name.clone(), self.held_by(set, fold)?);
        }
        for left in &self.left {
            held.insert(left.name.clone(), self.held_by_left(left, fold)?);
        }
        let left = self.left.iter().map(|left| left.name.clone()).collect();
        Ok(SlotMaps::new(&held, left))
    }

    /// Whether this file may take the place of another one that is in force `now`: it changes nothing for ids
    /// that may have been minted. Where it `is_fenced`, only its SETs are looked at: an operator has asked for it, or a
    /// server has refused an id that the file in force gives to it; fences see to the rest.
    ///
    /// # Errors
    /// What it changes, for the operator.
    pub fn check_follows(&self, current: &TopologyFile, now: Timestamp, is_fenced: bool) -> Result<(), String> {
        let (next, current) = (self.slot_maps(Fold::WHOLE)?, current.slot_maps(Fold::WHOLE)?);
        match is_fenced {
            true => next.check_sets(&current),
            false => next.check_follow(&current, now.plus_millis(MAP_AHEAD_MS_MIN)),
        }
    }
}
