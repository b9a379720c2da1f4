//! `hongbao-testbed` as an operator calls it, on an installation whose own processes are
//! played by memcached: databases, Redis and the relays are real.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use hongbao_testbed::{Installation, free_ports, write_executable};

/// Plays `hongbao ROLE --config FILE --name NAME`: listens where the topology says.
const STAND_IN: &str = r#"#!/usr/bin/env bash
[ "$1" != migrate ] || exit 0
port=$(grep -A1 "name = \"$5\"" "$(dirname "$3")/topology.toml" | grep -o 'address = "[^"]*' | head -n 1 | grep -o '[0-9]*$')
exec memcached -u "$(id -un)" -l 127.0.0.1 -p "$port" -U 0
"#;
/// For what is sure to come.
const SURE_WITHIN: Duration = Duration::from_secs(20);
const DELAY: Duration = Duration::from_millis(120);

/// An installation of one SET on free ports; stopped when it is dropped.
struct Testbed {
    dir: tempfile::TempDir,
    ports: u16,
}

impl Testbed {
    fn new(stand_in: &str) -> Testbed {
        let testbed = Testbed { dir: tempfile::tempdir().unwrap(), ports: free_ports(30) };
        write_executable(&testbed.binary(), stand_in);
        testbed
    }

    fn binary(&self) -> PathBuf {
        self.dir.path().join("hongbao")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts it with further options; what the test cannot stop, because it was killed, ends with `until`.
    fn start(&self, until: u32, options: &[&str]) -> (bool, String) {
        let (first, gateway) = ((self.ports + 1).to_string(), format!("127.0.0.1:{}", self.ports));
        let (binary, until) = (self.binary(), until.to_string());
        let place = ["--port", &first, "--gateway", &gateway, "--binary", binary.to_str().unwrap(), "--until", &until];
        self.call(&[&["start", "--sets", "1"], &place[..], options].concat())
    }

    fn call(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hongbao-testbed"));
        let done = command.arg("--data").arg(self.data()).args(arguments).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8(said).unwrap())
    }

    fn does(&self, arguments: &[&str]) -> String {
        let (done, said) = self.call(arguments);
        assert!(done, "{arguments:?}: {said}");
        said
    }

    /// What a database prints for a statement, errors included.
    fn sql(&self, database: &str, sql: &str) -> String {
        let done = Installation::open(&self.data()).unwrap().sql_client(database, sql).output().unwrap();
        String::from_utf8([done.stdout, done.stderr].concat()).unwrap()
    }

    fn status(&self, part: &str) -> String {
        let status = self.does(&["status"]);
        let line = status.lines().find(|line| line.split_whitespace().next() == Some(part));
        line.unwrap_or_else(|| panic!("no {part} in {status}")).to_owned()
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.call(&["stop"]);
    }
}

/// How long a part takes to answer, if it does within half a second.
fn answers(address: SocketAddr, question: &str) -> Option<Duration> {
    let since = Instant::now();
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(question.as_bytes()).ok()?;
    let read = stream.read(&mut [0; 64]).ok()?;
    (read > 0).then(|| since.elapsed())
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + SURE_WITHIN;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn parts_are_killed_paused_slowed_cut_and_filled_by_hand_and_come_back() {
    let testbed = Testbed::new(STAND_IN);
    let (done, said) = testbed.start(std::process::id(), &["--faults"]);
    assert!(done, "{said}");
    let (done, said) = testbed.start(std::process::id(), &[]);
    assert!(!done && said.contains("runs already"), "{said}");
    let installation = Installation::open(&testbed.data()).unwrap();
    assert!(installation.description().parts().iter().all(|part| testbed.status(&part.name).contains("process ")));

    let redis = installation.description().relays().into_iter().find(|relay| relay.part == "a-redis").unwrap().listen;
    let ping = || answers(redis, "PING\r\n");
    assert!(ping().is_some());
    testbed.does(&["cut", "a-redis"]);
    wait_until("nothing comes through", || ping().is_none());
    testbed.does(&["resume", "a-redis"]);
    wait_until("it is whole again", || ping().is_some());
    testbed.does(&["slow", "a-redis", &DELAY.as_millis().to_string()]);
    wait_until("it is slow both ways", || ping().is_some_and(|time| time >= 2 * DELAY));
    testbed.does(&["resume", "a-redis"]);
    wait_until("it is fast again", || ping().is_some_and(|time| time < DELAY));
    let (done, said) = testbed.call(&["cut", "gateway"]);
    assert!(!done && said.contains("the links to gateway go through no relay"), "{said}");

    let memcached = installation.address("a1-memcached");
    testbed.does(&["pause", "a1-memcached"]);
    assert_eq!(answers(memcached, "version\r\n"), None);
    testbed.does(&["resume", "a1-memcached"]);
    wait_until("it goes on", || answers(memcached, "version\r\n").is_some());

    let sql = |sql: &str| testbed.sql("a-mariadb", sql);
    sql("CREATE DATABASE db_full; CREATE TABLE db_full.t (a LONGBLOB)");
    let grow = "INSERT INTO db_full.t SELECT REPEAT('x', 100000) FROM db_full.seq_1_to_150";
    assert_eq!(sql(grow), "");
    testbed.does(&["fill", "a-mariadb"]);
    assert!(sql(grow).contains("is full"));
    testbed.does(&["resume", "a-mariadb"]);
    assert_eq!(sql(grow), "");

    let before = testbed.status("a1");
    testbed.does(&["kill", "a1"]);
    assert!(testbed.status("a1").ends_with("not running"));
    testbed.does(&["run", "a1"]);
    assert!(testbed.status("a1").contains("process ") && testbed.status("a1") != before);
    testbed.does(&["stop", "a1", "a-w2"]);
    assert!(testbed.status("a-w2").ends_with("not running"));
    testbed.does(&["stop"]);
    assert!(installation.description().parts().iter().all(|part| testbed.status(&part.name).ends_with("not running")));
    assert!(installation.processes().pid("relays").is_err());
}

#[test]
fn what_was_started_until_a_process_ends_ends_with_it() {
    let testbed = Testbed::new(STAND_IN);
    let mut waited_for = Command::new("sleep").arg("60").spawn().unwrap();
    let (done, said) = testbed.start(waited_for.id(), &[]);
    assert!(done, "{said}");
    assert!(testbed.status("a-mariadb").contains("process "));
    waited_for.kill().unwrap();
    waited_for.wait().unwrap();
    wait_until("everything has ended", || testbed.does(&["status"]).lines().all(|line| line.ends_with("not running")));
}

#[test]
fn a_start_that_fails_leaves_nothing_running() {
    let testbed = Testbed::new("#!/usr/bin/env bash\necho no such table\nexit 1\n");
    let (done, said) = testbed.start(std::process::id(), &["--faults"]);
    assert!(!done && said.contains("migrate: "), "{said}");
    let installation = Installation::open(&testbed.data()).unwrap();
    assert!(installation.processes().pid("relays").is_err());
    assert!(testbed.does(&["status"]).lines().all(|line| line.ends_with("not running")));
}

#[test]
fn a_galera_cluster_whose_nodes_all_die_comes_back_with_what_was_committed() {
    let nodes = ["a-mariadb1", "a-mariadb2", "a-mariadb3"];
    let testbed = Testbed::new(STAND_IN);
    let start = || {
        let (done, said) = testbed.start(std::process::id(), &["--galera", "--bare"]);
        assert!(done, "{said}");
    };
    start();
    testbed.sql(nodes[0], "CREATE DATABASE db_kept; CREATE TABLE db_kept.t (a INT PRIMARY KEY)");
    assert_eq!(testbed.sql(nodes[1], "INSERT INTO db_kept.t VALUES (1)"), "");
    testbed.does(&[&["kill"], &nodes[..]].concat());
    testbed.does(&["stop"]);
    start();
    for node in nodes {
        wait_until("all nodes are in the cluster", || testbed.status(node).contains("Synced, 3 in the cluster"));
        assert_eq!(testbed.sql(node, "SELECT a FROM db_kept.t").trim(), "1");
    }
}
