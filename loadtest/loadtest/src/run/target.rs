//! What a run drives: an installation that is there already, or one that it
//! starts for itself and ends again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use hongbao_load::{
    Client, Cluster, Fallible, SECRET, Schedule, Service, Signer, Site, Tls, Url, Wanted, ZONE_OFFSET_S, files,
    machine, metrics, zone_with_midnight_at,
};
use tempfile::TempDir;

use super::args::RunArgs;
use super::gauges::fetch_metrics;
use crate::outcome::Machine;

/// How long an installation that is there may take to accept a connection.
const REACH_WITHIN: Duration = Duration::from_secs(2);

/// Instead of a durability that no process states.
pub const NOT_STATED: &str = "not stated";

/// What a run drives. Its fields are dropped in this order: processes before their data.
pub struct Target {
    service: Option<Service>,
    sets: u16,
    dir: Option<TempDir>,
    pub site: Site,
    /// Whose metrics are read.
    pub metrics: Vec<Site>,
    /// Signs tokens; where there is none, the dev call hands them out.
    pub signer: Option<Signer>,
}

impl Target {
    /// Starts what the arguments ask for. Local midnight of what it starts is at
    /// `midnight`, if that is given; `shares_max` are allowed an envelope.
    pub fn open(args: &RunArgs, shares_max: u32, midnight: Option<SystemTime>, faults: &Schedule) -> Fallible<Target> {
        if let Some(url) = &args.target {
            let tls = Tls { authorities: args.ca.clone() };
            let reach = |name: &str, url: &Url| {
                let reached = url.reach(&args.resolve, &tls, REACH_WITHIN);
                reached.map_err(|error| format!("{name} {url}: {error}"))
            };
            let site = reach("--target", url)?;
            let secret = args.secret_file.as_ref().map(|path| files::read_line("--secret-file", path)).transpose()?;
            let signer = secret.map(|secret| Signer::new(&secret, args.audience.clone(), args.issuer.clone()));
            let metrics = args.metrics.iter().map(|url| reach("--metrics", url)).collect::<Result<Vec<_>, _>>()?;
            let metrics = if metrics.is_empty() { vec![site.clone()] } else { metrics };
            return Ok(Target { service: None, sets: 0, dir: None, site, metrics, signer });
        }
        let dir = files::data_dir(&args.data)?;
        let zone_offset_s = midnight.map_or(ZONE_OFFSET_S, zone_with_midnight_at);
        let server = args.server_settings.clone();
        let wanted = Wanted { shares_max, server, zone_offset_s, ..Wanted::default() };
        let signer = Some(Signer::new(SECRET, None, None));
        if !args.cluster {
            let service = Service::embedded(&args.server, dir.path(), &wanted)?;
            let site = Site::from(service.addr());
            let metrics = vec![site.clone()];
            return Ok(Target { service: Some(service), sets: 1, dir: Some(dir), site, metrics, signer });
        }
        let cluster = Cluster::start_for(faults, &args.server, dir.path(), args.sets, &wanted)?;
        let site = Site::from(cluster.gateway_addr());
        let metrics = cluster.metrics_addrs().into_iter().map(Site::from).collect();
        let service = Some(Service::Cluster(cluster));
        Ok(Target { service, sets: args.sets, dir: Some(dir), site, metrics, signer })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready. One that is not ours is not waited for if it says anything else.
    pub fn wait_until_ready(&self) -> Fallible<()> {
        let client = Client::new(&self.site, SECRET);
        if self.service.is_some() { client.wait_until_ready() } else { client.wait_while_not_ready() }
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

    /// Which of its processes has ended by itself, if they are ours.
    pub fn gone(&self) -> Option<String> {
        self.service.as_ref()?.cpu_time().err().map(|error| error.to_string())
    }

    /// What it runs on, with what it says of itself.
    pub fn machine(&self) -> Machine {
        let texts: Vec<String> = self.metrics.iter().filter_map(|site| fetch_metrics(site).ok()).collect();
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

/// What a program prints as its version, without its name; mariadbd is not on the path of all users.
fn version(name: &str, program: &Path) -> Option<String> {
    let program = if program == Path::new("mariadbd") { Path::new("/usr/sbin/mariadbd") } else { program };
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().next()?.trim();
    Some(version.strip_prefix(name).unwrap_or(version).trim().to_owned())
}
