//! From a slot to a SET, and from an envelope to one server of that SET.

use crate::id::{EnvelopeId, SLOTS, Slot, stable_hash};

/// Which SET holds which slots, and which servers it has. Versioned by its
/// file; checked as a whole when it is made, so that a bad one is refused whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    sets: Vec<SetTopology>,
    set_of_slot: [u8; SLOTS as usize],
}

/// One SET of a [`Topology`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetTopology {
    /// Unique among the SETs.
    pub name: String,
    /// The slots that it holds.
    pub slots: Vec<Slot>,
    /// Its servers' names, unique over all SETs.
    pub servers: Vec<String>,
}

impl Topology {
    /// Checks that every slot is held exactly once, and every name is used once.
    pub fn new(sets: Vec<SetTopology>) -> Result<Topology, String> {
        const UNHELD: u8 = u8::MAX;
        if sets.is_empty() || sets.len() > usize::from(SLOTS) {
            return Err(format!("a topology has 1 to {SLOTS} SETs, not {}", sets.len()));
        }
        let mut set_of_slot = [UNHELD; SLOTS as usize];
        let mut names = std::collections::HashSet::new();
        for (index, set) in sets.iter().enumerate() {
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
            for slot in &set.slots {
                let holder = &mut set_of_slot[usize::from(slot.number())];
                if *holder != UNHELD {
                    let other = &sets[usize::from(*holder)].name;
                    return Err(format!("slot {:02} is held by {other:?} and by {:?}", slot.number(), set.name));
                }
                *holder = index as u8;
            }
        }
        match set_of_slot.iter().position(|holder| *holder == UNHELD) {
            Some(slot) => Err(format!("slot {slot:02} is held by no SET")),
            None => Ok(Topology { sets, set_of_slot }),
        }
    }

    /// One SET that holds everything, with one server: the all-in-one process.
    pub fn single(set: &str, server: &str) -> Topology {
        let set = SetTopology { name: set.into(), slots: Slot::all().collect(), servers: vec![server.into()] };
        Topology::new(vec![set]).expect("one SET with all slots is whole")
    }

    /// The SET that holds a slot.
    pub fn set_of(&self, slot: Slot) -> &SetTopology {
        &self.sets[usize::from(self.set_of_slot[usize::from(slot.number())])]
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
