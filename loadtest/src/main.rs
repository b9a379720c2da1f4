//! `hongbao-loadtest`: drives a running Hongbao over HTTP, as a black box.
//!
//! Reading order: [`bench`] says what is measured, [`generator`] how it is
//! driven, [`prepare`] what has to exist first, [`report`] what is printed.

mod demo;

mod bench;
mod compare;
mod filled;
mod fronts;
mod measure;
mod overload;
mod report;
mod service;
mod sets;
mod workload;

mod generator;
mod http;
mod load;
mod outcome;

mod call;
mod client;
mod prepare;

mod capacity;
mod faults;
mod run;

mod baseline;
mod child;
mod machine;
mod metrics;
mod processes;

mod files;
mod interrupt;
mod request_buffer;

#[cfg(test)]
mod fake;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code when the harness itself fails: nothing is known of the service
/// then. That something about it is bad is 1.
const FAILED: u8 = 2;

/// What went wrong, in words for the person at the terminal.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

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
    /// Measure the service against a bare route on this machine, in alternating rounds
    Bench(BenchArgs),
    /// Measure the gateway against HAProxy, both in front of the same bare servers
    Fronts(FrontsArgs),
    /// Measure what an opening costs with 1, 2 and 4 SETs, through the gateway
    Sets(SetsArgs),
    /// Measure what an opening costs where there have been millions, and where there have been none
    Filled(filled::Args),
    /// Measure what is answered when three times as much is asked for as can be
    Overload(overload::Args),
    /// Carry out a schedule of faults on a cluster of its own, without load
    Faults(faults::FaultsArgs),
    /// From a measured run to the SETs, servers and databases that a peak needs
    Plan(capacity::Args),
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
    /// Show a run that was kept as JSON: its summary, its page, its verdict by other thresholds
    Show(outcome::ShowArgs),
    /// Serve the bare route that `bench` measures against
    Baseline {
        /// Where to listen; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

/// What a bench run is told.
#[derive(clap::Args)]
pub struct BenchArgs {
    /// The `hongbao` binary, a release build
    #[arg(long)]
    server: PathBuf,
    /// Measure a server of a SET with MariaDB, memcached and Redis, instead of the embedded service
    #[arg(long)]
    cluster: bool,
    /// With --cluster: leave memcached and Redis out, to see what they cost
    #[arg(long, requires = "cluster")]
    bare: bool,
    /// The script that starts a cluster
    #[arg(long, default_value = "ops/cluster.sh")]
    cluster_script: PathBuf,
    /// Further settings for the section `[server]`, as TOML
    #[arg(long, default_value = "")]
    server_settings: String,
    /// Seconds that each run is measured for
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rounds of each workload; the medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Connections that are kept busy
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=8192))]
    connections: u32,
    /// Envelopes of the spread workload
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    envelopes: u32,
    /// Only these workloads: hot, spread, memory, view
    #[arg(long = "workload", value_enum)]
    workloads: Vec<workload::Name>,
    /// Where the service keeps its data; on a real disk, and deleted afterwards
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
    /// Write every round's figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Exit with 1 when a goal is missed
    #[arg(long)]
    enforce: bool,
}

/// What a run of `fronts` is told.
#[derive(clap::Args)]
pub struct FrontsArgs {
    /// The `hongbao` binary, a release build
    #[arg(long)]
    server: PathBuf,
    /// Seconds that each run is measured for
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rounds; the medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Connections that are kept busy
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=8192))]
    connections: u32,
}

/// What a run of `sets` is told.
#[derive(clap::Args)]
pub struct SetsArgs {
    /// The `hongbao` binary, a release build
    #[arg(long)]
    server: PathBuf,
    /// The script that starts a cluster
    #[arg(long, default_value = "ops/cluster.sh")]
    cluster_script: PathBuf,
    /// Seconds that each run is measured for
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// How many SETs, one cluster after the other; the first is what the others are compared with
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4], value_parser = sets::parse_count)]
    sets: Vec<u16>,
    /// Connections for each SET
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=2048))]
    connections: u32,
    /// Envelopes, over all SETs
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    envelopes: u32,
    /// Where the clusters keep their data; on a real disk, and deleted afterwards
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Fronts(args) => fronts::fronts(&args),
        Command::Sets(args) => sets::sets(&args),
        Command::Filled(args) => filled::filled(&args),
        Command::Overload(args) => overload::overload(&args),
        Command::Faults(args) => faults::rehearse(&args),
        Command::Plan(args) => capacity::print(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Alternative(args) => compare::alternative::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Demo { server } => demo::demo(&server),
        Command::Show(args) => outcome::show(&args),
        Command::Baseline { listen } => baseline::serve(listen).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("hongbao-loadtest: {error}");
        ExitCode::from(FAILED)
    })
}
