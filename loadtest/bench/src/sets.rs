//! `sets`: what one opening costs, in processor time of all processes together,
//! with 1, 2 and 4 SETs on this machine, connections growing in proportion. The
//! envelopes are as many each time: this machine answers no more openings with
//! more SETs, and an envelope that is opened less often costs more an opening.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hongbao_load::client::Client;
use hongbao_load::metrics::Batches;
use hongbao_load::service::{Cluster, SECRET, Service, Wanted};
use hongbao_load::source::RequestSource;
use hongbao_load::{Fallible, files, interrupt, machine, set_count};

use crate::measure::{WARM_UP, measure};
use crate::workload::{Expect, Extent, Name, Stage, Workload};

/// By how much the cost may differ from that with one SET.
const GOAL: f64 = 0.15;

/// The options of `sets`.
#[derive(clap::Args)]
pub struct Args {
    /// The `hongbao` binary, a release build
    #[arg(long)]
    server: PathBuf,
    /// Seconds that each run is measured for
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// How many SETs, one cluster after the other; the first is what the others are compared with
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4], value_parser = set_count::parse)]
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

/// Runs the comparison and prints it.
pub fn sets(args: &Args) -> Fallible<ExitCode> {
    interrupt::watch()?;
    machine::raise_open_files()?;
    let mut costs = Vec::new();
    for sets in &args.sets {
        costs.push(cost(args, *sets)?);
    }
    let first = costs.first().copied().unwrap_or_default();
    let worst = costs.iter().map(|cost| (cost / first - 1.0).abs()).fold(0.0, f64::max);
    let verdict = if worst <= GOAL { "met" } else { "MISSED" };
    println!(
        "cost of an opening: at most {:.0}% from that with {} SETs, goal {:.0}% {verdict}",
        worst * 100.0,
        args.sets.first().copied().unwrap_or_default(),
        GOAL * 100.0
    );
    Ok(ExitCode::SUCCESS)
}

/// Microseconds of processor time for one opening.
fn cost(args: &Args, sets: u16) -> Fallible<f64> {
    let count = u32::from(sets);
    let connections = args.connections * count;
    let workload = [Workload { name: Name::Spread, connections, goal: None }];
    let seconds = args.seconds as f64 + WARM_UP.as_secs_f64();
    let extent = Extent::new(&workload, 1, seconds, args.envelopes)?;
    let wanted = Wanted { shares_max: extent.shares_max(), ..Wanted::default() };
    let dir = files::data_dir(&args.data)?;
    let cluster = Cluster::start(&args.server, dir.path(), sets, &wanted)?;
    let gateway = cluster.gateway_addr();
    let servers = cluster.server_addrs();
    let batches = || -> Fallible<Batches> {
        servers
            .iter()
            .try_fold(Batches::default(), |sum, addr| Ok(sum + Batches::read(&Client::new(*addr, SECRET).metrics()?)))
    };
    let service = Service::Cluster(cluster);
    let client = Client::new(gateway, SECRET);
    client.wait_until_ready()?;

    let mut stage = Stage::set(Name::Spread, &client, &extent)?;
    let requests = stage.requests(&client, &extent)?;
    service.wait_until_idle()?;
    let time = Duration::from_secs(args.seconds);
    let source = RequestSource::once(&requests);
    let before = batches()?;
    let sample = measure(gateway, &|| service.cpu_time(), source, connections as usize, time, Expect::Opened)?;
    if !sample.errors.is_empty() {
        return Err(format!("{sets} SETs: {:?}", sample.errors).into());
    }
    let batch = batches()?.mean_since(before).unwrap_or(f64::NAN);
    println!(
        "{sets} SETs, {connections} connections: {:>6.0} opens/s, {:.1} us of processor an opening, mean batch {batch:.1}, p50 {:.1} ms, p99 {:.1} ms",
        sample.per_second,
        sample.server_cpu_us,
        sample.p50_us / 1_000.0,
        sample.p99_us / 1_000.0
    );
    Ok(sample.server_cpu_us)
}
