//! A log that stalls, on the real database.

use std::process::Stdio;
use std::time::{Duration, Instant};

use hongbao_testbed::Part;

/// For what is sure to come.
const SURE_WITHIN: Duration = Duration::from_secs(20);
/// Long beyond the time that a commit takes on a busy machine, and its client's start.
const WAITS_FOR: Duration = Duration::from_millis(1_500);

fn with_a_row() -> Part {
    let mariadb = Part::mariadb_with_a_log_that_stalls("ib_logfile0", &["--innodb-buffer-pool-size=32M"]);
    mariadb.sql("CREATE DATABASE db_00; CREATE TABLE db_00.t (id INT PRIMARY KEY, v INT) ENGINE=InnoDB");
    mariadb.sql("INSERT INTO db_00.t VALUES (1, 1)");
    mariadb
}

fn rows(mariadb: &Part) -> String {
    mariadb.sql("SELECT GROUP_CONCAT(id ORDER BY id) FROM db_00.t").trim().to_owned()
}

/// A commit that may well not return; the client's words about that are no use.
fn commit(mariadb: &Part) -> std::process::Child {
    let mut client = mariadb.sql_client("INSERT INTO db_00.t VALUES (2, 2)");
    client.stderr(Stdio::null()).spawn().expect("it is installed")
}

fn wait_until_there(mariadb: &Part, expected: &str) {
    let until = Instant::now() + SURE_WITHIN;
    while rows(mariadb) != expected {
        assert!(Instant::now() < until, "{} instead of {expected}", rows(mariadb));
    }
}

/// What the whole project's barrier is about, on the real database.
#[test]
fn a_commit_whose_log_is_stalled_can_be_read_and_is_gone_after_a_kill() {
    let mut mariadb = with_a_row();
    let stall = mariadb.stall_log();
    let mut client = commit(&mariadb);
    wait_until_there(&mariadb, "1,2");
    stall.wait_until_it_holds_somebody();
    assert!(client.try_wait().expect("it is ours").is_none(), "the commit returned though its log is stalled");
    mariadb.kill();
    client.wait().expect("it is ours");
    drop(stall);
    mariadb.restart();
    assert_eq!(rows(&mariadb), "1", "what could be read did not survive");
}

#[test]
fn a_commit_returns_when_its_log_goes_on_and_survives() {
    let mut mariadb = with_a_row();
    let stall = mariadb.stall_log();
    let began = Instant::now();
    let mut client = commit(&mariadb);
    stall.wait_until_it_holds_somebody();
    while began.elapsed() < WAITS_FOR {
        assert!(client.try_wait().expect("it is ours").is_none(), "the commit returned though its log is stalled");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(stall);
    assert!(client.wait().expect("it is ours").success());
    mariadb.restart();
    assert_eq!(rows(&mariadb), "1,2");
}
