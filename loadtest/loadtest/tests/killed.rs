//! A load test that is killed takes what it has started with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For a cluster to be started, on a busy machine.
const STARTED_WITHIN: Duration = Duration::from_secs(120);
/// For all of it to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// Ended when it is dropped.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Process {
        Process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What `/proc` says of a process that has not ended: its parent and its start.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    (fields[0] != "Z").then_some(())?;
    Some((fields[1].parse().ok()?, fields[19].parse().ok()?))
}

/// The numbers of a cluster's processes, somewhere below this folder.
fn written_down(dir: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let of_path = |path: PathBuf| match path.is_dir() {
        true => written_down(&path),
        false if path.parent().is_some_and(|parent| parent.ends_with("run")) => {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.split_whitespace().next().and_then(|pid| pid.parse().ok()).into_iter().collect()
        }
        false => Vec::new(),
    };
    paths.flat_map(of_path).collect()
}

/// The start of every process that names this folder, is written down in it or is a
/// child of `parent`, by its number.
fn of(dir: &Path, parent: u32) -> BTreeMap<u32, u64> {
    let written = written_down(dir);
    let dir = dir.to_str().unwrap().as_bytes();
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let of_it = |pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != parent && command.windows(dir.len()).any(|part| part == dir)
    };
    let is_child = |pid: u32| stat(pid).is_some_and(|(ppid, _)| ppid == parent);
    let found = processes.filter(|pid| of_it(pid) || is_child(*pid) || written.contains(pid));
    found.filter_map(|pid| Some((pid, stat(pid)?.1))).collect()
}

/// Starts a long run, waits until `is_started` says so of its folder, kills it,
/// and waits until all of its processes are gone and no other one is.
fn killed(arguments: &[&str], is_started: impl Fn(&Path) -> bool, least: usize) {
    let dir = tempfile::tempdir().unwrap();
    // Of the same name as one of them, and none of them.
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign_binary = elsewhere.path().join("hongbao");
    std::os::unix::fs::symlink("/bin/sleep", &foreign_binary).unwrap();
    let mut foreign = Process::start(Command::new(&foreign_binary).arg("600"));
    let mut run = Command::new(env!("CARGO_BIN_EXE_hongbao-loadtest"));
    run.args(["run", "hot", "--rate", "50", "--seconds", "600"]).args(arguments);
    run.arg("--server")
        .arg(hongbao_load_testkit::service(env!("CARGO_BIN_EXE_hongbao-loadtest")))
        .arg("--data")
        .arg(dir.path());
    let mut run = Process::start(&mut run);
    let until = Instant::now() + STARTED_WITHIN;
    while !is_started(dir.path()) {
        assert!(run.0.try_wait().unwrap().is_none(), "the load test has ended");
        assert!(Instant::now() < until, "it does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let processes = of(dir.path(), run.0.id());
    assert!(processes.len() >= least, "{processes:?}");
    run.kill();
    let until = Instant::now() + GONE_WITHIN;
    loop {
        // Also what was started meanwhile.
        let left = of(dir.path(), run.0.id());
        let still: Vec<_> =
            processes.iter().filter(|(pid, start)| stat(**pid).is_some_and(|(_, is)| is == **start)).collect();
        if left.is_empty() && still.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "still there: {left:?} {still:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(foreign.0.try_wait().unwrap().is_none(), "a foreign process was ended");
}

/// Whether a file of that name, somewhere below the folder, is there.
fn has(dir: &Path, name: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    let paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.iter().any(|path| path.ends_with(name) || (path.is_dir() && has(path, name)))
}

#[test]
fn the_service_that_a_killed_load_test_started_is_gone() {
    killed(&["--embedded"], |dir| has(dir, "wallet_00.sqlite"), 1);
}

#[test]
fn the_cluster_that_a_killed_load_test_started_is_gone() {
    // Two databases, Redis, two servers with a memcached each, two workers, the gateway.
    killed(&["--cluster", "--sets", "1"], |dir| has(dir, "run/gateway.pid"), 10);
}

#[test]
fn a_cluster_that_is_only_being_started_is_gone_too() {
    killed(&["--cluster", "--sets", "1"], |dir| has(dir, "run/a-redis.pid"), 2);
}
