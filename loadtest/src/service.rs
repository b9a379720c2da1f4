//! The service under test: everything in one process, or a server of a real
//! SET with its own MariaDB, memcached, Redis, workers and wallet database.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::{Child, wait_until_idle};
use crate::{Fallible, machine};

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
        fs::write(&config, settings(wanted))?;
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

    /// The processor time that all of its processes have used.
    pub fn cpu_time(&self) -> Fallible<Duration> {
        match self {
            Service::Embedded(child) => child.cpu_time(),
            Service::Cluster(cluster) => cluster.cpu_time(),
        }
    }

    /// Waits until it does next to nothing.
    pub fn wait_until_idle(&self) -> Fallible<Option<Duration>> {
        // A cluster's workers look for work in its databases all the time.
        let share = if matches!(self, Service::Embedded(_)) { 0.05 } else { 0.20 };
        wait_until_idle(share, || self.cpu_time())
    }

    /// An error with what it has to say.
    pub fn complaint(&self, what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Service::Embedded(child) => child.complaint(what),
            Service::Cluster(cluster) => format!("{what}; its logs are in {}", cluster.dir.display()).into(),
        }
    }
}

/// The settings that the embedded service and a cluster have in common.
fn settings(wanted: &Wanted) -> String {
    // Tickets are fetched before a round, so they must live longer than in real life.
    format!(
        "[auth]\nhs256_secret = \"{SECRET}\"\n\n[limits]\nshares_max = {}\nticket_life_ms = 3600000\n\n[server]\n{}\n",
        wanted.shares_max, wanted.server
    )
}

/// What is measured is this configuration, not the caller's.
pub fn forget_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("HONGBAO_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
}

/// An installation on this machine, started by `ops/cluster.sh`.
pub struct Cluster {
    script: PathBuf,
    dir: PathBuf,
    port: u16,
    gateway: SocketAddr,
    pids: Vec<u32>,
}

impl Cluster {
    /// Starts `sets` SETs with their data under `dir`.
    pub fn start(script: &Path, binary: &Path, dir: &Path, sets: u16, wanted: &Wanted) -> Fallible<Cluster> {
        let dir = dir.join("cluster");
        fs::create_dir_all(&dir)?;
        let fixed = "topology = \"topology.toml\"\ndev_calls = true\n\n";
        let tickets = format!("[tickets]\nsecret = \"{TICKET_SECRET}\"\n\n");
        let rest = "[storage]\ndatabases = 4\ntables = 1\nwallet_databases = 2\n\n\
                    [database]\nuser = \"hongbao\"\npassword = \"hongbao\"\n\n\
                    [rate_limit]\nuser_per_s = 1000000000\nuser_burst = 1000000000\n";
        fs::write(dir.join("hongbao.toml"), format!("{fixed}{}{tickets}{rest}", settings(wanted)))?;

        let port = free_ports(10 * (sets + 1) + 1)?;
        let gateway = SocketAddr::from(([127, 0, 0, 1], port + 10 * (sets + 1)));
        let mut cluster = Cluster { script: script.to_owned(), dir, port, gateway, pids: Vec::new() };
        let arguments = [
            ("--sets", sets.to_string()),
            ("--port", port.to_string()),
            ("--gateway", gateway.to_string()),
            ("--binary", binary.display().to_string()),
            ("--watch", std::process::id().to_string()),
        ];
        let bare = wanted.bare.then_some("--bare");
        cluster.run("start", arguments.iter().flat_map(|(name, value)| [*name, value.as_str()]).chain(bare))?;
        cluster.pids = cluster.read_pids()?;
        Ok(cluster)
    }

    /// Where the first server of a SET listens; see `ops/cluster.sh`.
    pub fn server_addr(&self, set: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port + 10 * set + 2))
    }

    /// Where its gateway listens.
    pub fn gateway_addr(&self) -> SocketAddr {
        self.gateway
    }

    /// The processor time of all of its processes.
    pub fn cpu_time(&self) -> Fallible<Duration> {
        let mut sum = Duration::ZERO;
        for pid in &self.pids {
            sum += machine::cpu_time(*pid).map_err(|_| format!("a process of {} is gone", self.dir.display()))?;
        }
        Ok(sum)
    }

    /// Where its data and logs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the MariaDB of a SET listens.
    pub fn database_addr(&self, set: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port + 10 * set))
    }

    /// The id of one of its processes, by the name that `ops/cluster.sh` gives it.
    pub fn pid(&self, name: &str) -> Fallible<u32> {
        let text = fs::read_to_string(self.dir.join("run").join(format!("{name}.pid")))?;
        let pid = text.split(' ').next().and_then(|pid| pid.parse().ok());
        pid.ok_or_else(|| format!("{name} has no process").into())
    }

    /// Ends one of its processes at once, by the same name.
    pub fn kill(&self, name: &str) -> Fallible<()> {
        self.run("kill", ["KILL", name].into_iter())
    }

    fn read_pids(&self) -> Fallible<Vec<u32>> {
        let mut pids = Vec::new();
        for file in fs::read_dir(self.dir.join("run"))? {
            let text = fs::read_to_string(file?.path())?;
            pids.extend(text.split(' ').next().and_then(|pid| pid.parse::<u32>().ok()));
        }
        Ok(pids)
    }

    fn run<'a>(&self, command: &str, arguments: impl Iterator<Item = &'a str>) -> Fallible<()> {
        let mut script = Command::new(&self.script);
        script.arg(command).arg("--data").arg(&self.dir).args(arguments);
        forget_environment(&mut script);
        let done = script.output().map_err(|error| format!("{}: {error}", self.script.display()))?;
        if !done.status.success() {
            return Err(format!("cluster {command}: {}", String::from_utf8_lossy(&done.stderr).trim()).into());
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.run("stop", std::iter::empty()) {
            eprintln!("hongbao-loadtest: {error}");
        }
    }
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
