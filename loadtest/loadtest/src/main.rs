//! `hongbao-loadtest`: rehearses a peak. It drives an installation over HTTP, as a
//! black box, audits what it was answered, and says whether it held.

mod capacity;
mod faults;
mod outcome;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about = "Drives a running Hongbao over HTTP, as a black box")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Rehearse: drive an installation by a scenario, audit what it said, and give a verdict
    Run(Box<run::RunArgs>),
    /// Carry out a schedule of faults on a cluster of its own, without load
    Faults(faults::Args),
    /// From a measured run to the SETs, servers and databases that a peak needs
    Plan(capacity::Args),
    /// Show a run that was kept as JSON: its summary, its page, its verdict by other thresholds
    Show(outcome::ShowArgs),
}

fn main() -> ExitCode {
    hongbao_load::exit_code(match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Faults(args) => faults::rehearse(&args),
        Command::Plan(args) => capacity::print(&args),
        Command::Show(args) => outcome::show(&args),
    })
}
