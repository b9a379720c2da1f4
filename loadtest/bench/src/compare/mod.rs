//! `compare`: the schemes side by side, on the same MariaDB with the same
//! durability, behind the same HTTP, under the same load, in turns.
//!
//! Reading order: [`cell`] says what is sent, [`run`] how a scheme is measured,
//! [`alternative`] what the alternatives do, [`history`] and [`audit`] what is checked,
//! [`loss`] what a crash costs, [`report`] and [`chart`] what is shown, [`verdict`]
//! whether it may be believed.

mod cell;
mod run;

pub mod alternative;
mod scheme;

mod audit;
mod history;
mod loss;

mod chart;
mod report;
mod sample;
mod verdict;

mod redis_servers;
mod testbed;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hongbao_load::{Fallible, Wanted, files, interrupt, machine};

use self::cell::Cell;
use self::loss::NotKilled;
use self::report::{Line, Report};
use self::run::Runner;
use self::sample::Sample;
use self::scheme::Scheme;
use self::testbed::Testbed;
use crate::measure::WARM_UP;

/// The options of comparison.
#[derive(clap::Args)]
pub struct CompareArgs {
    /// The `hongbao` binary, a release build; only Hongbao itself needs it
    #[arg(long, default_value = "target/release/hongbao")]
    server: PathBuf,
    /// Openers of one envelope at once
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64, 256, 1_024],
          value_parser = clap::value_parser!(u32).range(1..=1_024))]
    openers: Vec<u32>,
    /// Hot envelopes
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 10_000],
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    envelopes: Vec<u32>,
    /// Seconds that each run is measured for
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rounds of each cell; the medians are reported
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// all, or some of bare,row-lock,no-wait,optimistic,presplit,memory-first,redis-always,serial,hongbao
    #[arg(long, default_value = "all", value_parser = Scheme::parse_list)]
    // With its path, or clap would take it for an option that may come several times.
    schemes: std::vec::Vec<Scheme>,
    /// Connections that each alternative has to MariaDB
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=128))]
    database_connections: u32,
    /// Where Hongbao's cluster keeps its data; on a real disk, and deleted afterwards
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
    /// Write every round's figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the charts to this file: one HTML page that needs nothing else
    #[arg(long)]
    html: Option<PathBuf>,
}

/// More users than the longest round has.
const USERS_OF_A_ROUND: u32 = 10_000_000;
/// Then their numbers begin again: the envelopes are other ones by then.
const USERS_MAX: u32 = 1_000_000_000;
/// About what preparing a request takes, and looking for its opening in the end, in
/// microseconds of a release build.
const REQUEST_US: f64 = 4.0;
/// About what a run takes besides its load and its requests, in seconds: servers start and end.
const RUN_ROUND_S: f64 = 0.5;
/// About how many times a run's length Hongbao pays credits after it.
const CREDITS_TIMES: f64 = 3.0;

/// Runs the comparison and prints its table. Exits with 1 when money is wrong,
/// with 2 when some of it could not be measured or its money not be checked.
pub fn compare(args: &CompareArgs) -> Fallible<ExitCode> {
    hongbao_load::begin()?;
    let report = Comparison::new(args)?.run()?;
    print!("{}", report.table());
    Ok(files::exit_code(report.exit_code(), [keep(args, &report)]))
}

/// Writes what there is so far: what ends a comparison early costs no more than a cell.
fn keep(args: &CompareArgs, report: &Report) -> Fallible<()> {
    files::write("--json", args.json.as_deref(), || Ok(serde_json::to_string_pretty(report)?))?;
    files::write("--html", args.html.as_deref(), || Ok(chart::page(report)))
}

/// A comparison under way. The servers end before their data goes.
struct Comparison<'a> {
    testbed: Testbed,
    dir: tempfile::TempDir,
    args: &'a CompareArgs,
    cells: Vec<Cell>,
    /// The next user's number: no user opens twice.
    next_user: u32,
}

impl<'a> Comparison<'a> {
    fn new(args: &'a CompareArgs) -> Fallible<Comparison<'a>> {
        let dir = files::data_dir(&args.data)?;
        let cells = Cell::all(&args.openers, &args.envelopes);
        let seconds = run_s(args);
        let shares_max = cells.iter().map(|cell| cell.shares_max(Scheme::Hongbao, seconds)).max();
        let shares_max = shares_max.unwrap_or(1).max(loss::shares_max());
        let wanted = Wanted { shares_max, ..Wanted::default() };
        let service = (args.server.as_path(), &wanted);
        let service = args.schemes.contains(&Scheme::Hongbao).then_some(service);
        let testbed = Testbed::start(&args.schemes, service, dir.path())?;
        Ok(Comparison { testbed, dir, args, cells, next_user: 0 })
    }

    fn run(mut self) -> Fallible<Report> {
        let mut report = Report {
            processors: machine::processors(),
            file_system: machine::file_system(&self.testbed.database.dir),
            durability: self.testbed.durability()?,
            debug_build: cfg!(debug_assertions),
            database_connections: self.args.database_connections,
            seconds: self.args.seconds,
            rounds: self.args.rounds,
            lines: Vec::new(),
            losses: Vec::new(),
            not_killed: Vec::new(),
            stopped: None,
        };
        // What is wrong with the files is said before anything is measured.
        keep(self.args, &report)?;
        eprintln!("{}", estimate(self.args, &self.cells));
        if let Err(why) = self.measure(&mut report) {
            eprintln!("stopped: {why}");
            report.stopped = Some(why.to_string());
        }
        Ok(report)
    }

    /// Adds to the report cell by cell. Fails when it is interrupted.
    fn measure(&mut self, report: &mut Report) -> Fallible<()> {
        let started = Instant::now();
        for (done, cell) in self.cells.clone().into_iter().enumerate() {
            let all = self.cells.len();
            let left_s = started.elapsed().as_secs_f64() / done.max(1) as f64 * (all - done) as f64;
            let left = if done == 0 { String::new() } else { format!(", about {} to go", minutes(left_s)) };
            eprintln!("cell {} of {all}{left}", done + 1);
            let measured = self.cell(cell, &mut report.lines);
            keep(self.args, report)?;
            measured?;
        }
        // Hongbao comes last: its server does not come back.
        for &scheme in self.args.schemes.iter().filter(|scheme| scheme.keeps_openings()) {
            eprintln!("killing {} in the middle of its load", scheme.text());
            let runner = runner(self.args, self.dir.path());
            let killed = loss::kill(&mut self.testbed, &runner, scheme, self.next_user);
            interrupt::check()?;
            match killed {
                Ok(loss) => report.losses.push(loss),
                Err(error) => report.not_killed.push(NotKilled { scheme, reason: error.to_string() }),
            }
        }
        Ok(())
    }

    /// All schemes in one cell, in turns. Fails when it is interrupted, with what was
    /// measured until then among the lines.
    fn cell(&mut self, cell: Cell, lines: &mut Vec<Line>) -> Fallible<()> {
        let mut samples: Vec<(Vec<Sample>, Vec<String>)> = vec![Default::default(); self.args.schemes.len()];
        let done = self.rounds(cell, &mut samples);
        let known = self.args.schemes.iter().zip(samples).filter(|(_, (samples, failures))| {
            // An interrupt may leave some without a turn.
            !samples.is_empty() || !failures.is_empty()
        });
        lines.extend(known.map(|(scheme, (samples, failures))| Line::new(cell, *scheme, samples, failures)));
        done
    }

    fn rounds(&mut self, cell: Cell, samples: &mut [(Vec<Sample>, Vec<String>)]) -> Fallible<()> {
        for round in 0..self.args.rounds {
            for (scheme, (samples, failures)) in self.args.schemes.iter().zip(&mut *samples) {
                let runner = runner(self.args, self.dir.path());
                let sample = runner.run(&self.testbed, *scheme, cell, self.next_user);
                interrupt::check()?;
                let at = format!("{} x {}, round {}: {}", cell.openers, cell.envelopes, round + 1, scheme.text());
                match sample {
                    Ok(sample) => {
                        eprintln!("{at} {:.0}/s", sample.load.per_second);
                        samples.push(sample);
                    }
                    Err(error) => {
                        eprintln!("{at} FAILED: {error}");
                        failures.push(error.to_string());
                    }
                }
            }
            // The next round's tokens are new to all servers, as this one's were.
            self.next_user = (self.next_user + USERS_OF_A_ROUND) % USERS_MAX;
        }
        Ok(())
    }
}

/// How much there is to do, and about how long that takes.
fn estimate(args: &CompareArgs, cells: &[Cell]) -> String {
    let (schemes, rounds, run_s) = (args.schemes.len(), args.rounds, run_s(args));
    let runs = cells.len() * schemes * rounds as usize;
    let requests = |cell: &Cell| args.schemes.iter().map(|scheme| cell.requests(*scheme, run_s)).sum::<u32>();
    let requests = cells.iter().map(|cell| f64::from(requests(cell))).sum::<f64>() * f64::from(rounds);
    let load_s = runs as f64 * run_s;
    let hongbao = if args.schemes.contains(&Scheme::Hongbao) { runs / schemes } else { 0 };
    let credits_s = hongbao as f64 * run_s * CREDITS_TIMES;
    let kills_s = schemes as f64 * (RUN_ROUND_S + loss::LOAD.as_secs_f64());
    let all_s = load_s + requests * REQUEST_US / 1e6 + runs as f64 * RUN_ROUND_S + credits_s + kills_s;
    format!(
        "{} cells x {schemes} schemes x {rounds} rounds: {runs} runs with {} of load and {:.1} million requests to \
         prepare; about {} in all",
        cells.len(),
        minutes(load_s),
        requests / 1e6,
        minutes(all_s)
    )
}

/// Seconds of load in one run.
fn run_s(args: &CompareArgs) -> f64 {
    args.seconds as f64 + WARM_UP.as_secs_f64()
}

fn minutes(seconds: f64) -> String {
    format!("{:.0} min", (seconds / 60.0).ceil())
}

fn runner<'a>(args: &CompareArgs, dir: &'a Path) -> Runner<'a> {
    Runner { dir, time: Duration::from_secs(args.seconds), connections: args.database_connections }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    #[test]
    fn the_whole_grid_is_what_is_measured_by_default_and_how_long_that_takes_is_said() {
        let matches = CompareArgs::augment_args(clap::Command::new("compare")).get_matches_from(["compare"]);
        let args = CompareArgs::from_arg_matches(&matches).unwrap();
        let cells = Cell::all(&args.openers, &args.envelopes);
        let points: Vec<_> = cells.iter().map(|cell| (cell.envelopes, cell.openers)).collect();
        let of = |envelopes| [1, 8, 64, 256, 1_024].map(|openers| (envelopes, openers));
        assert_eq!(points, [of(1), of(100), of(10_000)].concat());
        assert_eq!(args.schemes, Scheme::all());
        let message = "15 cells x 9 schemes x 1 rounds: 135 runs with 8 min of load and 31.0 million requests to prepare; \
                     about 14 min in all";
        assert_eq!(estimate(&args, &cells), message);
    }
}
