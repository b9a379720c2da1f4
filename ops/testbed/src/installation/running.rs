//! An installation as it runs: what is started when, and how its parts are found.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use super::description::{Description, GATEWAY, PartEntry, PartKind};
use super::files;
use super::processes::{Lifetime, Processes};
use super::relay::Relays;
use crate::backend::{Backend, BackendServer};
use crate::install::{Fallible, install};
use crate::part::{LOOK, READY_WITHIN};
use crate::ports::{is_open, local};
use crate::{galera, mariadb};

/// The process of the relays of an installation that outlives its caller.
pub(crate) const RELAYS: &str = "relays";
/// How long the port of a part that was killed may stay taken.
const PORT_FREE_WITHIN: Duration = Duration::from_secs(5);

/// An installation, with all that it keeps under one folder.
pub struct Installation {
    dir: PathBuf,
    description: Description,
    lifetime: Lifetime,
    processes: Processes,
    /// Relays that end with this process.
    relays: Option<Relays>,
    /// Nothing is started once it was stopped.
    stopped: RwLock<bool>,
}

impl Installation {
    /// One that does not run yet. `settings` is TOML that goes before what is the same in
    /// every installation; the settings of a folder that has been one before stay.
    pub fn create(dir: &Path, description: Description, settings: &str, lifetime: Lifetime) -> Fallible<Installation> {
        description.check()?;
        let binary = description.binary.canonicalize();
        let binary = binary.map_err(|error| format!("{}: {error}", description.binary.display()))?;
        std::fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        if let Ok(running) = Installation::open(&dir) {
            running.refuse_if_running()?;
        }
        let description = Description { binary, ..description };
        files::write(&dir, &description, settings)?;
        let mut installation = Installation::of(dir, description, lifetime);
        let relays = installation.description.relays();
        if lifetime == Lifetime::Bound && !relays.is_empty() {
            installation.relays = Some(Relays::start(&relays)?);
        }
        Ok(installation)
    }

    /// The one that another process has started in a folder.
    pub fn open(dir: &Path) -> Fallible<Installation> {
        let description = files::description(dir)?;
        Ok(Installation::of(dir.canonicalize()?, description, Lifetime::Detached))
    }

    fn of(dir: PathBuf, description: Description, lifetime: Lifetime) -> Installation {
        let processes = Processes::new(&dir, lifetime);
        Installation { dir, description, lifetime, processes, relays: None, stopped: RwLock::new(false) }
    }

    /// Starts everything, and waits until it listens.
    pub fn start(&self) -> Fallible<()> {
        self.refuse_if_running()?;
        install()?;
        *self.stopped.write().expect("no holder of the lock panics") = false;
        if self.relays.is_none() && !self.description.relayed.is_empty() {
            self.start_relays()?;
        }
        for set in self.clusters() {
            self.begin_cluster(&set)?;
        }
        let is_up = |part: &PartEntry| self.processes.pid(&part.name).is_ok() || self.description.is_spare(part);
        let parts = self.description.parts();
        let stage = |is_of: fn(PartKind) -> bool| parts.iter().filter(move |part| is_of(part.kind) && !is_up(part));
        self.run_and_wait(stage(|kind| kind == PartKind::Database))?;
        self.run_and_wait(stage(|kind| matches!(kind, PartKind::Redis | PartKind::Memcached)))?;
        mariadb::succeeds(&mut self.hongbao(&["migrate"])).map_err(|error| format!("migrate: {error}"))?;
        self.run_and_wait(stage(|_| true))
    }

    fn start_relays(&self) -> Fallible<()> {
        let mut relays = Command::new(std::env::current_exe()?);
        self.processes.spawn(RELAYS, relays.arg("relays").arg("--data").arg(&self.dir))?;
        let first = self.description.relays().first().map_or(0, |relay| relay.listen.port());
        self.wait_until(RELAYS, || is_open(first))
    }

    fn refuse_if_running(&self) -> Fallible<()> {
        match self.description.parts().iter().find(|part| self.processes.pid(&part.name).is_ok()) {
            Some(part) => Err(format!("{} runs already in {}: stop it first", part.name, self.dir.display()).into()),
            None => Ok(()),
        }
    }

    /// Ends everything in good order, the gateway first, databases last. Fails with the
    /// names of those that cannot be ended.
    pub fn stop(&self) -> Fallible<()> {
        // A part that is being started has been written down when the lock is ours.
        *self.stopped.write().expect("no holder of the lock panics") = true;
        let of = |kinds: &[PartKind]| {
            let names = self.description.parts().into_iter().filter(|part| kinds.contains(&part.kind));
            names.map(|part| part.name).collect::<Vec<_>>()
        };
        let stages = [
            of(&[PartKind::Gateway]),
            of(&[PartKind::Server, PartKind::Worker]),
            of(&[PartKind::Redis, PartKind::Memcached]),
            of(&[PartKind::Database]),
            vec![RELAYS.to_owned()],
        ];
        let running: Vec<String> = stages.iter().flat_map(|names| self.processes.end_all(names)).collect();
        if running.is_empty() { Ok(()) } else { Err(format!("still running: {}", running.join(", ")).into()) }
    }

    /// Starts parts again that have ended, and waits until they are ready.
    pub fn run(&self, names: &[&str]) -> Fallible<()> {
        let parts = names.iter().map(|name| self.description.part(name)).collect::<Fallible<Vec<_>>>()?;
        self.run_and_wait(parts.iter())
    }

    fn run_and_wait<'a>(&self, parts: impl Iterator<Item = &'a PartEntry>) -> Fallible<()> {
        let parts: Vec<&PartEntry> = parts.collect();
        // Making the folder of a database takes a moment.
        let spawned: Vec<Fallible<()>> = std::thread::scope(|scope| {
            let spawn = |part| scope.spawn(move || self.spawn(part, false));
            let threads: Vec<_> = parts.iter().copied().map(spawn).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        spawned.into_iter().collect::<Fallible<()>>()?;
        parts.into_iter().try_for_each(|part| self.wait_until_ready(part))
    }

    fn spawn(&self, part: &PartEntry, begins: bool) -> Fallible<()> {
        let stopped = self.stopped.read().expect("no holder of the lock panics");
        let PartEntry { name, port, .. } = part;
        if *stopped {
            return Err(format!("{name} is not started again: the installation has been stopped").into());
        }
        if self.processes.pid(name).is_ok() {
            return Err(format!("{name} runs already").into());
        }
        // It would end, unable to listen, and another program's answer would be taken for its.
        let until = Instant::now() + PORT_FREE_WITHIN;
        while is_open(*port) {
            if Instant::now() > until {
                return Err(format!("{name} needs port {port}, on which something listens already").into());
            }
            std::thread::sleep(LOOK);
        }
        let command = match self.backend(part) {
            Some(server) => server.command(begins)?,
            None => self.role(part),
        };
        self.processes.spawn(name, &command)
    }

    /// A part that is not of Hongbao.
    fn backend(&self, part: &PartEntry) -> Option<BackendServer> {
        let backend = match part.kind {
            PartKind::Database => match self.clusters().into_iter().find(|nodes| nodes.contains(part)) {
                Some(nodes) => Backend::GaleraNode(nodes.iter().map(|node| node.port).collect()),
                None => Backend::MariaDb,
            },
            PartKind::Redis => Backend::Redis,
            PartKind::Memcached => Backend::Memcached,
            PartKind::Server | PartKind::Worker | PartKind::Gateway => return None,
        };
        let options = self.description.options.get(&part.name).cloned().unwrap_or_default();
        Some(BackendServer { backend, dir: self.dir.join(&part.name), port: part.port, options })
    }

    /// A process of Hongbao.
    fn role(&self, part: &PartEntry) -> Command {
        let role = match part.kind {
            PartKind::Worker => "worker",
            PartKind::Gateway => "gateway",
            _ => "server",
        };
        let mut command = self.hongbao(&[role]);
        command.args(["--name", &part.name]).args(self.description.options.get(&part.name).into_iter().flatten());
        if part.kind == PartKind::Gateway && files::has_gateway_topology(&self.description) {
            command.env("HONGBAO_TOPOLOGY", self.dir.join(files::GATEWAY_TOPOLOGY));
        }
        command
    }

    /// Hongbao's binary over this installation's settings, with a command and its options.
    /// Settings in the caller's environment hold for processes that outlive the caller.
    pub fn hongbao(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.description.binary);
        command.args(&arguments[..1]).arg("--config").arg(self.dir.join(files::SETTINGS)).args(&arguments[1..]);
        if self.lifetime == Lifetime::Bound {
            forget_environment(&mut command);
        }
        command
    }

    fn wait_until_ready(&self, part: &PartEntry) -> Fallible<()> {
        self.wait_until(&part.name, || {
            self.backend(part).map_or_else(|| is_open(part.port), |server| server.is_ready())
        })
    }

    fn wait_until(&self, name: &str, is_ready: impl Fn() -> bool) -> Fallible<()> {
        let until = Instant::now() + READY_WITHIN;
        loop {
            let is_ready = is_ready();
            if self.processes.pid(name).is_err() {
                return Err(format!("{name} has ended: {}", self.processes.last_lines(name)).into());
            }
            if is_ready {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("{name} is not ready; see {}", self.processes.log(name).display()).into());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The nodes of each Galera cluster.
    fn clusters(&self) -> Vec<Vec<PartEntry>> {
        if !self.description.galera {
            return Vec::new();
        }
        let set_of = |node: &PartEntry| node.name.split('-').next().unwrap_or_default().to_owned();
        let nodes: Vec<_> = self.description.parts_of(PartKind::Database).collect();
        let clusters = nodes.chunk_by(|one, other| set_of(one) == set_of(other));
        clusters.filter(|nodes| nodes.len() > 1).map(<[PartEntry]>::to_vec).collect()
    }

    /// Starts the node that has come farthest, which the others join.
    fn begin_cluster(&self, nodes: &[PartEntry]) -> Fallible<()> {
        let come_to = |node: &PartEntry| galera::last_transaction(&self.dir.join(&node.name));
        let places = nodes.iter().map(come_to).collect::<Fallible<Vec<_>>>()?;
        let farthest = places.iter().max().and_then(|most| places.iter().position(|place| place == most));
        let first = &nodes[farthest.unwrap_or_default()];
        self.spawn(first, true)?;
        self.wait_until_ready(first)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it consists of.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Its processes.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// Relays that end with this process.
    pub(crate) fn relays(&self) -> Option<&Relays> {
        self.relays.as_ref()
    }

    /// The processor time of relays of this process, which is not of what is measured.
    pub fn relay_cpu_time(&self) -> Fallible<Duration> {
        self.relays.as_ref().map_or(Ok(Duration::ZERO), Relays::cpu_time)
    }

    /// Where a part listens itself.
    ///
    /// # Panics
    /// When there is no such part.
    pub fn address(&self, name: &str) -> SocketAddr {
        match name {
            GATEWAY => self.description.gateway,
            _ => local(self.description.part(name).expect("the caller knows the parts").port),
        }
    }

    /// The command that runs SQL as `root` on a database, and prints values without names.
    pub fn sql_client(&self, database: &str, sql: &str) -> Command {
        mariadb::sql_client(&self.dir.join(database), sql)
    }

    /// A line about a part: where it listens, its process, the state of a Galera node.
    pub fn status(&self, part: &PartEntry) -> String {
        let process = match (self.processes.pid(&part.name), self.backend(part)) {
            (Err(_), _) => "not running".to_owned(),
            (Ok(pid), Some(BackendServer { backend: Backend::GaleraNode(_), dir, .. })) => {
                let value = |name| galera::status(&dir, name);
                let (state, nodes) = (value("wsrep_local_state_comment"), value("wsrep_cluster_size"));
                format!("process {}, {state}, {nodes} in the cluster", pid.as_raw_nonzero())
            }
            (Ok(pid), _) => format!("process {}", pid.as_raw_nonzero()),
        };
        format!("{:<16} {:<21} {process}", part.name, self.address(&part.name))
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Bound {
            // What it cannot end ends with this process.
            let _ = self.stop();
        }
    }
}

/// Leaves out the settings in the caller's environment.
pub fn forget_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("HONGBAO_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
}
