//! From an envelope to the SET that holds it, and to one server of that SET.

use crate::held::BEGINNING;
use crate::id::{EnvelopeId, SLOTS, Slot, stable_hash};
use crate::time::Timestamp;

/// Which SET holds which slots from when on, and which servers it has. Versioned by its
/// file; checked as a whole when it is made, so that a bad one is refused whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    sets: Vec<SetTopology>,
    /// In the order of their moments; the first is in force from the beginning.
    maps: Vec<SlotMap>,
}

/// One SET of a [`Topology`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetTopology {
    /// Unique among the SETs.
    pub name: String,
    /// Its servers' names, unique over all SETs.
    pub servers: Vec<String>,
}

/// Who holds which slot, for ids of a moment and later ones until the next map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMap {
    from: Timestamp,
    set_of_slot: [u8; SLOTS as usize],
}

impl SlotMap {
    /// The number of the SET that holds a slot.
    pub fn set_number_of(&self, slot: Slot) -> usize {
        usize::from(self.set_of_slot[usize::from(slot.number())])
    }
}

impl Topology {
    /// SETs, with the slots that each holds from the beginning. Checks that every slot is held exactly once, and
    /// every name is used once.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn new(sets: Vec<(SetTopology, Vec<Slot>)>) -> Result<Topology, String> {
        if sets.is_empty() || sets.len() > usize::from(SLOTS) {
            return Err(format!("a topology has 1 to {SLOTS} SETs, not {}", sets.len()));
        }
        let mut names = std::collections::HashSet::new();
        for (set, _) in &sets {
            if !names.insert(("SET", set.name.as_str())) {
                return Err(format!("SET {:?} is named twice", set.name));
            }
            if set.servers.is_empty() {
                return Err(format!("SET {:?} has no servers", set.name));
            }
            for server in &set.servers {
                if !names.insert(("server", server.as_str())) {
                    return Err(format!("server {server:?} is named twice"));
                }
            }
        }
        let (sets, slots): (Vec<_>, Vec<_>) = sets.into_iter().unzip();
        let set_of_slot = set_of_slot(&sets, slots.iter().map(Vec::as_slice).enumerate())?;
        Ok(Topology { sets, maps: vec![SlotMap { from: BEGINNING, set_of_slot }] })
    }

    /// The same with another map, in force from a moment after that of the last one.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn followed_by(mut self, from: Timestamp, held: &[(&str, &[Slot])]) -> Result<Topology, String> {
        let named = |reason: String| format!("map from {from}: {reason}");
        if self.maps.last().is_some_and(|last| from <= last.from) {
            return Err(named("it does not come after the map before it".to_owned()));
        }
        let mut of_sets = Vec::new();
        for (name, slots) in held {
            let number = self.sets.iter().position(|set| set.name == *name);
            let number = number.ok_or_else(|| named(format!("there is no SET {name:?}")))?;
            if of_sets.iter().any(|(other, _)| *other == number) {
                return Err(named(format!("SET {name:?} is in it twice")));
            }
            of_sets.push((number, *slots));
        }
        let set_of_slot = set_of_slot(&self.sets, of_sets.into_iter()).map_err(named)?;
        self.maps.push(SlotMap { from, set_of_slot });
        Ok(self)
    }

    /// The number of the map that is in force for ids of this time.
    pub fn map_number_at(&self, time: Timestamp) -> usize {
        self.maps.iter().rposition(|map| map.from <= time).unwrap_or(0)
    }

    /// The number of the SET that holds an envelope: by the map that was in force at its id's own time.
    pub fn set_number_of(&self, id: EnvelopeId) -> usize {
        self.maps[self.map_number_at(id.minted_at())].set_number_of(id.slot())
    }

    /// The SET that holds an envelope.
    pub fn set_of(&self, id: EnvelopeId) -> &SetTopology {
        &self.sets[self.set_number_of(id)]
    }
}

fn set_of_slot<'a>(
    sets: &[SetTopology],
    held: impl Iterator<Item = (usize, &'a [Slot])>,
) -> Result<[u8; SLOTS as usize], String> {
    const UNHELD: u8 = u8::MAX;
    let mut set_of_slot = [UNHELD; SLOTS as usize];
    for (number, slots) in held {
        for slot in slots {
            let holder = &mut set_of_slot[usize::from(slot.number())];
            if *holder != UNHELD {
                let (other, name) = (&sets[usize::from(*holder)].name, &sets[number].name);
                return Err(format!("slot {:02} is held by {other:?} and by {name:?}", slot.number()));
            }
            *holder = number as u8;
        }
    }
    match set_of_slot.iter().position(|holder| *holder == UNHELD) {
        Some(slot) => Err(format!("slot {slot:02} is held by no SET")),
        None => Ok(set_of_slot),
    }
}

/// The server that owns an envelope among those given: rendezvous hashing
/// (Thaler and Ravishankar, 1996). When a server leaves, only its own envelopes
/// move; when it comes back, they return. `None` if there are none.
pub fn owner<'a>(id: EnvelopeId, servers: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    servers.into_iter().max_by_key(|name| (score(id, name), *name))
}

fn score(id: EnvelopeId, server: &str) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&stable_hash(id.as_bytes()).to_be_bytes());
    bytes[8..].copy_from_slice(&stable_hash(server.as_bytes()).to_be_bytes());
    stable_hash(&bytes)
}
