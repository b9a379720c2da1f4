//! `hongbao-bench`: the laboratory. It measures the service, and what it is measured
//! against, on this machine.
//!
//! Reading order: [`bench`] says what is measured, [`workload`] what is sent,
//! [`prepare`] what has to exist first, [`report`] what is printed.

mod demo;

mod bench;
mod compare;
mod conditions;
mod cost;
mod events;
mod filled;
mod fronts;
mod history;
mod measure;
mod options;
mod overload;
mod report;
mod sets;
mod workload;

mod prepare;

mod baseline;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about = "Measures Hongbao, and what it is compared with, on this machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the service against a bare route on this machine, in alternating rounds
    Bench(bench::Args),
    /// Measure the processor time of an opening by process, beside the least that this machine needs for one
    Cost(cost::Args),
    /// Measure openings while streams and a webhook follow the events, beside a service that no one follows
    Events(events::Args),
    /// Measure the gateway against HAProxy, both in front of the same bare servers
    Fronts(fronts::Args),
    /// Measure what an opening costs with 1, 2 and 4 SETs, through the gateway
    Sets(sets::Args),
    /// Measure what an opening costs where there have been millions, and where there have been none
    Filled(filled::Args),
    /// Measure openings while months of old envelopes are rotated, sealed and exported, and an audit beside them
    History(history::Args),
    /// Measure what is answered when three times as much is asked for as can be
    Overload(overload::Args),
    /// Measure Hongbao against the schemes that it rejects, on the same MariaDB, in turns
    Compare(compare::CompareArgs),
    /// Serve one of the schemes that `compare` measures
    #[command(hide = true)]
    Alternative(compare::alternative::AlternativeArgs),
    /// Show a newcomer around: 500 users open one envelope, a refund, the audit
    Demo {
        /// The `hongbao` binary
        #[arg(long)]
        server: PathBuf,
    },
    /// Serve the bare route that `bench` measures against
    Baseline {
        /// Where to listen; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    hongbao_load::exit_code(match Cli::parse().command {
        Command::Bench(args) => bench::bench(&args),
        Command::Cost(args) => cost::cost(&args),
        Command::Events(args) => events::events(&args),
        Command::Fronts(args) => fronts::fronts(&args),
        Command::Sets(args) => sets::sets(&args),
        Command::Filled(args) => filled::filled(&args),
        Command::History(args) => history::history(&args),
        Command::Overload(args) => overload::overload(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Alternative(args) => compare::alternative::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Demo { server } => demo::demo(&server),
        Command::Baseline { listen } => baseline::serve(listen).map(|()| ExitCode::SUCCESS),
    })
}
