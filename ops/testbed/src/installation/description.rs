//! What an installation on this machine consists of: its parts, their names, ports and
//! order, and the topology that follows from them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use hongbao_core::topology::{Named, ServerEntry, SetEntry, SlotList, TopologyFile, WalletEntry};
use serde::{Deserialize, Serialize};

use crate::galera;
use crate::install::Fallible;
use crate::ports::{free_ports, local};

/// SETs of an installation at most.
pub const SETS_MAX: u16 = SETS.len() as u16;
/// The names of SETs.
const SETS: [&str; 4] = ["a", "b", "c", "d"];
/// The database of the wallet.
const WALLET: &str = "wallet-mariadb";
/// The gateway.
pub const GATEWAY: &str = "gateway";

/// What an installation consists of; a file in its folder keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// SETs: 1, 2 or 4.
    pub sets: u16,
    /// SETs that are kept back: their parts are started when the topology gets them.
    #[serde(default)]
    pub spare: u16,
    /// Servers go without memcached and Redis.
    pub bare: bool,
    /// The database of a SET is a Galera cluster of three nodes.
    pub galera: bool,
    /// The first of its ports, which lie in a row, the gateway's apart.
    pub port: u16,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// The `hongbao` that is run.
    pub binary: PathBuf,
    /// Parts before which a relay stands, so that the links to them can be slow or cut.
    pub relayed: Vec<String>,
    /// Further options of parts.
    pub options: BTreeMap<String, Vec<String>>,
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// A MariaDB, or a node of a SET's Galera cluster.
    Database,
    /// The Redis of a SET.
    Redis,
    /// The memcached of a server.
    Memcached,
    /// A server.
    Server,
    /// A worker.
    Worker,
    /// The gateway.
    Gateway,
}

/// A part: a process with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartEntry {
    /// Its name, the SET's first: `a1`, `a-mariadb`, `a-w2`.
    pub name: String,
    /// What it is.
    pub kind: PartKind,
    /// Where it listens, at the loopback address if it is not the gateway.
    pub port: u16,
}

/// A relay before a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The part.
    pub part: String,
    /// Where the relay listens.
    pub listen: SocketAddr,
    /// Where the part listens.
    pub target: SocketAddr,
}

impl PartEntry {
    /// The name of its SET; that of a part of none is its own.
    pub fn set(&self) -> &str {
        let of_set = self.kind != PartKind::Gateway && self.name != WALLET;
        if of_set { &self.name[..1] } else { &self.name }
    }
}

impl PartKind {
    /// Whether other parts connect to it, so that a relay can stand before it.
    pub fn has_links(self) -> bool {
        !matches!(self, PartKind::Worker | PartKind::Gateway)
    }
}

impl Default for Description {
    /// What `make cluster` starts, but for the binary.
    fn default() -> Description {
        Description {
            sets: 2,
            spare: 0,
            bare: false,
            galera: false,
            port: 18_100,
            gateway: local(8_080),
            binary: PathBuf::new(),
            relayed: Vec::new(),
            options: BTreeMap::new(),
        }
    }
}

impl Description {
    /// The same on free ports; the one behind the gateway's is free as well.
    pub fn on_free_ports(mut self) -> Description {
        let ports = self.ports();
        self.port = free_ports(ports + 2);
        self.gateway = local(self.port + ports);
        self
    }

    /// Refuses what cannot be started.
    pub fn check(&self) -> Fallible<()> {
        if ![1, 2, 4].contains(&self.sets) {
            return Err(format!("an installation has 1, 2 or 4 SETs, not {}", self.sets).into());
        }
        if self.spare > 0 && (self.galera || self.sets + self.spare > SETS_MAX) {
            return Err(format!("SETs are kept back up to the number of {SETS_MAX}, and not of Galera").into());
        }
        self.relayed.iter().chain(self.options.keys()).try_for_each(|name| self.part(name).map(|_| ()))
    }

    /// All parts: databases first, the gateway last.
    pub fn parts(&self) -> Vec<PartEntry> {
        let mut port = self.port;
        let mut parts = Vec::new();
        let mut add = |name: String, kind, ports| {
            parts.push(PartEntry { name, kind, port });
            port += ports;
        };
        for set in self.set_names() {
            match self.galera {
                true => (1..=3).for_each(|node| add(format!("{set}-mariadb{node}"), PartKind::Database, galera::PORTS)),
                false => add(format!("{set}-mariadb"), PartKind::Database, 1),
            }
            if !self.bare {
                add(format!("{set}-redis"), PartKind::Redis, 1);
            }
            for server in 1..=2 {
                add(format!("{set}{server}"), PartKind::Server, 1);
                if !self.bare {
                    add(format!("{set}{server}-memcached"), PartKind::Memcached, 1);
                }
            }
            (1..=2).for_each(|worker| add(format!("{set}-w{worker}"), PartKind::Worker, 1));
        }
        add(WALLET.to_owned(), PartKind::Database, 1);
        parts.push(PartEntry { name: GATEWAY.to_owned(), kind: PartKind::Gateway, port: self.gateway.port() });
        parts.sort_by_key(|part| part.kind as u8);
        parts
    }

    /// The parts that are of a kind.
    pub fn parts_of(&self, kind: PartKind) -> impl Iterator<Item = PartEntry> {
        self.parts().into_iter().filter(move |part| part.kind == kind)
    }

    /// Whether a part is of a SET that is kept back.
    pub fn is_spare(&self, part: &PartEntry) -> bool {
        SETS.iter().skip(self.sets.into()).any(|set| *set == part.set())
    }

    /// The part of that name.
    pub fn part(&self, name: &str) -> Fallible<PartEntry> {
        let found = self.parts().into_iter().find(|part| part.name == name);
        let names = || self.parts().into_iter().map(|part| part.name).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("there is no part `{name}`: there are {}", names()).into())
    }

    /// Where the relay before each part listens, and where the part does.
    pub fn relays(&self) -> Vec<Relayed> {
        let first = self.first_relay();
        let part = |name: &String| Some((name.clone(), self.part(name).ok()?.port));
        let parts = self.relayed.iter().filter_map(part);
        parts
            .zip(first..)
            .map(|((part, own), relay)| Relayed { part, listen: local(relay), target: local(own) })
            .collect()
    }

    /// The topology: the gateway's, or that of all others. They differ where a relay stands
    /// before a server, which itself listens at its own port.
    pub fn topology(&self, of_gateway: bool) -> TopologyFile {
        let (parts, mut sets) = (self.parts(), self.set_entries(of_gateway));
        sets.truncate(self.sets.into());
        let wallet = parts.iter().find(|part| part.name == WALLET).expect("every installation has one");
        let relay = self.relays().into_iter().find(|relay| relay.part == WALLET);
        let wallet_at = relay.map_or(local(wallet.port), |relay| relay.listen);
        TopologyFile {
            version: 1,
            sets,
            maps: Vec::new(),
            left: Vec::new(),
            wallets: vec![WalletEntry {
                name: "wallet".to_owned(),
                slots: slots("00-99".to_owned()),
                database: vec![wallet_at.to_string()],
            }],
            gateways: vec![Named { name: GATEWAY.to_owned(), address: self.gateway.into(), listen: None }],
        }
    }

    /// The SETs that are kept back, as a later topology has them.
    pub fn spare_sets(&self, of_gateway: bool) -> Vec<SetEntry> {
        self.set_entries(of_gateway).split_off(self.sets.into())
    }

    fn set_entries(&self, of_gateway: bool) -> Vec<SetEntry> {
        let relays = self.relays();
        let reached = |part: &PartEntry| {
            let relay = relays.iter().find(|relay| relay.part == part.name);
            let is_used = part.kind != PartKind::Server || of_gateway;
            relay.filter(|_| is_used).map_or(local(part.port), |relay| relay.listen)
        };
        let parts = self.parts();
        let named = |name: &str| parts.iter().find(|part| part.name == name);
        let of = |set: &str, kind| {
            let is_of = move |part: &&PartEntry| part.kind == kind && part.name.starts_with(set);
            parts.iter().filter(is_of).collect::<Vec<_>>()
        };
        let set = |(number, set): (usize, &str)| SetEntry {
            name: set.to_owned(),
            slots: match number < self.sets.into() {
                true => slots(format!("{number:02}-99/{}", self.sets)),
                false => SlotList::default(),
            },
            databases: None,
            weight: None,
            canary: None,
            database: of(set, PartKind::Database).into_iter().map(|node| reached(node).to_string()).collect(),
            cache: named(&format!("{set}-redis")).map(|redis| format!("redis://{}", reached(redis))),
            servers: (of(set, PartKind::Server).into_iter())
                .map(|server| ServerEntry {
                    name: server.name.clone(),
                    address: reached(server).into(),
                    listen: None,
                    memcached: named(&format!("{}-memcached", server.name)).map(|part| reached(part).to_string()),
                })
                .collect(),
            workers: (of(set, PartKind::Worker).into_iter())
                .map(|worker| Named { name: worker.name.clone(), address: reached(worker).into(), listen: None })
                .collect(),
        };
        self.set_names().iter().copied().enumerate().map(set).collect()
    }

    fn set_names(&self) -> &'static [&'static str] {
        &SETS[..usize::from(self.sets + self.spare).min(SETS.len())]
    }

    /// How many ports it takes in a row: those of its parts but the gateway's, and of relays.
    fn ports(&self) -> u16 {
        self.first_relay() - self.port + self.relayed.len() as u16
    }

    fn first_relay(&self) -> u16 {
        self.part(WALLET).map_or(self.port, |wallet| wallet.port + 1)
    }
}

fn slots(text: String) -> SlotList {
    SlotList::try_from(text).expect("it lists slots")
}

#[cfg(test)]
mod tests {
    use hongbao_core::held::BEGINNING;

    use super::*;

    fn described(change: impl FnOnce(&mut Description)) -> Description {
        let mut description = Description::default();
        change(&mut description);
        description
    }

    #[test]
    fn every_topology_is_one_that_the_service_takes_and_no_port_is_used_twice() {
        let all = |description: &mut Description| {
            description.relayed = description.parts().into_iter().map(|part| part.name).collect();
        };
        for sets in [1, 2, 4] {
            for (bare, galera) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut one = described(|own| (own.sets, own.bare, own.galera) = (sets, bare, galera));
                for relayed in [false, true] {
                    if relayed {
                        all(&mut one);
                    }
                    one.check().unwrap();
                    one.topology(false).check(BEGINNING).unwrap();
                    one.topology(true).check(BEGINNING).unwrap();
                    let relays = one.relays().into_iter().map(|relay| relay.listen.port());
                    let mut ports: Vec<u16> = one.parts().iter().map(|part| part.port).chain(relays).collect();
                    let count = ports.len();
                    ports.sort_unstable();
                    ports.dedup();
                    assert_eq!(ports.len(), count, "{one:?}");
                    let last = ports.iter().filter(|port| **port >= one.port).max().unwrap();
                    assert_eq!(last + 1 - one.port, one.ports(), "{one:?}");
                }
            }
        }
    }

    #[test]
    fn a_server_is_reached_through_its_relay_by_the_gateway_alone() {
        let one = described(|own| own.relayed = vec!["a1".to_owned(), "a-mariadb".to_owned()]);
        let address = |of_gateway| one.topology(of_gateway).server("a1").unwrap().1.address.clone();
        assert_eq!(address(false).port(), one.part("a1").unwrap().port);
        assert_eq!(address(true), one.relays()[0].listen.into());
        for of_gateway in [false, true] {
            assert_eq!(one.topology(of_gateway).sets[0].database, [one.relays()[1].listen.to_string()]);
        }
    }

    #[test]
    fn what_does_not_exist_is_refused_by_name() {
        let refusal = |own: Description| own.check().unwrap_err().to_string();
        assert_eq!(refusal(described(|own| own.sets = 3)), "an installation has 1, 2 or 4 SETs, not 3");
        let unknown = refusal(described(|own| own.relayed = vec!["c1".to_owned()]));
        assert!(unknown.starts_with("there is no part `c1`: there are a-mariadb, "), "{unknown}");
        let bare = described(|own| (own.bare, own.relayed) = (true, vec!["a-redis".to_owned()]));
        assert!(refusal(bare).starts_with("there is no part `a-redis`: "));
    }
}
