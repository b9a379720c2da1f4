//! The one binary of Hongbao.

mod audit;
mod config;
mod dev;
mod process;
mod verify_draw;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Millions of small answers: an allocator made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Red envelopes: send, grab, open; to the fen.
#[derive(Parser)]
#[command(version, about)]
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
        /// Print the settings in force, secrets masked, and exit.
        #[arg(long)]
        check: bool,
    },
    /// Recompute the invariants from the stored rows alone; safe while serving.
    Audit {
        /// The folder of the SQLite files.
        #[arg(long)]
        data: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Recompute a closed envelope's amounts from its public detail.
    VerifyDraw {
        /// Files with the answers of `GET /v1/envelopes/{id}`, every page; none: standard input.
        pages: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let finished = match Cli::parse().command {
        Command::Dev { listen, data, config, check } => {
            let flags = config::dev::Flags { listen, data };
            dev::run(config.as_deref(), flags, check)
        }
        Command::Audit { data, json } => audit::run(&data, json),
        Command::VerifyDraw { pages } => verify_draw::run(&pages),
    };
    finished.unwrap_or_else(|words| {
        eprintln!("hongbao: {words}");
        ExitCode::from(2)
    })
}
