//! The real binary on a free port over a temporary folder.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

pub use crate::common::client::{Answer, User, connect, seconds_from_now, sign, sign_with_header};
pub use crate::common::{fresh_bytes, hongbao, number_of, text, text_of, wait_until};

/// What the service under test checks tokens with.
pub const TOKEN_SECRET: &str = "a-secret-for-the-tests-of-the-service";
/// What it makes tickets with.
pub const TICKET_SECRET: &str = "another-secret-for-the-tests-of-the-service";

/// Runs `hongbao audit` over a folder.
pub fn audit_of(data: &Path) -> Output {
    let data = data.to_str().expect("temporary folders have plain names");
    hongbao(&["audit", "--data", data]).output().unwrap()
}

/// Runs `hongbao backup` over a folder; its exit code and words.
pub fn backed_up(data: &Path, to: &Path) -> (Option<i32>, String) {
    let mut command = hongbao(&["backup"]);
    command.args(["--data".as_ref(), data.as_os_str(), "--to".as_ref(), to.as_os_str()]);
    let done = command.output().unwrap();
    (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
}

/// A folder for a service and what belongs to it; removed with the last clone.
#[derive(Clone)]
pub struct Folder(Arc<TempDir>);

impl Folder {
    /// An empty one.
    pub fn new() -> Folder {
        Folder(Arc::new(tempfile::tempdir().unwrap()))
    }

    /// Where the SQLite files are.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// `hongbao dev` as a child process; killed when it is dropped.
pub struct Service {
    child: Child,
    folder: Folder,
    address: SocketAddr,
    /// Held open, so that the child can print.
    _stdout: BufReader<ChildStdout>,
}

impl Service {
    /// Starts one over a new folder. `settings` is TOML; the secrets and one
    /// database are set unless it has an `[auth]`, `[tickets]` or `[storage]`.
    pub fn start(settings: &str) -> Service {
        Service::start_in(&Folder::new(), settings)
    }

    /// Starts one over a folder that may hold data already.
    pub fn start_in(folder: &Folder, settings: &str) -> Service {
        Service::try_start_in(folder, settings).unwrap_or_else(|log| panic!("the service did not start: {log}"))
    }

    /// The same; an error is what the service said before it ended.
    pub fn try_start_in(folder: &Folder, settings: &str) -> Result<Service, String> {
        Service::try_run(folder, command_in(folder, settings))
    }

    /// Runs the command of [`command_in`], or a variation of it.
    pub fn try_run(folder: &Folder, mut command: Command) -> Result<Service, String> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.path("log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            let status = child.wait().unwrap();
            return Err(format!("{status}: {line}{}", std::fs::read_to_string(folder.path("log")).unwrap()));
        };
        let address = address.parse().unwrap();
        Ok(Service { child, folder: folder.clone(), address, _stdout: stdout })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap()
    }

    /// A user without groups, who has a good token.
    pub fn user(&self, name: &str) -> User {
        self.member(name, &[])
    }

    /// A user who is in some groups.
    pub fn member(&self, name: &str, groups: &[&str]) -> User {
        let claims = json!({ "sub": name, "exp": seconds_from_now(3_600), "groups": groups });
        self.bearer(name, &sign(&claims, TOKEN_SECRET))
    }

    /// Somebody with any token at all.
    pub fn bearer(&self, name: &str, token: &str) -> User {
        User::new(name, Some(format!("Bearer {token}")), self.address)
    }

    /// Somebody without a token.
    pub fn nobody(&self) -> User {
        User::new("", None, self.address)
    }

    /// A bare connection, for requests that a good client would not send.
    pub fn connect(&self) -> TcpStream {
        connect(self.address).unwrap()
    }

    /// Sends bytes over a connection of their own; what is answered.
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        Answer::read(&mut BufReader::new(stream)).unwrap()
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32).expect("a process has an id")
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Waits for its end, at most half a minute.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the service does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL, as a power cut would.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Requires that it still answers, and that all invariants hold in what is stored.
    pub fn check(&self) {
        // What was wrong with the disk until now is looked at again each second.
        wait_until(Duration::from_secs(15), "it to be ready", || self.nobody().get("/readyz").status == 200);
        let audit = audit_of(&self.folder.data());
        assert_eq!(audit.status.code(), Some(0), "{}{}", text(&audit.stdout), text(&audit.stderr));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("what the service logged:\n{}", self.log());
        }
    }
}

fn with_defaults(settings: &str) -> String {
    let mut all: toml::Table = settings.parse().unwrap();
    for (section, key, value) in [
        ("auth", "hs256_secret", toml::Value::from(TOKEN_SECRET)),
        ("tickets", "secret", toml::Value::from(TICKET_SECRET)),
        ("storage", "databases", toml::Value::from(1)),
    ] {
        all.entry(section).or_insert_with(|| toml::Value::Table([(key.to_owned(), value)].into_iter().collect()));
    }
    all.to_string()
}

/// The body of a lucky envelope.
pub fn lucky(total_fen: i64, shares: u32) -> Value {
    json!({ "kind": "lucky", "total_fen": total_fen, "shares": shares })
}

/// A body with one more field, or another value of one.
pub fn with(mut body: Value, field: &str, value: impl Into<Value>) -> Value {
    body[field] = value.into();
    body
}

/// The command that serves a folder.
pub fn command_in(folder: &Folder, settings: &str) -> Command {
    let config = folder.write("hongbao.toml", &with_defaults(settings));
    let mut command = hongbao(&["dev", "--listen", "127.0.0.1:0"]);
    command.args(["--data".as_ref(), folder.data().as_os_str(), "--config".as_ref(), config.as_os_str()]);
    command
}
