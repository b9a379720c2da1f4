//! `hongbao-testbed`: a whole installation on this machine, by hand.
//!
//! Everything listens on loopback and keeps its data under one folder: settings,
//! topology, a log a part, and the databases. The SETs are a, b, c, d; their parts are
//! called a-mariadb, a-redis, a1, a1-memcached, a2, a2-memcached, a-w1, a-w2; besides
//! there are wallet-mariadb and gateway.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::{Parser, Subcommand};
use hongbao_testbed::{Description, Fallible, Installation, Lifetime, Link, OPTIONS_OF_FILLED, PartKind};
use rustix::process::Signal;

/// How often the process of `--until` is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Parser)]
#[command(version, about = "A whole installation of Hongbao on this machine, and faults of its parts")]
struct Arguments {
    /// Where everything lies
    #[arg(long, global = true, default_value = "cluster-data")]
    data: PathBuf,
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start everything, also over what an earlier one has left
    Start(Start),
    /// End these parts as an operator does (SIGTERM), or everything in good order
    Stop { parts: Vec<String> },
    /// Start parts again that have ended
    Run {
        #[arg(required = true)]
        parts: Vec<String>,
    },
    /// End parts at once, as a power cut does (SIGKILL)
    Kill {
        #[arg(required = true)]
        parts: Vec<String>,
    },
    /// Let parts neither run nor end (SIGSTOP)
    Pause {
        #[arg(required = true)]
        parts: Vec<String>,
    },
    /// Delay everything on its way to a part or from it; needs `start --faults`
    Slow {
        part: String,
        /// Milliseconds in each direction
        delay_ms: u64,
    },
    /// Let nothing through to a part or from it; needs `start --faults`
    Cut { part: String },
    /// Let no file of a MariaDB grow, as on a full disk; needs `start --faults`
    Fill { part: String },
    /// Undo pause, slow, cut and fill of parts
    Resume {
        #[arg(required = true)]
        parts: Vec<String>,
    },
    /// A line about each part
    Status,
    /// Serve the relays of what was started with `start --faults`
    #[command(hide = true)]
    Relays,
    /// Stop everything when a process has ended
    #[command(hide = true)]
    Until { pid: u32 },
    /// Run `hongbao audit` over everything
    Audit {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Start {
    /// SETs: 1, 2 or 4
    #[arg(long, default_value_t = 2)]
    sets: u16,
    /// The first of the ports, which lie in a row
    #[arg(long, default_value_t = 18_100)]
    port: u16,
    /// Where the gateway listens
    #[arg(long, default_value = "127.0.0.1:8080")]
    gateway: SocketAddr,
    /// The `hongbao` binary; the one beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
    /// A TOML file with settings of its processes; what it does not say is as usual
    #[arg(long)]
    settings: Option<PathBuf>,
    /// Leave out memcached and Redis
    #[arg(long)]
    bare: bool,
    /// Give each SET a Galera cluster: a-mariadb1, a-mariadb2, a-mariadb3
    #[arg(long)]
    galera: bool,
    /// Prepare it for slow, cut and fill: relays before its parts, databases whose tables
    /// lie in one file
    #[arg(long)]
    faults: bool,
    /// End everything when the process of this number has ended, however it ends
    #[arg(long)]
    until: Option<u32>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hongbao-testbed: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Fallible<()> {
    if let Action::Start(start) = arguments.command {
        return start.start(&arguments.data);
    }
    let installation = Installation::open(&arguments.data)?;
    let processes = installation.processes();
    let each = |parts: &[String], act: &dyn Fn(&str) -> Fallible<()>| parts.iter().try_for_each(|part| act(part));
    match arguments.command {
        Action::Start(_) => Ok(()),
        Action::Stop { parts } if parts.is_empty() => installation.stop(),
        Action::Stop { parts } => each(&parts, &|part| processes.end(part, Signal::TERM)),
        Action::Run { parts } => installation.run(&parts.iter().map(String::as_str).collect::<Vec<_>>()),
        Action::Kill { parts } => each(&parts, &|part| processes.end(part, Signal::KILL)),
        Action::Pause { parts } => each(&parts, &|part| processes.signal(part, Signal::STOP)),
        Action::Slow { part, delay_ms } => {
            installation.change_link(&part, |link| link.delay = Duration::from_millis(delay_ms))
        }
        Action::Cut { part } => installation.change_link(&part, |link| link.cuts = 1),
        Action::Fill { part } => installation.fill(&part),
        Action::Resume { parts } => each(&parts, &|part| resume(&installation, part)),
        Action::Relays => installation.serve_relays(),
        Action::Until { pid } => {
            while std::path::Path::new(&format!("/proc/{pid}")).exists() {
                std::thread::sleep(LOOK_EVERY);
            }
            installation.stop()
        }
        Action::Status => {
            installation.description().parts().iter().for_each(|part| println!("{}", installation.status(part)));
            Ok(())
        }
        Action::Audit { options } => {
            let mut audit = installation.hongbao(&["audit"]);
            Err(audit.args(options).exec().into())
        }
    }
}

fn resume(installation: &Installation, part: &str) -> Fallible<()> {
    let description = installation.description();
    // The link first: a part that was killed has no process to continue.
    if description.relayed.iter().any(|relayed| relayed == part) {
        installation.change_link(part, |link| *link = Link::default())?;
    }
    if description.part(part)?.kind == PartKind::Database {
        installation.make_room(part)?;
    }
    installation.processes().signal(part, Signal::CONT)
}

impl Start {
    fn start(self, data: &std::path::Path) -> Fallible<()> {
        let Start { sets, port, gateway, bare, galera, .. } = self;
        let beside = || std::env::current_exe().map(|own| own.with_file_name("hongbao"));
        let binary = self.binary.map_or_else(beside, Ok)?;
        let mut description = Description { sets, bare, galera, port, gateway, binary, ..Description::default() };
        if self.faults {
            let parts = description.parts();
            let databases = parts.iter().filter(|part| part.kind == PartKind::Database);
            let fillable = OPTIONS_OF_FILLED.map(str::to_owned).to_vec();
            description.options = databases.map(|part| (part.name.clone(), fillable.clone())).collect();
            let has_links = parts.into_iter().filter(|part| part.kind.has_links());
            description.relayed = has_links.map(|part| part.name).collect();
        }
        let settings = self.settings.map(std::fs::read_to_string).transpose()?.unwrap_or_default();
        let installation = Installation::create(data, description, &settings, Lifetime::Detached)?;
        if let Some(pid) = self.until {
            let mut watch = Command::new("setsid");
            watch.arg(std::env::current_exe()?).arg("--data").arg(data).args(["until", &pid.to_string()]);
            watch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        }
        installation.start().inspect_err(|_| {
            // The reason why it did not start comes first; what runs nevertheless is in `status`.
            let _ = installation.stop();
        })?;
        println!("gateway on http://{gateway}, data and logs in {}", installation.dir().display());
        Ok(())
    }
}
