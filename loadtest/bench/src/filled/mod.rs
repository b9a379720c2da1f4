//! `filled`: whether an opening costs more where there have been many. Two SETs of
//! one cluster differ in one thing: the journals of one hold millions of entries.
//! Both are measured in turns, with openings of as many new envelopes.

pub mod fill;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hongbao_core::EnvelopeId;
use hongbao_load::{
    Answer, Batches, Client, Cluster, Fallible, RequestSource, SECRET, Wanted, files, machine, zone_with_noon_at,
};
use rustix::process::Signal;

use crate::conditions::Conditions;
use crate::measure::{Sample, drive, median, us_of_each};
use crate::options::Common;
use crate::workload::{Expect, Extent, Name, PreparedWorkload, Workload};

/// By how much an opening may cost more in the filled one.
const GOAL: f64 = 0.10;
/// The processes that follow what is written into the databases.
const WORKERS: [&str; 4] = ["a-w1", "a-w2", "b-w1", "b-w2"];

/// The options of `filled`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Entries in the journals of the filled database
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    entries: u64,
    /// Rounds; the medians are reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Connections that are kept busy
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=8192))]
    connections: u32,
    /// Envelopes that are opened in each of the two
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    envelopes: u32,
}

/// One of the two SETs: its letter is its name.
struct Side {
    name: &'static str,
    letter: char,
    addr: SocketAddr,
    client: Client,
    stage: PreparedWorkload,
    costs: Vec<Cost>,
}

/// What one run of a side gave.
struct Cost {
    sample: Sample,
    /// Microseconds of the server's processor time for an opening.
    server_us: f64,
    /// The same of its database.
    database_us: f64,
}

/// Runs the comparison and prints it.
pub fn filled(args: &Args) -> Fallible<ExitCode> {
    hongbao_load::begin()?;
    let dir = files::data_dir(&args.common.data)?;
    let workload = [Workload { name: Name::Spread, connections: args.connections, goal: None }];
    let extent = Extent::new(&workload, args.rounds, args.common.load_s(), args.envelopes)?;
    // At noon no midnight comes between old envelopes and new ones: they share their tables.
    let now = machine::wall_clock();
    let zone_offset_s = zone_with_noon_at(now);
    let wanted = Wanted { shares_max: extent.shares_max(), zone_offset_s, ..Wanted::default() };
    let cluster = Cluster::start(&args.common.server, dir.path(), 2, &wanted)?;

    // A worker would read all that is written while it looks: it begins when everything is there.
    WORKERS.iter().try_for_each(|name| cluster.processes().end(name, Signal::TERM))?;
    let started = Instant::now();
    let filled = fill::fill(&cluster.database_addr(1).to_string(), args.entries, now, zone_offset_s)?;
    let filled_within = started.elapsed();
    WORKERS.iter().try_for_each(|name| cluster.run(&[name]))?;
    let sizes = ["a", "b"].map(|set| tables_bytes(&cluster.dir().join(format!("{set}-mariadb/data"))));

    let mut sides = [Side::set("empty", 0, &cluster, &extent)?, Side::set("filled", 1, &cluster, &extent)?];
    check_finished(&sides[1].client, filled.one)?;
    for round in 1..=args.rounds {
        for side in &mut sides {
            let cost = side.measure(&cluster, &extent, args)?;
            eprintln!("round {round} of {}: {:<6} {}", args.rounds, side.name, cost.line());
            side.costs.push(cost);
        }
        // Who came second comes first in the next round.
        sides.reverse();
    }
    sides.sort_by_key(|side| side.letter);

    let [empty, full] = sizes;
    println!("{}", Conditions::read(dir.path(), &sides[0].client)?);
    println!(
        "filled      {} entries of {} envelopes within {:.0} s: {} MiB of tables beside {} MiB",
        filled.entries,
        filled.envelopes,
        filled_within.as_secs_f64(),
        full? >> 20,
        empty? >> 20
    );
    println!(
        "figures     medians of {} alternating rounds of {} s, {} connections, {} envelopes; us of processor an opening\n",
        args.rounds, args.common.seconds, args.connections, args.envelopes
    );
    print!("{}", table([(sides[0].name, &sides[0].costs), (sides[1].name, &sides[1].costs)]));
    Ok(ExitCode::SUCCESS)
}

/// Holds what was filled in against what the service makes of it.
fn check_finished(client: &Client, id: EnvelopeId) -> Fallible<()> {
    let shown = client.one("GET", &format!("/v1/envelopes/{id}"), "somebody", "")?;
    if shown.contains(r#""state":"finished""#) {
        return Ok(());
    }
    Err(format!("what was filled in is not a finished envelope to the service: {shown}").into())
}

/// The bytes of all tables of envelopes in the data of a MariaDB.
fn tables_bytes(data: &Path) -> Fallible<u64> {
    let mut bytes = 0;
    for database in std::fs::read_dir(data)? {
        let database = database?;
        if database.file_name().to_string_lossy().starts_with("db_") {
            for file in std::fs::read_dir(database.path())? {
                bytes += file?.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

impl Side {
    /// Sends the envelopes that are to be opened.
    fn set(name: &'static str, number: u16, cluster: &Cluster, extent: &Extent) -> Fallible<Side> {
        let addr = cluster.server_addr(number);
        let client = Client::new(addr, SECRET);
        client.wait_until_ready()?;
        let stage = PreparedWorkload::set(Name::Spread, &client, extent)?;
        let letter = char::from(b'a' + number as u8);
        Ok(Side { name, letter, addr, client, stage, costs: Vec::new() })
    }

    fn measure(&mut self, cluster: &Cluster, extent: &Extent, args: &Args) -> Fallible<Cost> {
        let requests = self.stage.requests(&self.client, extent)?;
        if cluster.wait_until_idle()?.is_none() {
            eprintln!("note: the cluster is still busy, which slows what is measured now");
        }
        let cpu_times = || -> Fallible<[Duration; 3]> {
            let times = cluster.cpu_times()?;
            let [server, database] =
                [format!("{}1", self.letter), format!("{}-mariadb", self.letter)].map(|name| times[&name]);
            Ok([server, database, times.values().sum::<Duration>() - server - database])
        };
        let batches = Batches::read(&self.client.metrics()?);
        let (source, time) = (RequestSource::once(&requests), args.common.time());
        let check = |_: usize, answer: &Answer<'_>| Expect::Opened.check(answer);
        let driven = drive(self.addr, &cpu_times, source, args.connections, time, check)?;
        let mut sample = driven.sample.without_errors(self.name)?;
        let us = |used| us_of_each(used, driven.stats.sent).unwrap_or(f64::NAN);
        let (server_us, database_us) = (us(driven.used[0]), us(driven.used[1]));
        sample.server_cpu_us = Some(us(driven.used.iter().sum()));
        sample.batch_size_mean = Batches::read(&self.client.metrics()?).mean_since(batches);
        Ok(Cost { sample, server_us, database_us })
    }
}

impl Cost {
    fn both_us(&self) -> f64 {
        self.server_us + self.database_us
    }

    fn line(&self) -> String {
        format!(
            "{:.0} opens/s, {:.1} us of server and database an opening, others used {:.0}% of a processor",
            self.sample.per_second,
            self.both_us(),
            100.0 * self.sample.others_share
        )
    }
}

/// What was measured, and how the two compare: round by round, so that drift cancels.
fn table(sides: [(&str, &[Cost]); 2]) -> String {
    let mut out = format!(
        "{:<8}{:>10}{:>8}{:>10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>11}\n",
        "journals", "opens/s", "server", "database", "both", "all", "p50 ms", "p99 ms", "batch", "generator"
    );
    for (name, costs) in sides {
        let middle = |figure: fn(&Cost) -> f64| median(costs.iter().map(figure));
        let _ = writeln!(
            out,
            "{name:<8}{:>10.0}{:>8.1}{:>10.1}{:>8.1}{:>8.1}{:>8.1}{:>8.1}{:>8.0}{:>10.0}%",
            middle(|cost| cost.sample.per_second),
            middle(|cost| cost.server_us),
            middle(|cost| cost.database_us),
            middle(Cost::both_us),
            middle(|cost| cost.sample.server_cpu_us.unwrap_or(f64::NAN)),
            middle(|cost| cost.sample.p50_p99_ms()[0]),
            middle(|cost| cost.sample.p50_p99_ms()[1]),
            middle(|cost| cost.sample.batch_size_mean.unwrap_or(f64::NAN)),
            middle(|cost| 100.0 * cost.sample.generator_share)
        );
    }
    let [(_, empty), (_, filled)] = sides;
    let ratio = |figure: fn(&Cost) -> f64| {
        median(filled.iter().zip(empty).map(|(filled, empty)| figure(filled) / figure(empty)))
    };
    let cost = ratio(Cost::both_us);
    let _ = writeln!(
        out,
        "\nfilled / empty: {:.2} of the opens/s, {cost:.2} of the cost of server and database, goal at most {:.2} {}",
        ratio(|cost| cost.sample.per_second),
        1.0 + GOAL,
        if cost <= 1.0 + GOAL { "met" } else { "MISSED" }
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(of_rounds: [(f64, f64); 3]) -> Vec<Cost> {
        let cost = |(per_second, database_us)| {
            let sample = Sample { per_second, ..Sample::default() };
            Cost { sample, server_us: 20.0, database_us }
        };
        of_rounds.map(cost).into()
    }

    #[test]
    fn the_two_are_compared_round_by_round_by_what_server_and_database_cost() {
        // The machine slows down meanwhile, and one round is out of line.
        let empty = costs([(30_000.0, 20.0), (20_000.0, 30.0), (10_000.0, 60.0)]);
        let near = costs([(29_700.0, 24.0), (15_000.0, 90.0), (9_900.0, 68.0)]);
        let said = table([("empty", &empty), ("filled", &near)]);
        assert!(said.contains("0.99 of the opens/s, 1.10 of the cost of server and database, goal at most 1.10 met"));
        let far = costs([(29_700.0, 25.0), (15_000.0, 90.0), (9_900.0, 70.0)]);
        let said = table([("empty", &empty), ("filled", &far)]);
        assert!(said.contains("1.12 of the cost of server and database, goal at most 1.10 MISSED"), "{said}");
        assert!(said.contains("empty        20000    20.0      30.0    50.0"), "{said}");
    }
}
