//! What a run drives: an installation that is there already, or one that it
//! starts for itself and ends again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use hongbao_load::faults::Schedule;
use hongbao_load::service::{Cluster, SECRET, Service, Wanted, ZONE_OFFSET_S, zone_with_midnight_at};
use hongbao_load::{Fallible, files, machine, metrics};
use tempfile::TempDir;

use super::args::RunArgs;
use super::gauges::fetch_metrics;
use super::users::{Passes, Signing};
use crate::outcome::Machine;

/// Instead of a durability that no process tells.
pub const NOT_STATED: &str = "not stated";

/// What a run drives. Its fields are dropped in this order: processes before their data.
pub struct Target {
    service: Option<Service>,
    sets: u16,
    dir: Option<TempDir>,
    /// Where requests go.
    pub addr: SocketAddr,
    /// Whose metrics are read.
    pub metrics: Vec<SocketAddr>,
    /// How it believes who somebody is.
    pub passes: Passes,
}

impl Target {
    /// Starts what the arguments ask for. Local midnight of what it starts is at
    /// `midnight`, if that is given; `shares_max` are allowed an envelope.
    pub fn open(args: &RunArgs, shares_max: u32, midnight: Option<SystemTime>, faults: &Schedule) -> Fallible<Target> {
        if let Some(addr) = args.target {
            let passes = match &args.secret_file {
                Some(path) => Passes::Secret(Signing {
                    secret: files::read_line("--secret-file", path)?,
                    audience: args.audience.clone(),
                    issuer: args.issuer.clone(),
                }),
                None => Passes::Dev,
            };
            let metrics = if args.metrics.is_empty() { vec![addr] } else { args.metrics.clone() };
            return Ok(Target { service: None, sets: 0, dir: None, addr, metrics, passes });
        }
        let dir = files::data_dir(&args.data)?;
        let zone_offset_s = midnight.map_or(ZONE_OFFSET_S, zone_with_midnight_at);
        let server = args.server_settings.clone();
        let wanted = Wanted { shares_max, server, bare: false, zone_offset_s };
        let passes = Passes::Secret(SECRET.into());
        if !args.cluster {
            let service = Service::embedded(&args.server, dir.path(), &wanted)?;
            let addr = service.addr();
            return Ok(Target { service: Some(service), sets: 1, dir: Some(dir), addr, metrics: vec![addr], passes });
        }
        let cluster = Cluster::start_for(faults, &args.server, dir.path(), args.sets, &wanted)?;
        let (addr, metrics) = (cluster.gateway_addr(), cluster.metrics_addrs());
        let service = Some(Service::Cluster(cluster));
        Ok(Target { service, sets: args.sets, dir: Some(dir), addr, metrics, passes })
    }

    /// The cluster, if it is one of ours.
    pub fn cluster(&self) -> Option<&Cluster> {
        match &self.service {
            Some(Service::Cluster(cluster)) => Some(cluster),
            _ => None,
        }
    }

    /// How many SETs it has; zero if that is not known.
    pub fn sets(&self) -> u16 {
        self.sets
    }

    /// The processor time of all of its processes, if they are ours.
    pub fn cpu_time(&self) -> Option<Duration> {
        self.service.as_ref()?.cpu_time().ok()
    }

    /// Which of its processes has ended although nobody ended it, if they are ours.
    pub fn gone(&self) -> Option<String> {
        self.service.as_ref()?.cpu_time().err().map(|error| error.to_string())
    }

    /// What it runs on, with what it says of itself.
    pub fn machine(&self) -> Machine {
        let texts: Vec<String> = self.metrics.iter().filter_map(|addr| fetch_metrics(*addr).ok()).collect();
        let durability = texts.iter().find_map(|text| metrics::durability(text)).unwrap_or(NOT_STATED).to_owned();
        let full_durability = texts.iter().filter_map(|text| metrics::full_durability(text)).reduce(|a, b| a && b);
        let mut commands = vec![("hongbao-loadtest", std::env::current_exe().unwrap_or_default())];
        if self.cluster().is_some() {
            commands.extend(["mariadbd", "memcached", "redis-server"].map(|name| (name, name.into())));
        }
        let mut versions: BTreeMap<String, String> =
            commands.iter().filter_map(|(name, program)| Some(((*name).to_owned(), version(name, program)?))).collect();
        let running: BTreeSet<&str> = texts.iter().filter_map(|text| metrics::version(text)).collect();
        if !running.is_empty() {
            versions.insert("hongbao".to_owned(), running.into_iter().collect::<Vec<_>>().join(" and "));
        }
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        versions.insert("linux".to_owned(), kernel.trim().to_owned());
        Machine {
            processors: machine::processors(),
            file_system: self.dir.as_ref().map_or(String::new(), |dir| machine::file_system(dir.path())),
            versions,
            durability,
            full_durability,
        }
    }
}

/// The words of a program about its version, without its name; mariadbd lives where only root looks.
fn version(name: &str, program: &Path) -> Option<String> {
    let program = if program == Path::new("mariadbd") { Path::new("/usr/sbin/mariadbd") } else { program };
    let said = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout);
    let version = said.lines().next()?.trim();
    Some(version.strip_prefix(name).unwrap_or(version).trim().to_owned())
}
