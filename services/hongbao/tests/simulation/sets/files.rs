//! Topology files whose dated maps move slots among the SETs.

use std::fmt::Write as _;

use hongbao_core::fence::Version;
use hongbao_core::held::{BEGINNING, HeldSlots};
use hongbao_core::id::Fold;
use hongbao_core::routing::Topology;
use hongbao_core::topology::TopologyFile;
use hongbao_core::{EnvelopeId, Timestamp};

/// The SETs, and how many databases each has.
pub const SETS: [(&str, u8); 3] = [("one", 1), ("two", 2), ("three", 1)];
/// Slots move in blocks, so that the same ones meet often.
pub const BLOCKS: [&str; 4] = ["00-24", "25-49", "50-74", "75-99"];

/// For ids from a moment on, the number of the SET that has each block.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    pub from: Timestamp,
    pub holders: [usize; BLOCKS.len()],
}

impl Map {
    fn slots(&self, set: usize) -> Option<String> {
        let held = BLOCKS.iter().zip(self.holders).filter(|(_, holder)| *holder == set);
        let slots: Vec<&str> = held.map(|(block, _)| *block).collect();
        (!slots.is_empty()).then(|| slots.join(","))
    }
}

/// A file as the processes read it, which was found good.
#[derive(Debug)]
pub struct File {
    pub maps: Vec<Map>,
    pub topology: TopologyFile,
    pub version: Version,
    routing: Topology,
}

impl File {
    /// That of the beginning: SET three is added later.
    pub fn first() -> File {
        File::write(1, vec![Map { from: BEGINNING, holders: [0, 0, 1, 1] }])
    }

    /// A file with these maps. A SET that holds nothing in any of them is not in it.
    pub fn write(number: u64, maps: Vec<Map>) -> File {
        let topology: TopologyFile = toml::from_str(&text(number, &maps)).expect("the text is a topology file");
        topology.check(maps[0].from).expect("the file is good");
        let version = Version { number, maps: topology.slot_maps(Fold::WHOLE).expect("the folds are good") };
        let routing = topology.routing().expect("the file was checked");
        File { maps, topology, version, routing }
    }

    /// What it gives to a SET; `None` if it does not know it.
    pub fn held(&self, set: usize) -> Option<HeldSlots> {
        let entry = self.topology.sets.iter().find(|entry| entry.name == SETS[set].0)?;
        Some(self.topology.held_by(entry, Fold::WHOLE).expect("the folds are good"))
    }

    /// The SET that a gateway with this file asks for an envelope.
    pub fn set_of(&self, id: EnvelopeId) -> usize {
        let name = &self.routing.set_of(id).name;
        SETS.iter().position(|(other, _)| other == name).expect("there are no other SETs")
    }
}

fn text(number: u64, maps: &[Map]) -> String {
    let mut text = format!("version = {number}\n");
    for (set, (name, databases)) in SETS.iter().enumerate() {
        if maps.iter().all(|map| map.slots(set).is_none()) {
            continue;
        }
        let slots = maps[0].slots(set).map(|slots| format!("slots = {slots:?}\n")).unwrap_or_default();
        write!(
            text,
            "[[sets]]\nname = {name:?}\n{slots}databases = {databases}\ndatabase = [\"{name}:3306\"]\n\
             servers = [{{ name = \"{name}-server\", address = \"127.0.0.1:{}\" }}]\n",
            7_000 + set
        )
        .unwrap();
    }
    for map in &maps[1..] {
        write!(text, "[[maps]]\nfrom = \"{}\"\n", map.from).unwrap();
        for (set, (name, _)) in SETS.iter().enumerate() {
            if let Some(slots) = map.slots(set) {
                write!(text, "[[maps.sets]]\nname = {name:?}\nslots = {slots:?}\n").unwrap();
            }
        }
    }
    text.push_str("[[wallets]]\nname = \"wallet\"\nslots = \"00-99\"\ndatabase = [\"wallet:3306\"]\n");
    text
}
