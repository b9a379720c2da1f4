//! One private server, for tests and benches.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::backend::{Backend, BackendServer};
use crate::certificates::CertificateFiles;
use crate::folder::own_dir;
use crate::install::install;
use crate::ports::{free_port, free_ports, local};
use crate::spawn::{bound, log_to, spawn_command};
use crate::stall::{self, LogStall};
use crate::{galera, mariadb};

/// How long a server may take until it is ready.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks whether it is.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// One running server on a free port, with a folder of its own.
pub struct Part {
    child: Child,
    server: BackendServer,
    /// Set in its environment at every start.
    environment: Vec<(String, String)>,
    _own_dir: TempDir,
}

impl Part {
    /// A MariaDB with full durability on an empty folder of its own; `options`
    /// are further options of `mariadbd`. The user `hongbao`, password
    /// `hongbao`, may make databases whose names begin with `db_` or `wallet_`;
    /// `root` has no password.
    pub fn mariadb(options: &[&str]) -> Part {
        Part::launch(Backend::MariaDb, options)
    }

    /// The same, whose log can be stalled: see [`Part::stall_log`]. `files` are
    /// parts of the names of the files that count as its log, with commas;
    /// InnoDB's redo log is `ib_logfile0`.
    pub fn mariadb_with_a_log_that_stalls(files: &str, options: &[&str]) -> Part {
        let options = [stall::OPTIONS, options].concat();
        let mut part = Part::spawn(Backend::MariaDb, free_port(), &options, Some(files), false);
        part.wait_until_ready();
        part
    }

    /// The same with these variables in its environment: those of libfaketime, say.
    pub fn mariadb_in(environment: &[(String, String)]) -> Part {
        let mut part = Part::spawn(Backend::MariaDb, free_port(), &[], None, false);
        part.environment = environment.to_vec();
        part.restart();
        part
    }

    /// A memcached.
    pub fn memcached() -> Part {
        Part::launch(Backend::Memcached, &[])
    }

    /// A Redis.
    pub fn redis() -> Part {
        Part::redis_with(&[])
    }

    /// A Redis with further options of `redis-server`; a later one wins.
    pub fn redis_with(options: &[&str]) -> Part {
        Part::launch(Backend::Redis, options)
    }

    /// A Redis that speaks TLS alone, and asks its clients for certificates of this authority.
    pub fn redis_over_tls(files: &CertificateFiles, authority: &Path) -> Part {
        let [certificate, key, authority] =
            [&*files.certificate, &*files.key, authority].map(|file| file.to_str().expect("plain names"));
        let port = free_port();
        let number = port.to_string();
        let options = [
            ["--port", "0"],
            ["--tls-port", &number],
            ["--tls-cert-file", certificate],
            ["--tls-key-file", key],
            ["--tls-ca-cert-file", authority],
        ];
        let mut part = Part::spawn(Backend::Redis, port, options.as_flattened(), None, false);
        part.wait_until_ready();
        part
    }

    /// Three MariaDB nodes of one Galera cluster, all of them in it. A node that
    /// was killed and is started again has caught up with the others when
    /// [`Part::restart`] returns. The redo log of each can be stalled: see
    /// [`Part::stall_log`].
    pub fn galera() -> [Part; 3] {
        let first = free_ports(3 * galera::PORTS);
        let ports = [0, 1, 2].map(|number| first + number * galera::PORTS);
        let mut nodes = ports.map(|port| {
            let begins = port == first;
            let mut node = Part::spawn(Backend::GaleraNode(ports.to_vec()), port, &[], Some("ib_logfile0"), begins);
            // The others join when there is something to join.
            if begins {
                node.wait_until_ready();
            }
            node
        });
        nodes.iter_mut().for_each(Part::wait_until_ready);
        nodes
    }

    fn launch(backend: Backend, options: &[&str]) -> Part {
        let mut part = Part::spawn(backend, free_port(), options, None, false);
        part.wait_until_ready();
        part
    }

    fn spawn(backend: Backend, port: u16, options: &[&str], stalls: Option<&str>, begins: bool) -> Part {
        install().expect("what is needed can be installed");
        let dir = own_dir();
        let options = options.iter().map(|option| option.to_string()).collect();
        let server = BackendServer { backend, dir: dir.path().to_owned(), port, options };
        let environment = stalls.map_or_else(Vec::new, |files| stall::environment(dir.path(), files));
        let child = spawn(&server, &environment, begins);
        Part { child, server, environment, _own_dir: dir }
    }

    /// Where it listens on TCP.
    pub fn address(&self) -> SocketAddr {
        local(self.server.port)
    }

    /// `host:port`.
    pub fn node(&self) -> String {
        self.address().to_string()
    }

    /// MariaDB's unix socket, as the topology file names it.
    pub fn unix_node(&self) -> String {
        format!("unix:{}", self.dir().join(mariadb::SOCKET).display())
    }

    /// Its folder; `log` in it is what the server has written.
    pub fn dir(&self) -> &Path {
        &self.server.dir
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
        self.child = spawn(&self.server, &self.environment, false);
        self.wait_until_ready();
    }

    /// Stops it without ending it: connections stay open without an answer. Each of its threads stands still when this
    /// returns: one that had yet to take the signal would answer one more statement.
    pub fn pause(&self) {
        self.signal("STOP");
        let until = Instant::now() + READY_WITHIN;
        while !self.stands_still() {
            assert!(Instant::now() < until, "SIGSTOP has not stopped all threads");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        // The state stands behind the name, which is in parentheses and may hold any of them.
        let state = |stat: String| stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        let mut states = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
        states.all(|stat| state(stat) == Some('T'))
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
        while !self.server.is_ready() {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "{:?} ended with {ended:?}: {}", self.server, self.log());
            assert!(Instant::now() < until, "{:?} is not ready: {}", self.server, self.log());
            std::thread::sleep(LOOK);
        }
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// From now on whatever this server writes to its log waits, and so does
    /// every commit that changes something; readers do not.
    ///
    /// # Panics
    /// When the part was not started with a log that can stall.
    pub fn stall_log(&self) -> LogStall {
        assert!(stall::is_in(&self.environment), "{:?} has no log that can stall", self.server);
        LogStall::begin(self.dir())
    }

    /// Runs SQL as `root`, which must succeed; what it printed, without names of columns.
    pub fn sql(&self, sql: &str) -> String {
        let done = mariadb::succeeds(&mut self.sql_client(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"));
        String::from_utf8(done.stdout).expect("MariaDB prints UTF-8")
    }

    /// The command that runs SQL as `root`, for a caller that does not wait for it.
    pub fn sql_client(&self, sql: &str) -> Command {
        mariadb::sql_client(self.dir(), sql)
    }
}

fn spawn(server: &BackendServer, environment: &[(String, String)], begins: bool) -> Child {
    let command = server.command(begins).and_then(|command| {
        let mut command = bound(&command);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        log_to(&mut command, &server.dir.join("log"))?;
        Ok(spawn_command(command)?)
    });
    command.unwrap_or_else(|error| panic!("{server:?} cannot be started: {error}"))
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}
