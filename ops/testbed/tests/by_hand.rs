//! `hongbao-testbed` as an operator calls it, on an installation whose own processes are
//! played by memcached: databases, Redis and the relays are real.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
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

/// What was started; ended when it is dropped.
struct Testbed<'a>(&'a Path);

impl Testbed<'_> {
    fn call(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hongbao-testbed"));
        let done = command.arg("--data").arg(self.0).args(arguments).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8(said).unwrap())
    }

    fn does(&self, arguments: &[&str]) -> String {
        let (done, said) = self.call(arguments);
        assert!(done, "{arguments:?}: {said}");
        said
    }

    fn status(&self, part: &str) -> String {
        let status = self.does(&["status"]);
        let line = status.lines().find(|line| line.split_whitespace().next() == Some(part));
        line.unwrap_or_else(|| panic!("no {part} in {status}")).to_owned()
    }
}

impl Drop for Testbed<'_> {
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
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("hongbao");
    write_executable(&binary, STAND_IN);
    let data = dir.path().join("data");
    let testbed = Testbed(&data);
    let port = free_ports(30);
    let (first, gateway) = ((port + 1).to_string(), format!("127.0.0.1:{port}"));
    let place = ["--port", &first, "--gateway", &gateway, "--binary", binary.to_str().unwrap()];
    // What the test cannot stop, because it was killed, ends with it.
    let until = std::process::id().to_string();
    testbed.does(&[&["start", "--sets", "1", "--faults", "--until", &until], &place[..]].concat());
    let (done, said) = testbed.call(&[&["start", "--sets", "1"], &place[..]].concat());
    assert!(!done && said.contains("runs already"), "{said}");
    let installation = Installation::open(&data).unwrap();
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

    let sql = |sql: &str| {
        let done = installation.sql_client("a-mariadb", sql).output().unwrap();
        String::from_utf8([done.stdout, done.stderr].concat()).unwrap()
    };
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
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("hongbao");
    write_executable(&binary, STAND_IN);
    let data = dir.path().join("data");
    let testbed = Testbed(&data);
    let port = free_ports(30);
    let (first, gateway) = ((port + 1).to_string(), format!("127.0.0.1:{port}"));
    let mut waited_for = Command::new("sleep").arg("60").spawn().unwrap();
    let until = waited_for.id().to_string();
    let place = ["--port", &first, "--gateway", &gateway, "--binary", binary.to_str().unwrap(), "--until", &until];
    testbed.does(&[&["start", "--sets", "1"], &place[..]].concat());
    assert!(testbed.status("a-mariadb").contains("process "));
    waited_for.kill().unwrap();
    waited_for.wait().unwrap();
    wait_until("everything has ended", || testbed.does(&["status"]).lines().all(|line| line.ends_with("not running")));
}
