//! The one binary of Hongbao.

mod audit;
mod backup;
mod config;
mod dev;
mod durability;
mod fences;
mod folder;
mod generate;
mod leaving;
mod log;
mod log_line;
mod migrate;
mod move_wallet;
mod notify;
mod otlp;
mod process;
mod process_metrics;
mod provider;
mod reconcile;
mod roles;
mod rotation;
mod sandbox;
mod sets;
mod stores;
mod tokens;
mod verify_draw;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use hongbao_core::limits::LEFT_OUT_REASON_CHARS_MAX;
use hongbao_core::{Date, Traffic};

use self::fences::LeftOut;

/// Millions of small answers: an allocator made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Red envelopes: send, grab, open; to the fen.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything in one process on SQLite; nothing else to install or start.
    Dev {
        /// The address to serve on [default: 127.0.0.1:8080].
        #[arg(long)]
        listen: Option<SocketAddr>,
        /// The folder of the SQLite files [default: ./data].
        #[arg(long)]
        data: Option<PathBuf>,
        /// A TOML file with settings.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Print the settings in force, secrets masked, and exit; refuse what would keep it from starting.
        #[arg(long)]
        check: bool,
    },
    /// In front of the SETs: tokens, rates, routing. Opens no database.
    Gateway(RoleArguments),
    /// One server of a SET.
    Server(RoleArguments),
    /// The background jobs of one SET.
    Worker(RoleArguments),
    /// Make and upgrade databases and day tables, and bring the fences of the SETs to what the topology says; may be
    /// repeated at any time.
    Migrate {
        /// The settings file.
        #[arg(long)]
        config: PathBuf,
        /// A topology file that is to come, instead of the one that the settings name.
        #[arg(long)]
        topology: Option<PathBuf>,
        /// A SET whose databases cannot be reached, and that is to lose slots all the same. When they are back, run this
        /// command without it before any server is connected to them.
        #[arg(long, value_name = "SET", requires = "reason")]
        leave_out: Vec<String>,
        /// Why a SET is left out; it is kept in the databases of the others.
        #[arg(long, requires = "leave_out", value_parser = short)]
        reason: Option<String>,
    },
    /// Recompute the invariants from the stored rows alone; safe while serving.
    Audit {
        /// The settings file of an installation: all SETs and the wallet.
        #[arg(long, required_unless_present = "data", conflicts_with = "data")]
        config: Option<PathBuf>,
        /// The folder of the SQLite files of `hongbao dev`.
        #[arg(long)]
        data: Option<PathBuf>,
        /// The databases of the rehearsal instead of the real ones.
        #[arg(long)]
        shadow: bool,
        /// Sealed tables of each SET, and blocks of sealed months of each part of the wallet, that are read
        /// row by row, others each time; or `all`.
        #[arg(long, default_value_t = audit::Sealed::default())]
        sealed: audit::Sealed,
        /// Where exported tables of the folder are, as `url` in `[archive]` says it.
        #[arg(long, value_name = "URL", requires = "data")]
        archive: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what each SET gets of the new envelopes, and what is left to be done on it; safe while serving.
    Sets {
        /// The settings file of an installation.
        #[arg(long)]
        config: PathBuf,
        /// The databases of the rehearsal instead of the real ones.
        #[arg(long)]
        shadow: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Carry slots of users to the databases that the next topology file names; while serving, and again until it is done.
    MoveWallet {
        /// The settings file of an installation.
        #[arg(long, required_unless_present = "data", conflicts_with = "data")]
        config: Option<PathBuf>,
        /// The topology file in force [default: that of the settings].
        #[arg(long)]
        topology: Option<PathBuf>,
        /// The topology file to come.
        #[arg(long, required_unless_present = "data")]
        next: Option<PathBuf>,
        /// Stop before any user is refused, with nearly everything copied.
        #[arg(long)]
        copy_only: bool,
        /// The folder of the SQLite files of `hongbao dev`, where there is nothing to move.
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Copy everything as of one moment, also while it is being served.
    Backup {
        /// The settings file of an installation: all SETs and the wallet, by mariadb-dump.
        #[arg(long, required_unless_present = "data", conflicts_with = "data")]
        config: Option<PathBuf>,
        /// The folder of the SQLite files of `hongbao dev`.
        #[arg(long)]
        data: Option<PathBuf>,
        /// A folder that is not there yet, or empty.
        #[arg(long)]
        to: PathBuf,
        /// The databases of the rehearsal instead of the real ones.
        #[arg(long)]
        shadow: bool,
    },
    /// Compare the provider's bill of a day with the books, by order number and in both directions; safe while serving.
    Reconcile {
        /// The settings file of an installation.
        #[arg(long, required_unless_present = "data", conflicts_with = "data")]
        config: Option<PathBuf>,
        /// The folder of `hongbao dev`.
        #[arg(long)]
        data: Option<PathBuf>,
        /// The day by the provider's calendar, such as 20261128; one that is over.
        #[arg(long, value_parser = day)]
        date: Date,
        /// The bill, as the provider wrote it [default: it is asked for].
        #[arg(long, value_name = "FILE")]
        bill: Option<PathBuf>,
        /// Write the bill into this file.
        #[arg(long, value_name = "FILE")]
        keep: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Have the workers of the installation ask the provider at once for each order that differs.
        #[arg(long, conflicts_with = "data")]
        ask: bool,
    },
    /// A payment provider for development and tests, with books of its own; everything that goes wrong with one goes wrong
    /// here on demand.
    Sandbox(Box<sandbox::Arguments>),
    /// Recompute a closed envelope's amounts from its public detail, and check what follows from them.
    VerifyDraw {
        /// Files with the answers of `GET /v1/envelopes/{id}`, every page; none: standard input.
        pages: Vec<PathBuf>,
    },
    /// Write man pages and completions of these commands, for a package.
    #[command(hide = true)]
    Generate {
        /// The folder that they are written into.
        to: PathBuf,
    },
}

/// A reason that fits beside the names of all SETs.
fn short(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=LEFT_OUT_REASON_CHARS_MAX => Ok(text.to_owned()),
        _ => Err(format!("a reason has 1 to {LEFT_OUT_REASON_CHARS_MAX} characters")),
    }
}

/// A day of the calendar.
fn day(text: &str) -> Result<Date, String> {
    Date::parse(&text.replace('-', "")).ok_or_else(|| "a day is like 20261128".to_owned())
}

#[derive(clap::Args)]
struct RoleArguments {
    /// The settings file; it names the topology file.
    #[arg(long)]
    config: PathBuf,
    /// The name in the topology; may be left out where there is only one.
    #[arg(long)]
    name: Option<String>,
    /// Print the settings in force, secrets masked, and exit; refuse what would keep it from starting.
    #[arg(long)]
    check: bool,
}

impl RoleArguments {
    fn start(&self) -> roles::Start<'_> {
        roles::Start { config: &self.config, name: self.name.as_deref(), check: self.check }
    }
}

fn main() -> ExitCode {
    let finished = match Cli::parse().command {
        Command::Dev { listen, data, config, check } => {
            let flags = config::dev::Flags { listen, data };
            dev::run(config.as_deref(), flags, check)
        }
        Command::Gateway(arguments) => roles::gateway::run(&arguments.start()),
        Command::Server(arguments) => roles::server::run(&arguments.start()),
        Command::Worker(arguments) => roles::worker::run(&arguments.start()),
        Command::Migrate { config, topology, leave_out, reason } => {
            let left_out = LeftOut { sets: leave_out, reason: reason.unwrap_or_default() };
            migrate::run(&config, topology.as_deref(), &left_out)
        }
        Command::Audit { config, data, shadow, sealed, archive, json } => {
            let traffic = if shadow { Traffic::Shadow } else { Traffic::Live };
            match (config, data) {
                (Some(config), _) => audit::run_installation(&config, traffic, sealed, json),
                (None, Some(data)) => audit::run_folder(&data, traffic, sealed, archive, json),
                (None, None) => Err("audit: --config or --data is needed".to_owned()),
            }
        }
        Command::Sets { config, shadow, json } => {
            sets::run(&config, if shadow { Traffic::Shadow } else { Traffic::Live }, json)
        }
        Command::Backup { config, data, to, shadow } => {
            let traffic = if shadow { Traffic::Shadow } else { Traffic::Live };
            match (config, data) {
                (Some(config), _) => backup::run_installation(&config, traffic, &to),
                (None, Some(data)) => backup::run_folder(&data, traffic, &to),
                (None, None) => Err("backup: --config or --data is needed".to_owned()),
            }
        }
        Command::MoveWallet { config, topology, next, copy_only, .. } => match (config, next) {
            (Some(config), Some(next)) => move_wallet::run(&config, topology.as_deref(), &next, copy_only),
            _ => Err(move_wallet::refuse_folder()),
        },
        Command::Reconcile { config, data, date, bill, keep, json, ask } => {
            let asked = reconcile::Asked { date, bill: bill.as_deref(), keep: keep.as_deref(), json, ask };
            match (config, data) {
                (Some(config), _) => reconcile::run_installation(&config, &asked),
                (None, Some(data)) => reconcile::run_folder(&data, &asked),
                (None, None) => Err("reconcile: --config or --data is needed".to_owned()),
            }
        }
        Command::Sandbox(arguments) => sandbox::run(*arguments),
        Command::VerifyDraw { pages } => verify_draw::run(&pages),
        Command::Generate { to } => generate::run(Cli::command(), &to),
    };
    finished.unwrap_or_else(|reason| {
        // Where it cannot be written, as on a full disk, the exit code says it alone.
        let _ = writeln!(std::io::stderr(), "hongbao: {reason}");
        ExitCode::from(2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_and_the_readme_name_every_command() {
        let help = Cli::command().render_long_help().to_string();
        let about = help.lines().next().expect("it begins with what this is");
        let readme = include_str!("../../../README.md");
        let commands: Vec<_> =
            Cli::command().get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
        assert!(commands.len() >= 7, "{}", commands.len());
        for command in &commands {
            let (name, says) = (command.get_name(), command.get_about().expect("every command says what it does"));
            let listed = |line: &str| line.trim_start().starts_with(&format!("{name} "));
            assert!(help.lines().any(listed) && help.contains(&says.to_string()), "{name} in {help}");
            // A list there would be one more to forget.
            assert!(!about.split(|c: char| !c.is_alphabetic() && c != '-').any(|word| word == name), "{about}");
            // `hongbao gateway\|server\|worker --config`.
            let names = readme.split("`hongbao ").skip(1).filter_map(|rest| rest.split([' ', '`']).next());
            assert!(names.flat_map(|names| names.split("\\|")).any(|known| known == name), "{name} in the README");
        }
        let described = env!("CARGO_PKG_DESCRIPTION");
        assert!(!described.contains("audit"), "{described}");
    }
}
