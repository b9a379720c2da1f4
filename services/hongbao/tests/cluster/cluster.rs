//! The installation: `ops/cluster.sh` over a temporary folder, and its processes by name.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use hongbao_core::EnvelopeId;
use hongbao_core::routing::owner;
use hongbao_core::topology::{SetEntry, TopologyFile};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::client::Answer;
use crate::common::{hongbao, text, wait_until};
use crate::person::Person;

/// Below the range from which systems take ports for outgoing connections.
const BASES: std::ops::Range<u16> = 20_000..30_900;
/// From one base to the next that is tried.
const BASE_STEP: usize = 50;
/// The gateway's port, and that of a second gateway, from the base on.
const GATEWAY: u16 = 40;
const SECOND_GATEWAY: u16 = 41;
/// The zone of the tables: what `storage` has by default.
const ZONE_OFFSET_S: i32 = 8 * 3_600;
/// A process that is asked to go finishes what it has within this time.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// Lines that are shown of each log when a scenario fails.
const LOG_LINES: usize = 12;

/// The running installation; stopped and removed when it is dropped.
pub struct Cluster {
    folder: TempDir,
    base: u16,
    secret: String,
    /// As it was at the start.
    file: TopologyFile,
}

impl Cluster {
    /// Starts everything.
    pub fn start() -> Cluster {
        let folder = tempfile::Builder::new().prefix("hongbao-cluster-").tempdir().unwrap();
        let base = free_base();
        let nothing = TopologyFile { version: 0, sets: Vec::new(), wallets: Vec::new(), gateways: Vec::new() };
        let mut cluster = Cluster { folder, base, secret: String::new(), file: nothing };
        // However this process ends, the cluster goes too.
        cluster.start_again(&["--watch", &std::process::id().to_string()]);
        let settings: toml::Table =
            std::fs::read_to_string(cluster.path("hongbao.toml")).unwrap().parse().expect("the script writes TOML");
        cluster.secret = settings["auth"]["hs256_secret"].as_str().expect("it is made by the script").to_owned();
        cluster.file = cluster.topology();
        cluster
    }

    /// Starts everything over what is there; `options` are further ones of the script.
    pub fn start_again(&self, options: &[&str]) {
        let (base, gateway) = (self.base.to_string(), self.gateway().to_string());
        let mut all = vec!["--port", &base, "--gateway", &gateway, "--binary", env!("CARGO_BIN_EXE_hongbao")];
        all.extend(options);
        self.script("start", &all);
    }

    /// Ends everything, in good order.
    pub fn stop(&self) {
        self.script("stop", &[]);
    }

    /// Starts processes again that have ended, and waits until they listen.
    pub fn run(&self, names: &[&str]) {
        let us = std::process::id().to_string();
        self.script("run", &[&["--watch", &us], names].concat());
    }

    fn script(&self, command: &str, arguments: &[&str]) {
        let done = self.script_command(command, arguments).output().unwrap();
        let said = format!("{}{}", text(&done.stdout), text(&done.stderr));
        assert!(done.status.success(), "ops/cluster.sh {command} {arguments:?}: {said}");
    }

    fn script_command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut script = Command::new(hongbao_parts::ops_dir().join("cluster.sh"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HONGBAO_")) {
            script.env_remove(name);
        }
        script.arg(command).arg("--data").arg(self.folder.path()).args(arguments).stdin(Stdio::null());
        script
    }

    /// A file or folder of the installation.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a process has logged.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("log/{name}.log"))).unwrap_or_default()
    }

    /// Sends a signal to a process, at once; its id.
    pub fn signal(&self, name: &str, signal: Signal) -> Pid {
        let file = std::fs::read_to_string(self.path(&format!("run/{name}.pid")));
        let file = file.unwrap_or_else(|error| panic!("{name} does not run: {error}"));
        let pid = file.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        let pid = pid.expect("the script writes a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{name} does not run: {error}"));
        pid
    }

    /// `kill -9`; it is gone afterwards.
    pub fn kill(&self, name: &str) {
        self.end(name, Signal::KILL);
    }

    /// Asks a process to go, and waits until it is gone.
    pub fn terminate(&self, name: &str) {
        self.end(name, Signal::TERM);
    }

    fn end(&self, name: &str, signal: Signal) {
        let pid = self.signal(name, signal).as_raw_nonzero();
        wait_until(ENDED_WITHIN, &format!("{name} to end"), || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            // One that nobody has waited for yet has ended too.
            stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
        });
    }

    /// Where the gateway listens.
    pub fn gateway(&self) -> SocketAddr {
        self.at(GATEWAY)
    }

    /// Where a second gateway may listen.
    pub fn second_gateway(&self) -> SocketAddr {
        self.at(SECOND_GATEWAY)
    }

    fn at(&self, offset: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base + offset))
    }

    /// What tokens are signed with.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The names of the SETs.
    pub fn sets(&self) -> Vec<&str> {
        self.file.sets.iter().map(|set| set.name.as_str()).collect()
    }

    /// The SET, by its number, that holds an envelope.
    pub fn set_of(&self, id: &str) -> usize {
        let slot = EnvelopeId::parse(id).expect("the service gives ids").placement(ZONE_OFFSET_S).slot;
        let holds = |set: &SetEntry| set.slots.slots().contains(&slot);
        self.file.sets.iter().position(holds).expect("every slot has a SET")
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
        topology.check().unwrap();
        std::fs::write(self.path("topology.new"), toml::to_string(&topology).unwrap()).unwrap();
        std::fs::rename(self.path("topology.new"), self.path("topology.toml")).unwrap();
    }

    /// Where a server listens.
    pub fn address_of(&self, name: &str) -> SocketAddr {
        let topology = self.topology();
        topology.server(name).expect("it is in the topology").1.address
    }

    /// Where the Redis of a SET listens.
    pub fn cache_of(&self, set: &str) -> SocketAddr {
        let topology = self.topology();
        let entry = topology.sets.iter().find(|entry| entry.name == set).expect("there is such a SET");
        let url = entry.cache.as_deref().expect("the script gives it one");
        url.trim_start_matches("redis://").parse().expect("the script writes an address")
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
        let socket = self.path(database).join("mysqld.sock");
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-u", "root", "-e", sql, "-S"]).arg(socket);
        let done = client.output().unwrap();
        assert!(done.status.success(), "{sql}: {}", text(&done.stderr));
    }

    /// The binary over this installation's settings.
    pub fn hongbao(&self, command: &str, settings: &str, more: &[&str]) -> Command {
        let mut process = hongbao(&[command, "--config"]);
        process.arg(self.path(settings)).args(more);
        process
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
        let ended = self.script_command("stop", &[]).status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("ops/cluster.sh stop failed");
        }
    }
}

/// The first port of a range in which nobody listens.
fn free_base() -> u16 {
    let steps = (BASES.len() / BASE_STEP) as u32;
    let first = std::process::id() % steps;
    let bases = (0..steps).map(|step| BASES.start + ((first + step) % steps) as u16 * BASE_STEP as u16);
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut bases = bases.into_iter();
    bases.find(|base| (*base..=base + SECOND_GATEWAY).all(is_free)).expect("some ports are free")
}
