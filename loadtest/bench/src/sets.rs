//! `sets`: what one opening costs, in processor time of all processes together,
//! with 1, 2 and 4 SETs on this machine, connections growing in proportion. The
//! envelopes are as many each time: this machine answers no more openings with
//! more SETs, and an envelope that is opened less often costs more an opening.

use std::net::SocketAddr;
use std::process::ExitCode;

use hongbao_load::{Batches, Client, Cluster, Fallible, RequestSource, SECRET, Wanted, files, parse_set_count};

use crate::measure::measure;
use crate::options::Common;
use crate::workload::{Expect, Extent, Name, PreparedWorkload, Workload};

/// By how much the cost may differ from that with one SET.
const GOAL: f64 = 0.15;

/// The options of `sets`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// How many SETs, one cluster after the other; the first is what the others are compared with
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4], value_parser = parse_set_count)]
    sets: Vec<u16>,
    /// Connections for each SET
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=2048))]
    connections: u32,
    /// Envelopes, over all SETs
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    envelopes: u32,
}

/// Runs the comparison and prints it.
pub fn sets(args: &Args) -> Fallible<ExitCode> {
    hongbao_load::begin()?;
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
    let extent = Extent::new(&workload, 1, args.common.load_s(), args.envelopes)?;
    let wanted = Wanted { shares_max: extent.shares_max(), ..Wanted::default() };
    let dir = files::data_dir(&args.common.data)?;
    let cluster = Cluster::start(&args.common.server, dir.path(), sets, &wanted)?;
    let gateway = cluster.gateway_addr();
    let servers = cluster.server_addrs();
    let batches = || -> Fallible<Batches> {
        let of = |addr: &SocketAddr| Client::new(*addr, SECRET).metrics().map(|text| Batches::read(&text));
        servers.iter().try_fold(Batches::default(), |sum, addr| Ok(sum + of(addr)?))
    };
    let client = Client::new(gateway, SECRET);
    client.wait_until_ready()?;

    let mut stage = PreparedWorkload::set(Name::Spread, &client, &extent)?;
    let requests = stage.requests(&client, &extent)?;
    cluster.wait_until_idle()?;
    let source = RequestSource::once(&requests);
    let before = batches()?;
    let sample = measure(gateway, &|| cluster.cpu_time(), source, connections, args.common.time(), Expect::Opened)?;
    let sample = sample.without_errors(&format!("{sets} SETs"))?;
    let batch = batches()?.mean_since(before).unwrap_or(f64::NAN);
    let ([p50_ms, p99_ms], cpu_us) = (sample.p50_p99_ms(), sample.server_cpu_us.unwrap_or(f64::NAN));
    println!(
        "{sets} SETs, {connections} connections: {:>6.0} opens/s, {cpu_us:.1} us of processor an opening, mean batch {batch:.1}, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms",
        sample.per_second
    );
    Ok(cpu_us)
}
