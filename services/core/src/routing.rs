//! From an envelope to the SET that holds it, and to one server of that SET.

use crate::held::BEGINNING;
use crate::id::{EnvelopeId, SLOTS, Slot, stable_hash};
use crate::limits::SETS_LEFT_MAX;
use crate::time::Timestamp;

/// Which SET holds which slots from when on, and which servers it has. Versioned by its
/// file; checked as a whole when it is made, so that a bad one is refused whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    sets: Vec<SetTopology>,
    /// The names of SETs that have left. Their numbers follow those of the others.
    left: Vec<String>,
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
        Topology::with_left(sets, Vec::new())
    }

    /// The same with SETs that have left, and the slots that each of them held from the beginning.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn with_left(sets: Vec<(SetTopology, Vec<Slot>)>, left: Vec<(String, Vec<Slot>)>) -> Result<Topology, String> {
        if sets.is_empty() || sets.len() > usize::from(SLOTS) {
            return Err(format!("a topology has 1 to {SLOTS} SETs, not {}", sets.len()));
        }
        if left.len() > SETS_LEFT_MAX {
            return Err(format!("at most {SETS_LEFT_MAX} SETs can have left, not {}", left.len()));
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
        for (name, _) in &left {
            if !names.insert(("SET", name.as_str())) {
                return Err(format!("SET {name:?} is named twice"));
            }
        }
        drop(names);
        let slots: Vec<Vec<Slot>> =
            sets.iter().map(|(_, slots)| slots).chain(left.iter().map(|(_, slots)| slots)).cloned().collect();
        let sets = sets.into_iter().map(|(set, _)| set).collect();
        let left = left.into_iter().map(|(name, _)| name).collect();
        let mut topology = Topology { sets, left, maps: Vec::new() };
        let set_of_slot = topology.set_of_slot(slots.iter().map(Vec::as_slice).enumerate())?;
        topology.maps.push(SlotMap { from: BEGINNING, set_of_slot });
        Ok(topology)
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
            let number = self.names().position(|other| other == *name);
            let number = number.ok_or_else(|| named(format!("there is no SET {name:?}")))?;
            if of_sets.iter().any(|(other, _)| *other == number) {
                return Err(named(format!("SET {name:?} is in it twice")));
            }
            of_sets.push((number, *slots));
        }
        let set_of_slot = self.set_of_slot(of_sets.into_iter()).map_err(named)?;
        self.maps.push(SlotMap { from, set_of_slot });
        Ok(self)
    }

    /// The same, where each slot of a SET that has left is that of the SET which got it next: it answers for it.
    ///
    /// # Errors
    /// When no other SET got a slot of one that has left.
    pub fn inherited(mut self) -> Result<Topology, String> {
        let mut heirs: Option<[u8; SLOTS as usize]> = None;
        for map in self.maps.iter_mut().rev() {
            for (slot, holder) in map.set_of_slot.iter_mut().enumerate() {
                if let Some(left) = usize::from(*holder).checked_sub(self.sets.len()) {
                    let heir = heirs.map(|heirs| heirs[slot]);
                    *holder = heir.ok_or_else(|| {
                        format!("SET {:?} has left, and slot {slot:02} has no other holder", self.left[left])
                    })?;
                }
            }
            heirs = Some(map.set_of_slot);
        }
        Ok(self)
    }

    fn set_of_slot<'a>(&self, held: impl Iterator<Item = (usize, &'a [Slot])>) -> Result<[u8; SLOTS as usize], String> {
        const UNHELD: u8 = u8::MAX;
        let mut set_of_slot = [UNHELD; SLOTS as usize];
        for (number, slots) in held {
            for slot in slots {
                let holder = &mut set_of_slot[usize::from(slot.number())];
                if *holder != UNHELD {
                    let name_of = |number| self.names().nth(number).unwrap_or_default();
                    let (other, name) = (name_of(usize::from(*holder)), name_of(number));
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

    /// The names of all SETs by their numbers.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.sets.iter().map(|set| set.name.as_str()).chain(self.left.iter().map(String::as_str))
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
