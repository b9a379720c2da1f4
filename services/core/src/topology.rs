//! The topology file: which SETs there are, what each consists of, and where
//! the wallet lies. Everything a process has to know about the others.
//!
//! This is the file's shape and its checks; reading it from a disk is the
//! business of each role. Secrets stand in the configuration, not here.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{Fold, SLOTS};
use crate::limits::LEFT_AFTER_DAYS_MIN;
use crate::routing::{SetTopology, Topology};
use crate::time::Timestamp;

mod address;
mod canary;
mod decimal;
mod holders;
mod left;
mod maps;
mod slots;

pub use address::Address;
pub use canary::{Canary, Measured};
pub use decimal::Decimal;
pub use left::LeftEntry;
pub use maps::{MapEntry, MapSet};
pub use slots::SlotList;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyFile {
    /// Grows with every change, so that each process can report which one it has read.
    pub version: u64,
    /// The vertical slices.
    pub sets: Vec<SetEntry>,
    /// Which of them hold which slots later, in the order of time. They are kept for ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<MapEntry>,
    /// SETs that have left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftEntry>,
    /// Where balances are.
    pub wallets: Vec<WalletEntry>,
    /// Who stands in front of the SETs.
    #[serde(default)]
    pub gateways: Vec<Named>,
}

/// One SET.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetEntry {
    /// Its name, unlike those of the others.
    pub name: String,
    /// The slots that it holds until the first of the `maps`; a SET that was added later holds none.
    #[serde(default, skip_serializing_if = "SlotList::is_empty")]
    pub slots: SlotList,
    /// Into how many databases these slots are folded, if not into as many as those of the installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<u8>,
    /// How many of the new envelopes it gets, in proportion to the other weights; as many as its slots by
    /// default. 0 drains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Decimal>,
    /// When it loses this weight by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// The nodes of its database, the preferred one first: `host:port`, or `unix:/path/to/socket`.
    pub database: Vec<String>,
    /// Its Redis, as a URL; without one there is no shared cache.
    #[serde(default)]
    pub cache: Option<String>,
    /// Its servers.
    pub servers: Vec<ServerEntry>,
    /// Its workers.
    #[serde(default)]
    pub workers: Vec<Named>,
}

/// One server of a SET.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerEntry {
    /// Its name, unlike those of all others: envelopes are assigned by it.
    pub name: String,
    /// Where gateways reach it.
    pub address: Address,
    /// Where it listens, if that is another address: behind NAT, or in a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// The memcached of its host, `host:port`; without one, permits are counted in the process.
    #[serde(default)]
    pub memcached: Option<String>,
}

/// A part of the wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletEntry {
    /// Its name, unlike those of the others.
    pub name: String,
    /// The slots of users that it holds.
    pub slots: SlotList,
    /// The nodes of its database, as a SET's.
    pub database: Vec<String>,
}

/// A process with a name and an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Where others reach it.
    pub address: Address,
    /// Where it listens, if that is another address, as of a [`ServerEntry`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
}

impl ServerEntry {
    /// Where it listens.
    pub fn listens_at(&self) -> Address {
        self.listen.map_or_else(|| self.address.clone(), Address::from)
    }
}

impl Named {
    /// Where it listens.
    pub fn listens_at(&self) -> Address {
        self.listen.map_or_else(|| self.address.clone(), Address::from)
    }
}

impl TopologyFile {
    /// Checks the whole, to be in force from `now` on: a bad file is refused whole.
    ///
    /// # Errors
    /// What is wrong, for the operator: it names the entry.
    pub fn check(&self, now: Timestamp) -> Result<(), String> {
        self.routing()?;
        for map in self.map_number_at(now)..=self.maps.len() {
            self.check_weights(map)?;
        }
        self.check_wallets()?;
        let mut names = HashSet::new();
        let mut addresses = HashSet::new();
        for (kind, name, address) in self.processes() {
            check_name(kind, name)?;
            if !names.insert(name) {
                return Err(format!("{kind} {name:?}: the name is used twice"));
            }
            if !addresses.insert(address) {
                return Err(format!("{kind} {name:?}: the address {address} is used twice"));
            }
        }
        for left in &self.left {
            check_name("SET", &left.name)?;
            self.held_by_left(left, Fold::WHOLE)?;
            let since = self.map_number_at(now.plus_millis(-LEFT_AFTER_DAYS_MIN * 86_400_000));
            if (since..=self.maps.len()).any(|map| !self.slots_of(map, left).is_empty()) {
                let name = &left.name;
                return Err(format!(
                    "SET {name:?} has left, and held slots within the last {LEFT_AFTER_DAYS_MIN} days"
                ));
            }
        }
        let (mut nodes, mut caches) = (HashMap::new(), HashMap::new());
        for set in &self.sets {
            check_name("SET", &set.name)?;
            self.held_by(set, Fold::WHOLE)?;
            if (0..=self.maps.len()).all(|map| self.slots_in(map, set).is_empty()) {
                return Err(format!("SET {:?} holds no slot, now or later", set.name));
            }
            check_nodes("SET", &set.name, &set.database)?;
            check_own("SET", &set.name, &set.database, &mut nodes)?;
            check_own("SET", &set.name, &set.cache, &mut caches)?;
            for server in &set.servers {
                if let Some(memcached) = server.memcached.as_ref().filter(|place| !is_host_and_port(place)) {
                    return Err(format!("server {:?}: memcached {memcached:?} is not host:port", server.name));
                }
            }
        }
        Ok(())
    }

    /// What routing needs of it.
    ///
    /// # Errors
    /// When slots or names do not add up.
    pub fn routing(&self) -> Result<Topology, String> {
        let set = |entry: &SetEntry| {
            let servers = entry.servers.iter().map(|server| server.name.clone()).collect();
            (SetTopology { name: entry.name.clone(), servers }, entry.slots.slots().to_vec())
        };
        let left = self.left.iter().map(|left| (left.name.clone(), left.slots.slots().to_vec()));
        let first = Topology::with_left(self.sets.iter().map(set).collect(), left.collect())?;
        self.maps.iter().try_fold(first, |topology, map| topology.followed_by(map.from, &map.held()))?.inherited()
    }

    /// The weight of a SET among those that new envelopes are placed in while the map of this number is in force; 0
    /// if it holds no slot in it.
    pub fn weight_in(&self, map: usize, set: &SetEntry) -> Decimal {
        match self.slots_in(map, set).len() {
            0 => Decimal::ZERO,
            slots => set.weight.unwrap_or_else(|| Decimal::from(slots as u32)),
        }
    }

    /// The SET that a server belongs to, and the server.
    pub fn server(&self, name: &str) -> Option<(&SetEntry, &ServerEntry)> {
        let servers = self.sets.iter().flat_map(|set| set.servers.iter().map(move |server| (set, server)));
        servers.into_iter().find(|(_, server)| server.name == name)
    }

    /// The SET that a worker belongs to, and the worker.
    pub fn worker(&self, name: &str) -> Option<(&SetEntry, &Named)> {
        let workers = self.sets.iter().flat_map(|set| set.workers.iter().map(move |worker| (set, worker)));
        workers.into_iter().find(|(_, worker)| worker.name == name)
    }

    /// A gateway by its name.
    pub fn gateway(&self, name: &str) -> Option<&Named> {
        self.gateways.iter().find(|gateway| gateway.name == name)
    }

    /// Every process: what it is, its name and its address.
    fn processes(&self) -> Vec<(&'static str, &str, &Address)> {
        let mut processes = Vec::new();
        for set in &self.sets {
            processes.extend(set.servers.iter().map(|server| ("server", server.name.as_str(), &server.address)));
            processes.extend(set.workers.iter().map(|worker| ("worker", worker.name.as_str(), &worker.address)));
        }
        processes.extend(self.gateways.iter().map(|gateway| ("gateway", gateway.name.as_str(), &gateway.address)));
        processes
    }

    fn check_weights(&self, map: usize) -> Result<(), String> {
        let named = |reason: String| match map.checked_sub(1) {
            None => reason,
            Some(later) => format!("map from {}: {reason}", self.maps[later].from),
        };
        let mut with_weight = self.sets.iter().filter(|set| self.weight_in(map, set) > Decimal::ZERO).peekable();
        if with_weight.peek().is_none() {
            return Err(named("every SET has weight 0: no SET would get a new envelope".to_owned()));
        }
        for set in &self.sets {
            let Some(canary) = &set.canary else { continue };
            canary.check().map_err(|reason| format!("SET {:?}: {reason}", set.name))?;
        }
        if with_weight.all(|set| set.canary.is_some()) {
            return Err(named(
                "every SET with a weight is a canary: if all lost it, no SET would get a new envelope".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_wallets(&self) -> Result<(), String> {
        let mut holder: [Option<&str>; SLOTS as usize] = [None; SLOTS as usize];
        let mut names = HashSet::new();
        let mut nodes = HashMap::new();
        for wallet in &self.wallets {
            check_name("wallet", &wallet.name)?;
            check_nodes("wallet", &wallet.name, &wallet.database)?;
            check_own("wallet", &wallet.name, &wallet.database, &mut nodes)?;
            if !names.insert(&wallet.name) {
                return Err(format!("wallet {:?} is named twice", wallet.name));
            }
            for slot in wallet.slots.slots() {
                if let Some(other) = holder[usize::from(slot.number())].replace(&wallet.name) {
                    let number = slot.number();
                    return Err(format!("wallet slot {number:02} is held by {other:?} and by {:?}", wallet.name));
                }
            }
        }
        match holder.iter().position(Option::is_none) {
            Some(slot) => Err(format!("wallet slot {slot:02} is held by no wallet")),
            None => Ok(()),
        }
    }
}

fn check_name(kind: &str, name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if name.is_empty() || name.len() > 64 || !plain {
        return Err(format!("{kind} {name:?}: a name is 1 to 64 letters, digits, '-' or '_'"));
    }
    Ok(())
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn check_nodes(kind: &str, name: &str, nodes: &[String]) -> Result<(), String> {
    if nodes.is_empty() {
        return Err(format!("{kind} {name:?} has no database"));
    }
    for node in nodes {
        let good = match node.strip_prefix("unix:") {
            Some(path) => path.starts_with('/'),
            None => is_host_and_port(node),
        };
        if !good {
            return Err(format!("{kind} {name:?}: {node:?} is neither host:port nor unix:/path"));
        }
    }
    Ok(())
}

/// SETs share nothing, and neither do the parts of the wallet: what one has, no
/// other one has, and it has it once. A SET and a part of the wallet may lie in
/// one database, where their tables bear other names.
fn check_own<'a>(
    kind: &str,
    name: &'a str,
    own: impl IntoIterator<Item = &'a String>,
    holders: &mut HashMap<&'a str, &'a str>,
) -> Result<(), String> {
    for place in own {
        match holders.insert(place, name) {
            None => {}
            Some(other) if other == name => return Err(format!("{kind} {name:?} names {place:?} twice")),
            Some(other) => return Err(format!("{kind} {name:?}: {place:?} belongs to {kind} {other:?} already")),
        }
    }
    Ok(())
}
