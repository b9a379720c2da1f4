//! The service under test: everything in one process, or a server of a real
//! SET with its own MariaDB, memcached, Redis, workers and wallet database.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hongbao_testbed::{
    Description, FOLD, GATEWAY, Installation, Lifetime, OPTIONS_OF_FILLED, PartKind, forget_environment,
};

use crate::child::{Child, wait_until_idle};
use crate::client::Client;
use crate::error::Fallible;
use crate::faults::{Schedule, Site};
use crate::machine;

/// What tokens are signed with. It guards nothing.
pub const SECRET: &str = "a secret of a service that lives for one bench";
/// What tickets are signed with. It guards nothing either.
pub const TICKET_SECRET: &str = "another secret that guards nothing";
/// What a bench needs of the settings.
pub struct Wanted {
    /// Shares that an envelope may have.
    pub shares_max: u32,
    /// Further settings of servers, as TOML.
    pub server: String,
    /// Further sections of the settings, as TOML.
    pub sections: String,
    /// Whether a SET goes without its memcached and Redis.
    pub bare: bool,
    /// The zone whose days count, in seconds from UTC.
    pub zone_offset_s: i64,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            shares_max: 500,
            server: String::new(),
            sections: String::new(),
            bare: false,
            zone_offset_s: ZONE_OFFSET_S,
        }
    }
}

/// China's zone, in seconds from UTC.
pub const ZONE_OFFSET_S: i64 = 8 * 3_600;
/// How far from UTC a zone may be, in seconds.
const ZONE_S_MAX: i64 = 14 * 3_600;
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
    /// Starts a SET with its gateway, or the all-in-one service, with its data under `dir`.
    pub fn start(cluster: bool, binary: &Path, dir: &Path, wanted: &Wanted) -> Fallible<Service> {
        match cluster {
            true => Ok(Service::Cluster(Cluster::start(binary, dir, 1, wanted)?)),
            false => Service::embedded(binary, dir, wanted),
        }
    }

    /// A client of one of its addresses, once it is ready there.
    pub fn client(&self, addr: SocketAddr) -> Fallible<Client> {
        let client = Client::new(addr, SECRET);
        client.wait_until_ready().map_err(|error| self.complaint(&error.to_string()))?;
        Ok(client)
    }

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
            Service::Cluster(cluster) => format!("{what}; its logs are in {}", cluster.dir().display()).into(),
        }
    }
}

/// The settings that the embedded service and a cluster have in common.
fn settings(wanted: &Wanted) -> String {
    // Tickets are fetched before a round, so they must live longer than in real life.
    format!(
        "[auth]\nhs256_secret = \"{SECRET}\"\n\n[limits]\nshares_max = {}\nticket_life_ms = 3600000\nexpires_in_s_min = 1\n\n[server]\n{}\n\n{}",
        wanted.shares_max, wanted.server, wanted.sections
    )
}

/// An installation on this machine.
pub struct Cluster {
    installation: Arc<Installation>,
}

impl Cluster {
    /// Starts `sets` SETs with their data under `dir`.
    pub fn start(binary: &Path, dir: &Path, sets: u16, wanted: &Wanted) -> Fallible<Cluster> {
        Cluster::start_for(&Schedule::default(), binary, dir, sets, wanted)
    }

    /// The same, prepared for the faults of a schedule: with relays before the
    /// parts whose links it disturbs, and databases whose disks can be full.
    pub fn start_for(schedule: &Schedule, binary: &Path, dir: &Path, sets: u16, wanted: &Wanted) -> Fallible<Cluster> {
        schedule.check(sets, wanted.bare)?;
        let fillable = OPTIONS_OF_FILLED.map(str::to_owned);
        let description = Description {
            sets,
            spare: schedule.added().len() as u16,
            bare: wanted.bare,
            binary: binary.to_owned(),
            relayed: schedule.relayed().into_iter().map(str::to_owned).collect(),
            options: schedule.filled().into_iter().map(|part| (part.to_owned(), fillable.to_vec())).collect(),
            ..Description::default()
        };
        let own = format!(
            "zone_offset_s = {}\n\n[tickets]\nsecret = \"{TICKET_SECRET}\"\n\n\
             [rate_limit]\nuser_per_s = 1000000000\nuser_burst = 1000000000\n\n{}",
            wanted.zone_offset_s,
            settings(wanted)
        );
        let dir = dir.join("cluster");
        let installation = Installation::create(&dir, description.on_free_ports(), &own, Lifetime::Bound)?;
        installation.start()?;
        Ok(Cluster { installation: Arc::new(installation) })
    }

    /// Where the first server of a SET listens.
    pub fn server_addr(&self, set: u16) -> SocketAddr {
        self.address(&format!("{}1", set_name(set)))
    }

    /// Where all servers listen.
    pub fn server_addrs(&self) -> Vec<SocketAddr> {
        self.addresses_of(PartKind::Server).collect()
    }

    /// Where all processes listen that have metrics of openings and credits.
    pub fn metrics_addrs(&self) -> Vec<SocketAddr> {
        self.addresses_of(PartKind::Server).chain(self.addresses_of(PartKind::Worker)).collect()
    }

    fn addresses_of(&self, kind: PartKind) -> impl Iterator<Item = SocketAddr> {
        let parts = self.description().parts_of(kind).filter(|part| !self.description().is_spare(part));
        parts.map(|part| self.address(&part.name))
    }

    /// Where its gateway listens.
    pub fn gateway_addr(&self) -> SocketAddr {
        self.address(GATEWAY)
    }

    /// The processor time of all of its processes.
    pub fn cpu_time(&self) -> Fallible<Duration> {
        Ok(self.cpu_times()?.values().sum())
    }

    /// The same by name: `a1`, `a-mariadb`, `gateway`.
    pub fn cpu_times(&self) -> Fallible<BTreeMap<String, Duration>> {
        self.processes().cpu_times()
    }

    /// Waits until all of it does next to nothing.
    pub fn wait_until_idle(&self) -> Fallible<Option<Duration>> {
        // Its workers look for work in its databases all the time.
        wait_until_idle(0.20, || self.cpu_time())
    }

    /// Where the MariaDB of a SET listens.
    pub fn database_addr(&self, set: u16) -> SocketAddr {
        self.address(&format!("{}-mariadb", set_name(set)))
    }

    /// Where the MariaDB of the wallet listens.
    pub fn wallet_addr(&self) -> SocketAddr {
        self.address("wallet-mariadb")
    }

    /// The id of one of its processes, by its name.
    pub fn pid(&self, name: &str) -> Fallible<u32> {
        Ok(self.processes().pid(name)?.as_raw_nonzero().get().unsigned_abs())
    }

    /// Where the faults of a schedule happen.
    pub fn site(&self, schedule: &Schedule) -> Site {
        Site::new(self.installation.clone(), schedule)
    }
}

impl Deref for Cluster {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A site may have it still: no fault that is undone later starts a part of it again.
        // What cannot be ended now ends with this process.
        let _ = self.installation.stop();
    }
}

/// Reads how many SETs a cluster is to have: each has as many databases as every other.
pub fn parse_set_count(text: &str) -> Result<u16, String> {
    let databases = u16::from(FOLD.databases());
    let count = text.parse().ok().filter(|count| (1..=databases).any(|sets| sets == *count && databases % sets == 0));
    count.ok_or_else(|| format!("it has {databases} databases, as many in each SET: 1, 2 or 4 SETs"))
}

/// The name of a SET by its number.
fn set_name(set: u16) -> char {
    char::from(b'a' + set as u8)
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
