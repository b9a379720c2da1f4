//! Private servers: they survive a restart, and nothing else of them survives.

use std::io::{self, BufRead as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hongbao_testbed::Part;

/// Run by the next test in a process of its own, which is killed.
#[test]
fn a_part_that_nobody_drops() {
    if std::env::var_os(KEEP_A_PART).is_some() {
        let redis = Part::redis();
        println!("{}", redis.dir().display());
        std::thread::sleep(Duration::from_secs(30));
    }
}

const KEEP_A_PART: &str = "HONGBAO_PARTS_KEEP_A_PART";

#[test]
fn a_process_that_is_killed_leaves_neither_servers_nor_folders() {
    let this = std::env::current_exe().expect("a test has a binary");
    let mut command = Command::new(this);
    command.args(["a_part_that_nobody_drops", "--nocapture"]).env(KEEP_A_PART, "1").stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary can be started");
    let lines = io::BufReader::new(child.stdout.take().expect("it is ours")).lines();
    let dir = lines.map_while(Result::ok).find(|line| line.starts_with('/')).expect("it names its folder");
    assert!(Path::new(&dir).exists());
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    let is_named_by_a_process = || {
        let found = Command::new("pgrep").args(["--full", &dir]).stdout(Stdio::null()).status();
        found.expect("pgrep can be started").success()
    };
    let until = Instant::now() + Duration::from_secs(20);
    while Path::new(&dir).exists() || is_named_by_a_process() {
        assert!(Instant::now() < until, "{dir} or its server is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_part_answers_survives_a_restart_and_is_gone_when_dropped() {
    let mut redis = Part::redis();
    let address = redis.address();
    redis.restart();
    assert!(TcpStream::connect(address).is_ok());
    drop(redis);
    assert!(TcpStream::connect(address).is_err());
}
