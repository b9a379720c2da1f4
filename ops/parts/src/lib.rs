//! Private instances of the real servers that Hongbao stands on, for tests and
//! benchmarks: each on a free port of loopback, with a folder of its own, gone
//! when its value is dropped or when this process ends, however it ends.
//!
//! How each is started stands in `ops/parts.sh`, which the local cluster uses too.

mod stall;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

pub use stall::LogStall;

/// How long a server may take until it accepts connections.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The node that a cluster begins with is started with it.
const NEW_CLUSTER: &str = "--wsrep-new-cluster";

/// One running server.
pub struct Part {
    child: Child,
    port: u16,
    start: Vec<String>,
    /// Set in its environment at every start.
    environment: Vec<(String, String)>,
    dir: PathBuf,
    /// The folder that goes when the part goes; absent when the caller named one.
    _own_dir: Option<tempfile::TempDir>,
}

impl Part {
    /// A MariaDB with full durability on an empty folder of its own; `options`
    /// are further options of `mariadbd`. The user `hongbao`, password
    /// `hongbao`, may make databases whose names begin with `db_` or `wallet_`;
    /// `root` has no password.
    pub fn mariadb(options: &[&str]) -> Part {
        let dir = own_dir();
        let path = dir.path().to_owned();
        Part::launch("mariadb", Some(path), Some(dir), options, Vec::new())
    }

    /// The same, whose log can be stalled: see [`Part::stall_log`]. `files` are
    /// parts of the names of the files that count as its log, with commas;
    /// InnoDB's redo log is `ib_logfile0`.
    pub fn mariadb_with_a_log_that_stalls(files: &str, options: &[&str]) -> Part {
        let dir = own_dir();
        let path = dir.path().to_owned();
        let environment = stall::environment(&path, files);
        let options = [stall::OPTIONS, options].concat();
        Part::launch("mariadb", Some(path), Some(dir), &options, environment)
    }

    /// A memcached.
    pub fn memcached() -> Part {
        Part::launch("memcached", None, Some(own_dir()), &[], Vec::new())
    }

    /// A Redis.
    pub fn redis() -> Part {
        Part::redis_with(&[])
    }

    /// A Redis with further options of `redis-server`; a later one wins.
    pub fn redis_with(options: &[&str]) -> Part {
        let dir = own_dir();
        let path = dir.path().to_owned();
        Part::launch("redis", Some(path), Some(dir), options, Vec::new())
    }

    /// Three MariaDB nodes of one Galera cluster, all of them in it. A node that
    /// was killed and is started again has caught up with the others when
    /// [`Part::restart`] returns. The redo log of each can be stalled: see
    /// [`Part::stall_log`].
    pub fn galera() -> [Part; 3] {
        install();
        // Between themselves they use the three ports behind the one for clients.
        let ports = [(); 3].map(|()| free_port_run(4));
        let peers = ports.map(|port| format!("127.0.0.1:{}", port + 1)).join(",");
        let mut number = 0;
        let mut nodes = ports.map(|port| {
            let dir = own_dir();
            let mut start =
                vec!["galera".to_owned(), dir.path().display().to_string(), port.to_string(), peers.clone()];
            number += 1;
            if number == 1 {
                start.push(NEW_CLUSTER.to_owned());
            }
            let environment = stall::environment(dir.path(), "ib_logfile0");
            let child = spawn(&start, &environment, dir.path());
            // It makes a cluster once; when it is started again it joins the others.
            start.retain(|word| word != NEW_CLUSTER);
            let mut node = Part { child, port, start, environment, dir: dir.path().to_owned(), _own_dir: Some(dir) };
            if number == 1 {
                node.wait_until_ready();
            }
            node
        });
        nodes.iter_mut().for_each(Part::wait_until_ready);
        nodes
    }

    fn launch(
        kind: &str,
        dir: Option<PathBuf>,
        own_dir: Option<tempfile::TempDir>,
        options: &[&str],
        environment: Vec<(String, String)>,
    ) -> Part {
        install();
        let port = free_port();
        let mut start = vec![kind.to_owned()];
        start.extend(dir.as_ref().map(|dir| dir.display().to_string()));
        start.push(port.to_string());
        start.extend(options.iter().map(|option| option.to_string()));
        let dir = dir.or_else(|| own_dir.as_ref().map(|dir| dir.path().to_owned())).expect("every part has a folder");
        let child = spawn(&start, &environment, &dir);
        let mut part = Part { child, port, start, environment, dir, _own_dir: own_dir };
        part.wait_until_ready();
        part
    }

    /// Where it listens on TCP.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// `host:port`.
    pub fn node(&self) -> String {
        self.address().to_string()
    }

    /// MariaDB's unix socket, as the topology file names it.
    pub fn unix_node(&self) -> String {
        format!("unix:{}", self.dir.join("mysqld.sock").display())
    }

    /// Its folder; `log` in it is what the server has written.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port and folder, and waits until it is ready.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.start, &self.environment, &self.dir);
        self.wait_until_ready();
    }

    /// Stops it without ending it: connections stay open, and nobody answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`Part::pause`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} could not be sent");
    }

    fn wait_until_ready(&mut self) {
        let until = Instant::now() + READY_WITHIN;
        while !self.is_ready() {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "{:?} ended with {ended:?}: {}", self.start, self.log());
            assert!(Instant::now() < until, "{:?} is not ready: {}", self.start, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self) -> bool {
        if self.start[0] != "galera" {
            return TcpStream::connect(self.address()).is_ok();
        }
        let mut ask = Command::new(ops_dir().join("parts.sh"));
        let state = ask.arg("galera-status").arg(&self.dir).arg("wsrep_local_state_comment").output();
        state.is_ok_and(|state| state.stdout.starts_with(b"Synced"))
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    free_port_run(1)
}

/// The first of so many ports in a row that were free a moment ago. They lie
/// below those that the kernel gives to outgoing connections, so that they are
/// still free when a server that was killed is started again.
fn free_port_run(count: u16) -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: OnceLock<Mutex<u16>> = OnceLock::new();
    // Processes that run at the same time begin at different places.
    let next = NEXT.get_or_init(|| Mutex::new((std::process::id() % 1_200) as u16 * 10));
    let mut next = next.lock().expect("nobody panics with the lock");
    for _ in 0..COUNT {
        let port = FIRST + *next % (COUNT - count);
        *next = (*next + count) % COUNT;
        if (port..port + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return port;
        }
    }
    panic!("no port is free");
}

/// The checkout's folder `ops`.
pub fn ops_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in ops").to_owned()
}

/// Writes a script that can be run. Another process writes it: a file that this
/// one has open for writing is open in every child that another thread starts
/// meanwhile, and cannot be executed until all of them have begun their own
/// program (`ETXTBSY`).
pub fn write_executable(path: &Path, text: &str) {
    let mut install = Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().expect("install is part of coreutils");
    let written = install.stdin.take().expect("it is piped").write_all(text.as_bytes());
    let done = install.wait().expect("it was started");
    assert!(written.is_ok() && done.success(), "{}: {written:?}, {done}", path.display());
}

/// Installs what is missing from Debian's packages, once a process.
pub fn install() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let done = Command::new(ops_dir().join("parts.sh")).arg("install").status();
        assert!(done.is_ok_and(|status| status.success()), "ops/parts.sh install failed");
    });
}

fn own_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("hongbao-part-").tempdir().expect("a temporary folder can be made");
    remove_at_the_end(dir.path());
    dir
}

/// Sees to it that a folder goes when this process ends, even if it is killed or
/// the value that owns the folder is a static, which nobody drops: a shell reads
/// folders from us until there is nobody to read from.
fn remove_at_the_end(dir: &Path) {
    const REMOVE: &str = "trap '' INT TERM; while read -r dir; do dirs+=(\"$dir\"); done; \
                          for wait in 0.5 2 5; do sleep $wait; rm -rf \"${dirs[@]}\" && exit; done";
    static SHELL: OnceLock<Mutex<Child>> = OnceLock::new();
    let shell = SHELL.get_or_init(|| {
        let mut command = Command::new("bash");
        command.args(["-c", REMOVE]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Mutex::new(spawn_command(command).expect("bash can be started"))
    });
    let mut shell = shell.lock().expect("nobody panics with the lock");
    let folders = shell.stdin.as_mut().expect("its input is ours");
    writeln!(folders, "{}", dir.display()).expect("the shell reads until we end");
}

fn spawn(start: &[String], environment: &[(String, String)], dir: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log"));
    let log = log.expect("a part's folder can be written");
    let mut command = Command::new(ops_dir().join("parts.sh"));
    command.args(start);
    let mut command = bound(&command);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file handle can be copied")).stderr(log);
    spawn_command(command).unwrap_or_else(|error| panic!("{start:?} cannot be started: {error}"))
}

/// Runs in the place of a command that must end with us: after the kernel was asked
/// to end it, it looks whether who asked is still there, for a parent that was gone
/// before would never be missed.
const BOUND: &str = "[ \"$PPID\" = \"$0\" ] && exec \"$@\"; exit 1";

/// The same command, ended by the kernel when this process ends, however it ends;
/// to be started with [`spawn_command`]. What stands on its input and outputs is
/// not taken over.
///
/// The kernel forgets it where the program has more rights than we (set-user-ID).
pub fn bound(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--", "sh", "-c", BOUND]).arg(std::process::id().to_string());
    bound.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        bound.current_dir(dir);
    }
    bound
}

type Job = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Starts a process from a thread that lives as long as this process. A child
/// that asked for a signal at its parent's death (`setpriv --pdeathsig`) gets
/// it when the *thread* ends that started it, and a test's thread ends early.
pub fn spawn_command(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::SyncSender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(1);
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Whoever asked is waiting for it.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let (answer, child) = mpsc::sync_channel(1);
    let jobs = spawner.lock().expect("nobody panics with the lock").clone();
    jobs.send((command, answer)).expect("the spawner never ends");
    child.recv().expect("the spawner answers every job")
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;

    use super::*;

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
    fn a_command_whose_parent_is_gone_already_does_not_begin() {
        let mut command = Command::new("echo");
        command.arg("it has begun").env("A_WORD", "here").current_dir("/");
        let run = |command: &Command| {
            let mut spawned = Command::new(command.get_program());
            spawned.args(command.get_args()).stdout(Stdio::piped());
            let output = spawn_command(spawned).expect("setpriv is there").wait_with_output().expect("it ends");
            String::from_utf8(output.stdout).expect("it is text")
        };
        let bound = bound(&command);
        assert!(bound.get_envs().any(|(name, value)| name == "A_WORD" && value.is_some_and(|value| value == "here")));
        assert_eq!(bound.get_current_dir(), Some(Path::new("/")));
        assert_eq!(run(&bound), "it has begun\n");
        // The same for a parent that is not ours.
        let us = std::process::id().to_string();
        let mut orphan = Command::new(bound.get_program());
        orphan.args(bound.get_args().map(|word| if word.to_str() == Some(&us) { "1".as_ref() } else { word }));
        assert_eq!(run(&orphan), "");
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
}
