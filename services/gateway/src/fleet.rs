//! The servers of the topology in force, and which of them is asked.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use hongbao_core::limits::NAMES_RESOLVED_EVERY;
use hongbao_core::routing::owner;
use hongbao_core::topology::{Address, ServerEntry, SetEntry};
use hongbao_core::{EnvelopeId, Timestamp};
use hongbao_http::tls::TlsTowardsServers;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::names::{NamedServer, Names, ROUNDS_OF_LIVING};
use crate::options::GatewayOptions;
use crate::probe;
use crate::sets::{Births, Closed, SetState};
use crate::topology::{Known, TopologyWatcher};
use crate::upstream::{Health, Upstream};

/// By what a server is chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    /// The owner of an envelope, within the SET of its slot.
    Envelope(EnvelopeId),
    /// Any server: the same one for the same number, as long as it is up.
    Number(u64),
}

/// One topology with its servers.
#[derive(Debug)]
pub(crate) struct Fleet {
    known: Arc<Known>,
    sets: Vec<SetState>,
    /// By map, and in it by SET: its weight among those that new envelopes are placed in, in millionths; `None` if it
    /// holds no slot.
    weights: Vec<Vec<Option<u64>>>,
    all: Vec<Arc<Upstream>>,
}

impl Fleet {
    pub(crate) fn new(
        known: Arc<Known>,
        mut upstream: impl FnMut(&str, &str, &Address) -> Arc<Upstream>,
        mut births: impl FnMut(&str) -> Arc<Births>,
    ) -> Fleet {
        let file = &known.file;
        let state = |set: &SetEntry| {
            let servers = set.servers.iter().map(|server| upstream(&set.name, &server.name, &server.address));
            SetState::new(set, servers.collect(), births(&set.name))
        };
        let sets: Vec<SetState> = file.sets.iter().map(state).collect();
        let weight = |map, set| match file.slots_in(map, set).is_empty() {
            true => None,
            false => Some(file.weight_in(map, set).millionths()),
        };
        let in_map = |map| file.sets.iter().map(|set| weight(map, set)).collect();
        let weights = (0..=file.maps.len()).map(in_map).collect();
        let all = sets.iter().flat_map(|set| &set.servers).cloned().collect();
        Fleet { known, sets, weights, all }
    }

    /// Every server.
    pub(crate) fn all(&self) -> &[Arc<Upstream>] {
        &self.all
    }

    /// The SETs, in the order of the topology file.
    pub(crate) fn sets(&self) -> &[SetState] {
        &self.sets
    }

    /// The number, among these, of the SET that holds an envelope: routing was made of the same file.
    pub(crate) fn set_number_of(&self, id: EnvelopeId) -> usize {
        self.known.routing.set_number_of(id)
    }

    /// The weight, above 0, of the SET of this number among those that envelopes of this time are placed in; or why
    /// it gets none.
    pub(crate) fn open_weight(&self, number: usize, time: Timestamp) -> Result<u64, Closed> {
        match self.weights[self.known.routing.map_number_at(time)][number] {
            None => Err(Closed::HoldsNothing),
            Some(0) => Err(Closed::Drained),
            Some(weight) => self.sets[number].check_open().map(|()| weight),
        }
    }

    /// The SET that holds an envelope.
    pub(crate) fn set_of(&self, id: EnvelopeId) -> &SetState {
        &self.sets[self.set_number_of(id)]
    }

    /// The server to ask: of those that are up, or, when none is, of all: who
    /// looks dead to us may still answer, and no other can. `None` when all
    /// that could be asked are among `tried`.
    pub(crate) fn choose(&self, key: Key, tried: &[Arc<Upstream>]) -> Option<&Arc<Upstream>> {
        let untried = |server: &&Arc<Upstream>| !tried.iter().any(|other| Arc::ptr_eq(other, server));
        match key {
            Key::Envelope(id) => {
                let servers = &self.set_of(id).servers;
                let up = owner_among(id, servers.iter().filter(|server| server.is_up()).filter(untried));
                up.or_else(|| owner_among(id, servers.iter().filter(untried)))
            }
            Key::Number(number) => {
                let start = (number % self.all.len().max(1) as u64) as usize;
                let mut from_start = self.all[start..].iter().chain(&self.all[..start]).filter(untried);
                from_start.clone().find(|server| server.is_up()).or_else(|| from_start.next())
            }
        }
    }
}

fn is_name(address: &Address) -> bool {
    address.socket_address().is_none()
}

fn owner_among<'a>(
    id: EnvelopeId,
    servers: impl Iterator<Item = &'a Arc<Upstream>> + Clone,
) -> Option<&'a Arc<Upstream>> {
    let name = owner(id, servers.clone().map(|server| server.name.as_str()))?;
    let mut servers = servers;
    servers.find(|server| std::ptr::eq(server.name.as_str(), name))
}

/// The fleet in force, which follows the topology.
pub(crate) struct Fleets {
    watcher: Arc<TopologyWatcher>,
    options: GatewayOptions,
    tls: Option<TlsTowardsServers>,
    current: RwLock<Arc<Fleet>>,
    names: Names,
    kept: Mutex<Kept>,
    /// Where probes run.
    runtime: Handle,
}

/// What stays when the topology changes.
#[derive(Default)]
struct Kept {
    /// Every server of the fleet in force, with its probe.
    probed: HashMap<ProbedKey, Probed>,
    /// The counts of every SET that has been in force, by its name: counters never go back.
    births: HashMap<String, Arc<Births>>,
}

/// SET, name, address, and where that leads.
type ProbedKey = (String, String, Address, Option<SocketAddr>);

struct Probed {
    upstream: Arc<Upstream>,
    probe: AbortHandle,
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.probe.abort();
    }
}

impl Fleets {
    /// Probes the servers of the topology, on the runtime that this is called on.
    pub(crate) async fn start(
        watcher: Arc<TopologyWatcher>,
        options: GatewayOptions,
        tls: Option<TlsTowardsServers>,
    ) -> Fleets {
        let empty = Fleet { known: watcher.current(), sets: Vec::new(), weights: Vec::new(), all: Vec::new() };
        let fleets = Fleets {
            watcher,
            options,
            tls,
            current: RwLock::new(Arc::new(empty)),
            names: Names::default(),
            kept: Mutex::default(),
            runtime: Handle::current(),
        };
        let named = |server: &ServerEntry| is_name(&server.address).then(|| server.address.clone());
        let file = &fleets.watcher.current().file;
        let addresses = file.sets.iter().flat_map(|set| &set.servers).filter_map(named);
        fleets.names.resolve(addresses.map(|address| NamedServer { address, is_dead: true }).collect(), || {}).await;
        fleets.refresh(true);
        fleets
    }

    pub(crate) fn current(&self) -> Arc<Fleet> {
        self.current.read().clone()
    }

    /// Takes over the topology in force if it has changed.
    pub(crate) fn follow(&self) {
        self.refresh(false);
    }

    /// `is_other`: its names lead elsewhere, or it is the first one.
    fn refresh(&self, is_other: bool) {
        let mut kept = self.kept.lock();
        let Kept { probed, births } = &mut *kept;
        let known = self.watcher.current();
        if !is_other && Arc::ptr_eq(&known, &self.current.read().known) {
            return;
        }
        let mut next = HashMap::new();
        let server_of = |(set, name, address, _): &ProbedKey| (set.clone(), name.clone(), address.clone());
        let dead = probed.iter().filter(|(_, probed)| probed.upstream.is_dead()).map(|(key, _)| server_of(key));
        let dead: HashSet<_> = dead.collect();
        let upstream = |set: &str, name: &str, address: &Address| {
            let reached = self.names.reached(address);
            let key = (set.to_owned(), name.to_owned(), address.clone(), reached);
            // One that was dead has to answer probes at its next address, too.
            let was_dead = dead.contains(&server_of(&key));
            let kept = probed.remove(&key).unwrap_or_else(|| self.begin(set, name, address, reached, was_dead));
            let upstream = kept.upstream.clone();
            next.insert(key, kept);
            upstream
        };
        let fleet = Fleet::new(known, upstream, |set| births.entry(set.to_owned()).or_default().clone());
        *self.current.write() = Arc::new(fleet);
        // Who is not in it any more is not probed any more.
        *probed = next;
    }

    fn begin(&self, set: &str, name: &str, address: &Address, reached: Option<SocketAddr>, is_dead: bool) -> Probed {
        let forwards_max = self.options.forwards_per_server_max;
        let upstream = Arc::new(Upstream::new(set, name, address, reached, forwards_max).with_tls(self.tls.clone()));
        if is_dead {
            upstream.set_health(Health::Dead);
        }
        let probe = self.runtime.spawn(probe::probe_forever(upstream.clone(), self.options.clone()));
        Probed { upstream, probe: probe.abort_handle() }
    }

    /// The file is read again for a request that was misdirected.
    pub(crate) async fn reread(&self) {
        self.watcher.reread_for_request().await;
        self.follow();
    }

    /// Follows the file and what it says, until it is aborted.
    pub(crate) async fn follow_forever(self: Arc<Fleets>) {
        let mut changes = self.watcher.subscribe();
        while changes.changed().await.is_ok() {
            self.follow();
        }
    }

    /// Follows where the names of servers lead, until it is aborted.
    pub(crate) async fn follow_names_forever(self: Arc<Fleets>) {
        for round in 1_u32.. {
            tokio::time::sleep(NAMES_RESOLVED_EVERY).await;
            let is_of_all = round.is_multiple_of(ROUNDS_OF_LIVING);
            let fleet = self.current();
            let servers = fleet.all().iter().filter(|server| is_name(&server.address));
            let asked =
                servers.map(|server| NamedServer { address: server.address.clone(), is_dead: server.is_dead() });
            let asked: Vec<NamedServer> = asked.filter(|asked| is_of_all || asked.is_dead).collect();
            self.names.resolve(asked, || self.refresh(true)).await;
        }
    }

    /// Stops all probes.
    pub(crate) fn stop(&self) {
        self.kept.lock().probed.clear();
    }
}
