//! What each SET holds, and when, by a topology file; and which files may follow each other.

use super::{SetEntry, TopologyFile};
use crate::held::{BEGINNING, HeldSlots, HeldSpan, NEVER};
use crate::id::{Fold, SLOTS, Slot};
use crate::limits::MAP_AHEAD_MS_MIN;
use crate::time::Timestamp;

impl TopologyFile {
    /// The number of the map in force for ids of this time: 0 for the SETs' own slots.
    pub fn map_number_at(&self, time: Timestamp) -> usize {
        self.maps.iter().filter(|map| map.from <= time).count()
    }

    /// The slots of a SET in the map of this number.
    pub fn slots_in<'a>(&'a self, map: usize, set: &'a SetEntry) -> &'a [Slot] {
        match map.checked_sub(1) {
            None => set.slots.slots(),
            Some(later) => self.maps[later].of(&set.name).map_or(&[], |entry| entry.slots.slots()),
        }
    }

    /// What a SET holds, map by map. `fold` is that of the installation, for SETs of which the file says nothing else.
    ///
    /// # Errors
    /// When a number of databases does not divide the number of slots.
    pub fn held_by(&self, set: &SetEntry, fold: Fold) -> Result<HeldSlots, String> {
        let folded = |databases: Option<u8>, fold: Fold| match databases {
            None => Ok(fold),
            Some(databases) => Fold::new(databases, fold.tables())
                .ok_or_else(|| format!("SET {:?}: databases = {databases} does not divide {SLOTS}", set.name)),
        };
        let mut fold = folded(set.databases, fold)?;
        let first = HeldSpan { from: BEGINNING, until: NEVER, slots: set.slots.slots().to_vec(), fold };
        let mut spans = vec![first];
        for (number, map) in self.maps.iter().enumerate() {
            fold = folded(map.of(&set.name).and_then(|entry| entry.databases), fold)?;
            if let Some(before) = spans.last_mut() {
                before.until = map.from;
            }
            let slots = self.slots_in(number + 1, set).to_vec();
            spans.push(HeldSpan { from: map.from, until: NEVER, slots, fold });
        }
        Ok(HeldSlots::new(spans))
    }

    /// Whether this file may take the place of another one that is in force `now`: it changes nothing for ids
    /// that may have been minted. A new map that is near, or in force, is taken over only where `is_fenced`: where
    /// a server has refused an id that the file in force gives to it, so the fences have come to a later one.
    ///
    /// # Errors
    /// What it changes, for the operator.
    pub fn check_follows(&self, current: &TopologyFile, now: Timestamp, is_fenced: bool) -> Result<(), String> {
        for set in &current.sets {
            let Some(next) = self.sets.iter().find(|next| next.name == set.name) else {
                return Err(format!(
                    "SET {:?} is not in it: its envelopes lie there, so it stays, at weight 0",
                    set.name
                ));
            };
            if next.slots.slots() != set.slots.slots() || next.databases != set.databases {
                return Err(format!(
                    "it changes the slots of SET {:?} from the beginning; a [[maps]] entry changes those of ids to come",
                    set.name
                ));
            }
        }
        if let Some(new) = self.sets.iter().find(|new| !new.slots.slots().is_empty() && !current.has(&new.name)) {
            return Err(format!("SET {:?} is new and holds slots from the beginning", new.name));
        }
        let settled = now.plus_millis(MAP_AHEAD_MS_MIN);
        let [was, is] = [current, self].map(|file| file.maps.iter().filter(|map| map.from < settled));
        let (mut was, mut is) = (was, is);
        loop {
            match (was.next(), is.next()) {
                (None, None) => return Ok(()),
                (None, Some(new)) if !is_fenced => {
                    return Err(format!(
                        "its map from {} is too near: a new one lies at least {} s ahead",
                        new.from,
                        MAP_AHEAD_MS_MIN / 1_000
                    ));
                }
                (Some(old), new) if new != Some(old) => {
                    return Err(format!("it changes the map from {}, which is in force or about to be", old.from));
                }
                _ => {}
            }
        }
    }

    fn has(&self, set: &str) -> bool {
        self.sets.iter().any(|known| known.name == set)
    }
}
