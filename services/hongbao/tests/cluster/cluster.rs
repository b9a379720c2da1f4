//! The installation: its processes by name, and what they say.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hongbao_core::routing::owner;
use hongbao_core::topology::TopologyFile;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock};
use hongbao_testbed::{Description, GATEWAY, Installation, Lifetime};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::client::Answer;
use crate::common::{text, wait_until};
use crate::person::Person;

/// What tokens are signed with.
const SECRET: &str = "a-secret-for-the-tests-of-the-cluster";
/// Lines that are shown of each log when a scenario fails.
const LOG_LINES: usize = 12;

/// The running installation; stopped and removed when it is dropped.
pub struct Cluster {
    installation: Installation,
    _folder: TempDir,
    /// As it was at the start.
    file: TopologyFile,
}

impl Cluster {
    /// Starts everything.
    pub fn start() -> Cluster {
        let folder = tempfile::Builder::new().prefix("hongbao-cluster-").tempdir().unwrap();
        let binary = env!("CARGO_BIN_EXE_hongbao").into();
        let description = Description { binary, ..Description::default() }.on_free_ports();
        let file = description.topology(false);
        let settings = format!("[auth]\nhs256_secret = '{SECRET}'\n");
        let installation = Installation::create(folder.path(), description, &settings, Lifetime::Bound).unwrap();
        let cluster = Cluster { installation, _folder: folder, file };
        cluster.start_again();
        cluster
    }

    /// Starts everything over what is there.
    pub fn start_again(&self) {
        self.installation.start().unwrap();
    }

    /// Ends everything, in good order.
    pub fn stop(&self) {
        self.installation.stop().unwrap();
    }

    /// Its parts.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Starts processes again that have ended, and waits until they listen.
    pub fn run(&self, names: &[&str]) {
        self.installation.run(names).unwrap();
    }

    /// A file or folder of the installation.
    pub fn path(&self, name: &str) -> PathBuf {
        self.installation.dir().join(name)
    }

    /// What a process has logged.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.installation.processes().log(name)).unwrap_or_default()
    }

    /// Sends a signal to a process.
    pub fn signal(&self, name: &str, signal: Signal) {
        self.installation.processes().signal(name, signal).unwrap();
    }

    /// `kill -9`; it is gone afterwards.
    pub fn kill(&self, name: &str) {
        self.installation.processes().end(name, Signal::KILL).unwrap();
    }

    /// Asks a process to go, and waits until it is gone.
    pub fn terminate(&self, name: &str) {
        self.installation.processes().end(name, Signal::TERM).unwrap();
    }

    /// Where the gateway listens.
    pub fn gateway(&self) -> SocketAddr {
        self.address_of(GATEWAY)
    }

    /// What tokens are signed with.
    pub fn secret(&self) -> &str {
        SECRET
    }

    /// The names of the SETs.
    pub fn sets(&self) -> Vec<&str> {
        self.file.sets.iter().map(|set| set.name.as_str()).collect()
    }

    /// The SET, by its number, that holds an envelope.
    pub fn set_of(&self, id: &str) -> usize {
        let id = EnvelopeId::parse(id).expect("the service gives ids");
        self.topology().routing().expect("the file is good").set_number_of(id)
    }

    /// The server that owns an envelope while all are well.
    pub fn owner_of(&self, id: &str) -> &str {
        let set = &self.file.sets[self.set_of(id)];
        let id = EnvelopeId::parse(id).expect("the service gives ids");
        owner(id, set.servers.iter().map(|server| server.name.as_str())).expect("a SET has servers")
    }

    /// The topology file as it is.
    pub fn topology(&self) -> TopologyFile {
        toml::from_str(&std::fs::read_to_string(self.path("topology.toml")).unwrap()).unwrap()
    }

    /// Changes the topology file as an operator does: with a higher version, and at a stroke.
    pub fn edit_topology(&self, edit: impl FnOnce(&mut TopologyFile)) {
        let mut topology = self.topology();
        edit(&mut topology);
        topology.version += 1;
        topology.check(SystemClock.now()).unwrap();
        std::fs::write(self.path("topology.new"), toml::to_string(&topology).unwrap()).unwrap();
        std::fs::rename(self.path("topology.new"), self.path("topology.toml")).unwrap();
    }

    /// Where a part listens.
    pub fn address_of(&self, name: &str) -> SocketAddr {
        self.installation.address(name)
    }

    /// Asks a process itself, without a token.
    pub fn ask(&self, address: SocketAddr, path: &str) -> std::io::Result<Answer> {
        Person::nobody(address).try_call("GET", path, None)
    }

    /// What the line of a process's metrics says that begins so.
    pub fn metric(&self, address: SocketAddr, name: &str) -> Option<f64> {
        let metrics = self.ask(address, "/metrics").ok()?.text();
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Waits until the gateway believes that a server of SET a is up, or that it is not.
    pub fn wait_until_up(&self, server: &str, up: bool) {
        let name = format!("hongbao_gateway_server_up{{set=\"a\",server=\"{server}\"}}");
        wait_until(Duration::from_secs(20), &format!("{server} to be up: {up}"), || {
            self.metric(self.gateway(), &name) == Some(f64::from(u8::from(up)))
        });
    }

    /// Waits until a process says that it is ready.
    pub fn wait_until_ready(&self, address: SocketAddr) {
        wait_until(Duration::from_secs(20), &format!("{address} to be ready"), || {
            self.ask(address, "/readyz").is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Runs SQL as the root of a MariaDB.
    pub fn sql(&self, database: &str, sql: &str) {
        let done = self.installation.sql_client(database, sql).output().unwrap();
        assert!(done.status.success(), "{sql}: {}", text(&done.stderr));
    }

    fn show_logs(&self) {
        let logs = std::fs::read_dir(self.path("log")).into_iter().flatten().flatten();
        for log in logs.map(|entry| entry.path()) {
            let all = std::fs::read(&log).unwrap_or_default();
            let all = String::from_utf8_lossy(&all);
            let lines: Vec<&str> = all.lines().collect();
            eprintln!("---- {}", log.display());
            lines[lines.len().saturating_sub(LOG_LINES)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}
