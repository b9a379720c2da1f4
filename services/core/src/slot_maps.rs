//! The slot maps of a topology as the databases keep them: by the names of SETs, whatever the order and the spelling of
//! the file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::held::{BEGINNING, HeldSlots, HeldSpan, NEVER};
use crate::id::{Fold, Slot};
use crate::time::Timestamp;

/// All maps of a topology, in order; the first is in force from the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotMaps {
    /// The names of all SETs that have not left, also of those that hold nothing.
    pub sets: BTreeSet<String>,
    /// The names of those that have left. No SET comes back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left: BTreeSet<String>,
    /// The maps.
    pub maps: Vec<NamedMap>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedMap {
    /// From which time of ids on it is in force, in milliseconds.
    pub from_ms: i64,
    /// What each SET holds that holds something.
    pub held: BTreeMap<String, NamedHeld>,
}

/// What a SET holds in a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedHeld {
    /// The numbers of its slots.
    pub slots: BTreeSet<u8>,
    /// The databases of its fold.
    pub databases: u8,
}

impl SlotMaps {
    /// Those of SETs by their names, also of those that have `left`.
    pub fn new(sets: &BTreeMap<String, HeldSlots>, left: BTreeSet<String>) -> SlotMaps {
        let mut maps: BTreeMap<i64, BTreeMap<String, NamedHeld>> = BTreeMap::new();
        for (name, held) in sets {
            for span in held.spans() {
                let of_map = maps.entry(span.from.millis()).or_default();
                if !span.slots.is_empty() {
                    let slots = span.slots.iter().map(|slot| slot.number()).collect();
                    of_map.insert(name.clone(), NamedHeld { slots, databases: span.fold.databases() });
                }
            }
        }
        let maps = maps.into_iter().map(|(from_ms, held)| NamedMap { from_ms, held }).collect();
        let sets = sets.keys().filter(|name| !left.contains(*name)).cloned().collect();
        SlotMaps { sets, left, maps }
    }

    /// As they are stored.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("names and numbers have a text")
    }

    /// From what was stored; `None` unless it is maps in order, from the beginning on.
    pub fn parse(text: &str) -> Option<SlotMaps> {
        let maps: SlotMaps = serde_json::from_str(text).ok()?;
        let begins = maps.maps.first().is_some_and(|first| first.from_ms == BEGINNING.millis());
        (begins && maps.maps.windows(2).all(|pair| pair[0].from_ms < pair[1].from_ms)).then_some(maps)
    }

    /// From when on a SET holds what, as it stands here.
    pub fn held_in<'a>(&'a self, set: &'a str) -> Vec<(i64, &'a NamedHeld)> {
        self.maps.iter().filter_map(|map| Some((map.from_ms, map.held.get(set)?))).collect()
    }

    /// What a SET holds.
    pub fn held_by(&self, set: &str) -> HeldSlots {
        let mut fold = Fold::WHOLE;
        let mut spans: Vec<HeldSpan> = Vec::new();
        for map in &self.maps {
            let from = Timestamp::from_millis(map.from_ms);
            if let Some(before) = spans.last_mut() {
                before.until = from;
            }
            let held = map.held.get(set);
            fold = held.and_then(|held| Fold::new(held.databases, 1)).unwrap_or(fold);
            let slots = held.into_iter().flat_map(|held| held.slots.iter().filter_map(|number| Slot::new(*number)));
            spans.push(HeldSpan { from, until: NEVER, slots: slots.collect(), fold });
        }
        HeldSlots::new(spans)
    }

    /// Whether these maps may take the place of others, of which those before `settled` are for ids that may have been
    /// minted: they stay, and new ones come later. SETs stay, for their databases have to be asked.
    ///
    /// # Errors
    /// What they change, for the operator.
    pub fn check_follow(&self, others: &SlotMaps, settled: Timestamp) -> Result<(), String> {
        self.check_sets(others)?;
        let before = |maps: &'_ SlotMaps| {
            maps.maps.iter().filter(|map| map.from_ms < settled.millis()).cloned().collect::<Vec<_>>()
        };
        let (was, is) = (before(others), before(self));
        let at = |map: &NamedMap| Timestamp::from_millis(map.from_ms);
        for (number, old) in was.iter().enumerate() {
            if is.get(number) != Some(old) {
                return Err(match number {
                    0 => "it changes the slots from the beginning: a [[maps]] entry changes those of ids to come"
                        .to_owned(),
                    _ => format!("it changes the map from {}, which is in force or about to be", at(old)),
                });
            }
        }
        match is.get(was.len()) {
            None => Ok(()),
            Some(new) => {
                Err(format!("its map from {} is too near: now a new one can begin at {settled}, or later", at(new)))
            }
        }
    }

    /// The SETs of the others that have left by these.
    pub fn leaving<'a>(&'a self, others: &'a SlotMaps) -> impl Iterator<Item = &'a str> {
        others.sets.intersection(&self.left).map(String::as_str)
    }

    /// Whether all SETs of the others are among these, or among those that have left; and whether none comes back.
    ///
    /// # Errors
    /// Which one is not, or does.
    pub fn check_sets(&self, others: &SlotMaps) -> Result<(), String> {
        if let Some(back) = others.left.difference(&self.left).next() {
            return Err(format!("SET {back:?} has left and stays among [[left]]: its envelopes are in the archive"));
        }
        match others.sets.difference(&self.sets).find(|gone| !self.left.contains(*gone)) {
            None => Ok(()),
            Some(gone) => {
                Err(format!("SET {gone:?} is not in it: its databases hold envelopes or may, so it stays, at weight 0"))
            }
        }
    }
}
