//! Faults of a real installation, except that Hongbao's processes are played by
//! memcached: MariaDB, Redis, the relays and the schedule are real.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;
use crate::service::{Cluster, Wanted};

/// Plays `hongbao ROLE --config FILE --name NAME`: listens where the topology says.
const STAND_IN: &str = r#"#!/usr/bin/env bash
[ "$1" != migrate ] || exit 0
port=$(grep -A1 "name = \"$5\"" "$(dirname "$3")/topology.toml" | grep -o 'address = "[^"]*' | head -n 1 | grep -o '[0-9]*$')
exec memcached -u "$(id -un)" -l 127.0.0.1 -p "$port" -U 0
"#;

/// All that is done in these tests, one after the other.
const ALL: &str = r#"
    [[fault]]
    at = "0s"
    do = "kill"
    part = "a1"
    for = "400ms"

    [[fault]]
    at = "0s"
    do = "stop"
    part = "a-w1"
    for = "400ms"

    [[fault]]
    at = "0s"
    do = "pause"
    part = "a1-memcached"
    for = "400ms"

    [[fault]]
    at = "0s"
    do = "slow"
    part = "a-mariadb"
    for = "400ms"
    delay = "70ms"

    [[fault]]
    at = "0s"
    do = "partition"
    part = "a-redis"
    for = "400ms"

    [[fault]]
    at = "0s"
    do = "partition"
    part = "a1"
    for = "400ms"

    [[fault]]
    at = "0s"
    do = "fill"
    part = "a-mariadb"
    for = "400ms"

    [[fault]]
    at = "60m"
    do = "kill"
    part = "gateway"
    for = "1s"
"#;
const ALL_LASTS: Duration = Duration::from_millis(400);

struct Trial {
    schedule: Schedule,
    cluster: Cluster,
    dir: PathBuf,
}

impl Trial {
    fn start(dir: &Path) -> Trial {
        let binary = dir.join("hongbao");
        hongbao_testbed::write_executable(&binary, STAND_IN);
        let file = dir.join("night.toml");
        fs::write(&file, ALL).unwrap();
        let schedule = Schedule::read("faults", &file).unwrap();
        let wanted = Wanted { shares_max: 100, ..Wanted::default() };
        let cluster = Cluster::start_for(&schedule, &binary, dir, 1, &wanted).unwrap();
        Trial { schedule, cluster, dir: dir.join("cluster") }
    }

    fn fault(&self, kind: &str, part: &str) -> &Fault {
        let fault = self.schedule.faults().iter().find(|fault| fault.kind.to_string() == kind && fault.part == part);
        fault.unwrap_or_else(|| panic!("{kind} {part} is part of the schedule"))
    }

    /// Looks at a part while a fault is in force.
    fn during(&self, kind: &str, part: &str, look: impl FnOnce()) {
        let fault = self.fault(kind, part);
        let site = self.cluster.site(&self.schedule);
        assert!(site.begin(fault).is_ok());
        look();
        site.undo(fault).unwrap();
    }

    /// The port at which others reach a part, as a file of theirs says.
    fn port_in(&self, file: &str, before: &str) -> u16 {
        let text = fs::read_to_string(self.dir.join(file)).unwrap();
        let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} is not in {text}"));
        rest[..rest.find('"').unwrap()].parse().unwrap()
    }

    fn sql(&self, statement: &str) -> String {
        let done = self.cluster.sql_client("a-mariadb", statement).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// How long a part takes to say something, if it does within half a second.
fn answers(port: u16, question: &str) -> Option<Duration> {
    let since = Instant::now();
    let mut stream = TcpStream::connect(local(port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(question.as_bytes()).ok()?;
    let received = stream.read(&mut [0; 64]).ok()?;
    (received > 0).then(|| since.elapsed())
}

#[test]
fn each_kind_of_fault_does_what_it_says_to_a_real_part_and_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let trial = Trial::start(dir.path());
    links_are_slow_or_cut(&trial);
    processes_end_and_come_back(&trial);
    a_full_disk_refuses_rows_and_takes_them_afterwards(&trial);
    a_schedule_keeps_its_times_and_leaves_nothing_behind(&trial);

    let kill = trial.fault("kill", "a1").clone();
    let site = trial.cluster.site(&trial.schedule);
    assert!(site.begin(&kill).is_ok());
    drop(trial.cluster);
    let message = site.undo(&kill).unwrap_err().to_string();
    assert_eq!(message, "a1 is not started again: the installation has been stopped");
}

fn links_are_slow_or_cut(trial: &Trial) {
    let mariadb = trial.port_in("topology.toml", "database = [\"127.0.0.1:");
    assert!(answers(mariadb, "").is_some());
    trial.during("slow", "a-mariadb", || assert!(answers(mariadb, "").unwrap() >= Duration::from_millis(70)));

    let redis = trial.port_in("topology.toml", "cache = \"redis://127.0.0.1:");
    trial.during("partition", "a-redis", || assert_eq!(answers(redis, "PING\r\n"), None));
    assert!(answers(redis, "PING\r\n").is_some());

    let (own, relay) = (
        trial.port_in("topology.toml", "name = \"a1\"\naddress = \"127.0.0.1:"),
        trial.port_in("topology-gateway.toml", "name = \"a1\"\naddress = \"127.0.0.1:"),
    );
    assert_ne!(own, relay, "a server listens at its port, and the gateway asks its relay");
    let environment = fs::read(format!("/proc/{}/environ", trial.cluster.pid("gateway").unwrap())).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains("HONGBAO_TOPOLOGY="));
    assert!(answers(relay, "version\r\n").is_some());
    trial.during("partition", "a1", || {
        assert_eq!(answers(relay, "version\r\n"), None);
        assert!(answers(own, "version\r\n").is_some());
    });
}

fn processes_end_and_come_back(trial: &Trial) {
    let processes = trial.cluster.processes();
    for (kind, part) in [("kill", "a1"), ("stop", "a-w1")] {
        let first = processes.pid(part).unwrap();
        let used = trial.cluster.cpu_time().unwrap();
        trial.during(kind, part, || {
            assert!(processes.pid(part).is_err());
            assert!(trial.cluster.cpu_time().unwrap() >= used, "what it used is not forgotten");
        });
        assert_ne!(processes.pid(part).unwrap(), first);
    }
    let memcached = trial.port_in("topology.toml", "memcached = \"127.0.0.1:");
    assert!(answers(memcached, "version\r\n").is_some());
    trial.during("pause", "a1-memcached", || assert_eq!(answers(memcached, "version\r\n"), None));
    assert!(answers(memcached, "version\r\n").is_some());
}

fn a_full_disk_refuses_rows_and_takes_them_afterwards(trial: &Trial) {
    trial.sql("CREATE DATABASE db_full; CREATE TABLE db_full.t (a LONGBLOB)");
    // So that its tables are larger than its log.
    let grow = "USE db_full; INSERT INTO t SELECT REPEAT('x', 100000) FROM seq_1_to_150";
    assert_eq!(trial.sql(grow), "");
    trial.during("fill", "a-mariadb", || {
        let message = trial.sql(grow);
        assert!(message.contains("is full"), "{message}");
        assert_eq!(trial.sql("SELECT COUNT(*) FROM db_full.t"), "150\n", "it can be read");
    });
    assert_eq!(trial.sql(grow), "");
}

fn a_schedule_keeps_its_times_and_leaves_nothing_behind(trial: &Trial) {
    let started = Instant::now();
    let running = trial.schedule.start(trial.cluster.site(&trial.schedule), started).unwrap();
    while running.threads.iter().filter(|(_, _, thread)| thread.is_finished()).count() < 7 {
        assert!(started.elapsed() < Duration::from_secs(60), "they do not end");
        std::thread::sleep(LOOK);
    }
    let done = running.finish();
    let names: Vec<String> = done.iter().map(|fault| format!("{} {}", fault.kind, fault.part)).collect();
    assert_eq!((done.len(), names.last().unwrap().as_str()), (8, "kill gateway"), "{names:?}");
    for fault in &done[..7] {
        assert_eq!(fault.error, None, "{fault:?}");
        // The machine may be busy, but nothing is undone early.
        assert!(fault.until_s >= fault.at_s + 0.4, "{fault:?}");
    }
    assert_eq!(done[7].error.as_deref(), Some("the run was over before its time"));

    // A run that ends early undoes what is in force, at once.
    let running = trial.schedule.start(trial.cluster.site(&trial.schedule), Instant::now()).unwrap();
    std::thread::sleep(ALL_LASTS / 2);
    drop(running);
    for part in ["a1", "a-w1", "a1-memcached", "a-mariadb", "a-redis", "gateway"] {
        assert!(trial.cluster.processes().pid(part).is_ok(), "{part} runs");
    }
    let relay = trial.port_in("topology-gateway.toml", "name = \"a1\"\naddress = \"127.0.0.1:");
    let until = Instant::now() + Duration::from_secs(5);
    while answers(relay, "version\r\n").is_none() {
        assert!(Instant::now() < until, "the links to a1 are whole and it listens");
    }
}
