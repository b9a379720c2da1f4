//! The service under test: everything in one process, or a server of a real
//! SET with its own MariaDB, memcached, Redis, workers and wallet database.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hongbao_core::id::Fold;
use rustix::process::Signal;

use crate::child::{Child, forget_environment, wait_until_idle};
use crate::error::{Fallible, complain};
use crate::faults::{OPTIONS_OF_FILLED, Relays, Schedule, Site, WantedRelay};
use crate::machine;
use crate::processes::Processes;

/// What tokens are signed with. It guards nothing.
pub const SECRET: &str = "a secret of a service that lives for one bench";
/// What tickets are signed with. It guards nothing either.
pub const TICKET_SECRET: &str = "another secret that guards nothing";
/// Ports below those that systems hand out by themselves.
const PORTS: std::ops::Range<u16> = 21_000..31_000;

/// What a bench needs of the settings.
pub struct Wanted {
    /// Shares that an envelope may have.
    pub shares_max: u32,
    /// Further settings of servers, as TOML.
    pub server: String,
    /// Whether a SET goes without its memcached and Redis.
    pub bare: bool,
    /// The zone whose days count, in seconds from UTC.
    pub zone_offset_s: i64,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted { shares_max: 500, server: String::new(), bare: false, zone_offset_s: ZONE_OFFSET_S }
    }
}

/// China's zone, in seconds from UTC.
pub const ZONE_OFFSET_S: i64 = 8 * 3_600;
/// How far from UTC a zone may be, in seconds.
const ZONE_S_MAX: i64 = 14 * 3_600;
/// The databases, and the tables a day in each, that the SETs of a cluster have together.
pub const FOLD: Fold = Fold::new(4, 1).expect("4 divides 100, 1 divides 10");

/// The zone in which it is midnight then, in seconds from UTC.
pub fn zone_with_midnight_at(then: SystemTime) -> i64 {
    let since = then.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let behind = since % 86_400;
    if behind <= ZONE_S_MAX { -behind } else { 86_400 - behind }
}

/// The zone in which it is noon then, in seconds from UTC.
pub fn zone_with_noon_at(then: SystemTime) -> i64 {
    zone_with_midnight_at(then + Duration::from_secs(86_400 / 2))
}

/// What is measured. It lives as long as its value.
pub enum Service {
    /// `hongbao dev` on SQLite.
    Embedded(Child),
    /// A cluster on this machine.
    Cluster(Cluster),
}

impl Service {
    /// Starts the all-in-one service with its data under `dir`.
    pub fn embedded(binary: &Path, dir: &Path, wanted: &Wanted) -> Fallible<Service> {
        let config = dir.join("bench.toml");
        fs::write(&config, format!("zone_offset_s = {}\n\n{}", wanted.zone_offset_s, settings(wanted)))?;
        let mut command = Command::new(binary);
        command.args(["dev", "--listen", "127.0.0.1:0", "--data"]).arg(dir.join("data")).arg("--config").arg(&config);
        forget_environment(&mut command);
        Ok(Service::Embedded(Child::start("the service", command, &dir.join("service.log"))?))
    }

    /// Where the measured server listens.
    pub fn addr(&self) -> SocketAddr {
        match self {
            Service::Embedded(child) => child.addr(),
            Service::Cluster(cluster) => cluster.server_addr(0),
        }
    }

    /// Where clients ask: at the gateway, if there is one.
    pub fn front_addr(&self) -> SocketAddr {
        match self {
            Service::Embedded(child) => child.addr(),
            Service::Cluster(cluster) => cluster.gateway_addr(),
        }
    }

    /// What the process that clients ask holds of memory, in MB.
    pub fn front_memory(&self) -> Fallible<f64> {
        machine::memory_mb(match self {
            Service::Embedded(child) => child.id(),
            Service::Cluster(cluster) => cluster.pid("gateway")?,
        })
    }

    /// The processes that share a quota: all but the gateway.
    pub fn limited_pids(&self) -> Fallible<Vec<u32>> {
        match self {
            Service::Embedded(child) => Ok(vec![child.id()]),
            Service::Cluster(cluster) => {
                let names = cluster.cpu_times()?.into_keys().filter(|name| name != "gateway");
                names.map(|name| cluster.pid(&name)).collect()
            }
        }
    }

    /// The processor time that all of its processes have used.
    pub fn cpu_time(&self) -> Fallible<Duration> {
        match self {
            Service::Embedded(child) => child.cpu_time(),
            Service::Cluster(cluster) => cluster.cpu_time(),
        }
    }

    /// Waits until it does next to nothing.
    pub fn wait_until_idle(&self) -> Fallible<Option<Duration>> {
        match self {
            Service::Embedded(child) => wait_until_idle(0.05, || child.cpu_time()),
            Service::Cluster(cluster) => cluster.wait_until_idle(),
        }
    }

    /// An error with what it has to say.
    pub fn complaint(&self, what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Service::Embedded(child) => child.complaint(what),
            Service::Cluster(cluster) => {
                format!("{what}; its logs are in {}", cluster.processes.dir().display()).into()
            }
        }
    }
}

/// The settings that the embedded service and a cluster have in common.
fn settings(wanted: &Wanted) -> String {
    // Tickets are fetched before a round, so they must live longer than in real life.
    format!(
        "[auth]\nhs256_secret = \"{SECRET}\"\n\n[limits]\nshares_max = {}\nticket_life_ms = 3600000\nexpires_in_s_min = 1\n\n[server]\n{}\n",
        wanted.shares_max, wanted.server
    )
}

/// An installation on this machine, started by `ops/cluster.sh`.
pub struct Cluster {
    processes: Arc<Processes>,
    /// Before the parts whose links a schedule of faults disturbs.
    relays: Arc<Relays>,
    port: u16,
    gateway: SocketAddr,
}

impl Cluster {
    /// Starts `sets` SETs with their data under `dir`.
    pub fn start(script: &Path, binary: &Path, dir: &Path, sets: u16, wanted: &Wanted) -> Fallible<Cluster> {
        Cluster::start_for(&Schedule::default(), script, binary, dir, sets, wanted)
    }

    /// The same, prepared for the faults of a schedule: with relays before the
    /// parts whose links it disturbs, and databases whose disks can be full.
    pub fn start_for(
        schedule: &Schedule,
        script: &Path,
        binary: &Path,
        dir: &Path,
        sets: u16,
        wanted: &Wanted,
    ) -> Fallible<Cluster> {
        schedule.check(sets, wanted.bare)?;
        let dir = dir.join("cluster");
        fs::create_dir_all(&dir)?;
        let zone = wanted.zone_offset_s;
        let fixed = format!("topology = \"topology.toml\"\ndev_calls = true\nzone_offset_s = {zone}\n\n");
        let tickets = format!("[tickets]\nsecret = \"{TICKET_SECRET}\"\n\n");
        let (databases, tables) = (FOLD.databases(), FOLD.tables());
        let storage = format!("[storage]\ndatabases = {databases}\ntables = {tables}\nwallet_databases = 2\n\n");
        let rest = "[database]\nuser = \"hongbao\"\npassword = \"hongbao\"\n\n\
                    [rate_limit]\nuser_per_s = 1000000000\nuser_burst = 1000000000\n";
        fs::write(dir.join("hongbao.toml"), format!("{fixed}{}{tickets}{storage}{rest}", settings(wanted)))?;

        // Ten for each SET, the wallet's database, the gateway, then the relays.
        let relayed = schedule.relayed();
        let gateway_offset = 10 * (sets + 1);
        let port = free_ports(gateway_offset + 1 + relayed.len() as u16)?;
        let local = |offset: u16| SocketAddr::from(([127, 0, 0, 1], port + offset));
        let wanted_relays: Vec<WantedRelay> = (gateway_offset + 1..)
            .zip(relayed)
            .map(|(offset, part)| {
                let target = local(port_offset(part, sets));
                WantedRelay { part: part.to_owned(), listen: local(offset), target }
            })
            .collect();
        let relays = Arc::new(Relays::start(&wanted_relays)?);

        let mut arguments: Vec<String> = [
            ("--sets", sets.to_string()),
            ("--port", port.to_string()),
            ("--gateway", local(gateway_offset).to_string()),
            ("--binary", binary.display().to_string()),
            ("--watch", std::process::id().to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        arguments.extend(wanted.bare.then(|| "--bare".to_owned()));
        for relay in &wanted_relays {
            arguments.extend(["--via".to_owned(), format!("{}={}", relay.part, relay.listen.port())]);
        }
        for part in schedule.filled() {
            for option in OPTIONS_OF_FILLED {
                arguments.extend(["--option".to_owned(), format!("{part}={option}")]);
            }
        }
        let processes = Arc::new(Processes::new(script, &dir));
        if let Err(error) = processes.script("start", arguments.iter().map(String::as_str)) {
            // That there may be nothing to stop is no news: why it did not start is.
            let _ = processes.stop();
            return Err(error);
        }
        Ok(Cluster { processes, relays, port, gateway: local(gateway_offset) })
    }

    /// Where the first server of a SET listens; see `ops/cluster.sh`.
    pub fn server_addr(&self, set: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port + 10 * set + 2))
    }

    /// Where all servers of this many SETs listen.
    pub fn server_addrs(&self, sets: u16) -> Vec<SocketAddr> {
        let second = |addr: SocketAddr| SocketAddr::new(addr.ip(), addr.port() + 2);
        (0..sets).map(|set| self.server_addr(set)).flat_map(|first| [first, second(first)]).collect()
    }

    /// Where all processes of so many SETs listen that have metrics of openings and credits.
    pub fn metrics_addrs(&self, sets: u16) -> Vec<SocketAddr> {
        let workers = |set| [6, 7].map(|offset| SocketAddr::from(([127, 0, 0, 1], self.port + 10 * set + offset)));
        self.server_addrs(sets).into_iter().chain((0..sets).flat_map(workers)).collect()
    }

    /// Where its gateway listens.
    pub fn gateway_addr(&self) -> SocketAddr {
        self.gateway
    }

    /// The processor time of all of its processes.
    pub fn cpu_time(&self) -> Fallible<Duration> {
        Ok(self.cpu_times()?.values().sum())
    }

    /// The same by name: `a1`, `a-mariadb`, `gateway`.
    pub fn cpu_times(&self) -> Fallible<BTreeMap<String, Duration>> {
        self.processes.cpu_times()
    }

    /// Waits until all of it does next to nothing.
    pub fn wait_until_idle(&self) -> Fallible<Option<Duration>> {
        // Its workers look for work in its databases all the time.
        wait_until_idle(0.20, || self.cpu_time())
    }

    /// Where its data and logs are.
    pub fn dir(&self) -> &Path {
        self.processes.dir()
    }

    /// Where the MariaDB of a SET listens.
    pub fn database_addr(&self, set: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port + 10 * set))
    }

    /// The id of one of its processes, by the name that `ops/cluster.sh` gives it.
    pub fn pid(&self, name: &str) -> Fallible<u32> {
        Ok(self.processes.pid(name)?.as_raw_nonzero().get().unsigned_abs())
    }

    /// Ends one of its processes at once, by the same name.
    pub fn kill(&self, name: &str) -> Fallible<()> {
        self.processes.end(name, Signal::KILL)
    }

    /// The processor time of relays, which is part of this process's and not of what is measured.
    pub fn relay_cpu_time(&self) -> Fallible<Duration> {
        self.relays.cpu_time()
    }

    /// Its processes, by name.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// Where the faults of a schedule happen.
    pub fn site(&self, schedule: &Schedule) -> Site {
        Site::new(self.processes.clone(), self.relays.clone(), schedule)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.processes.stop() {
            complain(error);
        }
    }
}

/// How far behind the cluster's first port a part listens that a relay can stand
/// before; see `ops/cluster.sh`.
fn port_offset(part: &str, sets: u16) -> u16 {
    let Some((set, rest)) = part.split_at_checked(1).filter(|_| part != "wallet-mariadb") else { return 10 * sets };
    let of_set = match rest {
        "-mariadb" => 0,
        "-redis" => 1,
        "1" => 2,
        "1-memcached" => 3,
        "2" => 4,
        "2-memcached" => 5,
        _ => unreachable!("the schedule was checked: nothing else has links"),
    };
    10 * u16::from(set.as_bytes()[0] - b'a') + of_set
}

/// The first of so many ports in a row that are free.
pub fn free_ports(count: u16) -> Fallible<u16> {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    // Two benches at once begin their search in different places.
    let start = PORTS.start + (std::process::id() % 900) as u16 * 10;
    let mut candidates = (start..PORTS.end - count).chain(PORTS.start..start).step_by(10);
    let found = candidates.find(|first| (*first..first + count).all(is_free));
    found.ok_or_else(|| "no free ports for a cluster".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_any_time_there_is_a_zone_where_it_is_midnight_and_one_where_it_is_noon() {
        for since_s in (0..200_000).step_by(997) {
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(since_s);
            for (zone, of_day_s) in [(zone_with_midnight_at(then), 0), (zone_with_noon_at(then), 43_200)] {
                assert!(zone.abs() <= ZONE_S_MAX);
                assert_eq!((since_s as i64 + zone).rem_euclid(86_400), of_day_s);
            }
        }
    }
}
