//! Two SETs on databases of their own, a server of each, two gateways in front, and the wallet beside the first SET.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hongbao_core::EnvelopeId;
use hongbao_testbed::{Part, free_port};
use rustix::process::Signal;

use crate::backup_installation::run;
use crate::rehearsal_installation::Process;
use crate::support::{Folder, TICKET_SECRET, TOKEN_SECRET};

const NAMES: [&str; 4] = ["a1", "b1", "g1", "g2"];

/// The installation.
pub struct World {
    folder: Folder,
    sets: [Part; 2],
    /// Where each process listens.
    pub at: BTreeMap<&'static str, SocketAddr>,
    processes: BTreeMap<&'static str, Process>,
}

impl World {
    /// With these further settings.
    pub fn new(settings: &str) -> World {
        let (folder, sets) = (Folder::new(), [(); 2].map(|()| Part::mariadb(&[])));
        let at: BTreeMap<_, _> = NAMES.map(|name| (name, SocketAddr::from(([127, 0, 0, 1], free_port())))).into();
        folder.write(
            "hongbao.toml",
            &format!(
                "topology = 'topology.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
                 [tickets]\nsecret = '{TICKET_SECRET}'\n[storage]\ndatabases = 1\ntables = 1\nwallet_databases = 1\n\
                 [database]\nuser = 'hongbao'\npassword = 'hongbao'\n\
                 [rate_limit]\nuser_per_s = 10000\nuser_burst = 10000\n{settings}\n"
            ),
        );
        let set = |name: &str, slots: &str, part: &Part| {
            let server = format!("{name}1");
            format!(
                "[[sets]]\nname = '{name}'\nslots = '{slots}'\ndatabase = ['{}']\n\
                 servers = [{{ name = '{server}', address = '{}' }}]\n",
                part.node(),
                at[&*server]
            )
        };
        let gateway = |name: &str| format!("{{ name = '{name}', address = '{}' }}, ", at[name]);
        let topology = format!(
            "version = 1\ngateways = [{}{}]\n{}{}[[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{}']\n",
            gateway("g1"),
            gateway("g2"),
            set("a", "00-49", &sets[0]),
            set("b", "50-99", &sets[1]),
            sets[0].node()
        );
        folder.write("topology.toml", &topology);
        let (code, said) = run(&folder, "migrate", &[]);
        assert_eq!(code, Some(0), "{said}");
        let mut world = World { folder, sets, at, processes: BTreeMap::new() };
        NAMES.into_iter().for_each(|name| world.start(name));
        world
    }

    /// Starts a process.
    pub fn start(&mut self, name: &'static str) {
        let role = if name.starts_with('g') { "gateway" } else { "server" };
        self.processes.insert(name, Process::start_as(&self.folder, role, Some(name), &[]));
    }

    /// Kills it.
    pub fn kill(&mut self, name: &str) {
        self.processes.get_mut(name).unwrap().end(Signal::KILL);
    }

    /// Kills servers and gateways one after the other, and starts each again, until then; gives how many.
    pub fn kill_in_turns(&mut self, until: Instant) -> usize {
        let mut kills = 0;
        while Instant::now() < until {
            let name = ["a1", "g1", "b1", "g2"][kills % 4];
            std::thread::sleep(Duration::from_millis(150));
            self.kill(name);
            self.start(name);
            kills += 1;
        }
        kills
    }

    /// The ids of all envelopes of a SET.
    pub fn envelopes(&self, set: usize) -> BTreeSet<EnvelopeId> {
        let tables: Vec<String> =
            (1..=31).map(|day| format!("SELECT hex(id) FROM db_00.envelope_0_{day:02}")).collect();
        let ids = self.sets[set].sql(&tables.join(" UNION ALL "));
        let bytes = |line: &str| u128::from_str_radix(line, 16).ok().map(u128::to_be_bytes);
        ids.lines().filter_map(bytes).filter_map(|bytes| EnvelopeId::from_bytes(&bytes)).collect()
    }
}
