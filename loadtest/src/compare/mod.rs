//! `compare`: the schemes side by side, on the same MariaDB with the same
//! durability, behind the same HTTP, under the same load, in turns.
//!
//! Reading order: [`cell`] says what is sent, [`run`] how a scheme is measured,
//! [`rival`] what the rivals do, [`history`] and [`audit`] what is checked,
//! [`loss`] what a crash costs, [`report`] and [`chart`] what is shown.

mod cell;
mod run;

pub mod rival;
mod scheme;

mod audit;
mod history;
mod loss;

mod chart;
mod report;

mod ground;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use self::cell::Cell;
use self::ground::Ground;
use self::loss::RunnerParts;
use self::report::{Line, Report, Sample};
use self::scheme::Scheme;
use crate::measure::WARM_UP;
use crate::service::Wanted;
use crate::{Fallible, interrupt, machine};

/// What a comparison is told.
#[derive(clap::Args)]
pub struct CompareArgs {
    /// The `hongbao` binary, a release build; only Hongbao itself needs it
    #[arg(long, default_value = "target/release/hongbao")]
    server: PathBuf,
    /// The script that starts a cluster
    #[arg(long, default_value = "ops/cluster.sh")]
    cluster_script: PathBuf,
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
    /// all, or some of bare,row-lock,no-wait,optimistic,memory-first,serial,hongbao
    #[arg(long, default_value = "all", value_parser = Scheme::parse_list)]
    // With its path, or clap would take it for an option that may come several times.
    schemes: std::vec::Vec<Scheme>,
    /// Connections that each rival has to MariaDB
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

/// Runs the comparison and prints its table.
pub fn compare(args: &CompareArgs) -> Fallible<ExitCode> {
    interrupt::watch()?;
    machine::raise_open_files()?;
    let report = Comparison::new(args)?.run()?;
    print!("{}", report.table());
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(path) = &args.html {
        std::fs::write(path, chart::page(&report))?;
    }
    Ok(if report.money_is_wrong() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A comparison under way. The servers end before their data goes.
struct Comparison<'a> {
    ground: Ground,
    dir: tempfile::TempDir,
    args: &'a CompareArgs,
    /// The next user's number: nobody opens twice.
    next_user: u32,
}

impl<'a> Comparison<'a> {
    fn new(args: &'a CompareArgs) -> Fallible<Comparison<'a>> {
        std::fs::create_dir_all(&args.data)?;
        let dir = tempfile::tempdir_in(&args.data)?;
        let seconds = args.seconds as f64 + WARM_UP.as_secs_f64();
        let cells = Cell::all(&args.openers, &args.envelopes);
        let shares_max = cells.iter().map(|cell| cell.shares_max(Scheme::Hongbao, seconds)).max();
        let shares_max = shares_max.unwrap_or(1).max(loss::shares_max());
        let wanted = Wanted { shares_max, ..Wanted::default() };
        let service = (args.server.as_path(), args.cluster_script.as_path(), &wanted);
        let service = args.schemes.contains(&Scheme::Hongbao).then_some(service);
        let ground = Ground::start(&args.schemes, service, dir.path())?;
        Ok(Comparison { ground, dir, args, next_user: 0 })
    }

    fn run(mut self) -> Fallible<Report> {
        let mut lines = Vec::new();
        let cells = Cell::all(&self.args.openers, &self.args.envelopes);
        for (number, cell) in cells.iter().enumerate() {
            eprintln!("cell {} of {}", number + 1, cells.len());
            lines.extend(self.cell(*cell)?);
        }
        let (mut losses, mut not_killed) = (Vec::new(), Vec::new());
        // Hongbao comes last: its server does not come back.
        for &scheme in self.args.schemes.iter().filter(|scheme| scheme.keeps_openings()) {
            eprintln!("killing {} in the middle of its load", scheme.text());
            let parts = parts(self.args, self.dir.path());
            match loss::kill(&mut self.ground, &parts, scheme, self.next_user) {
                Ok(loss) => losses.push(loss),
                Err(error) => not_killed.push(format!("{} killed in mid-load: not measured: {error}", scheme.text())),
            }
            interrupt::check()?;
        }
        Ok(Report {
            processors: machine::processors(),
            file_system: machine::file_system(self.ground.data_dir()),
            durability: self.ground.durability()?,
            debug_build: cfg!(debug_assertions),
            database_connections: self.args.database_connections,
            seconds: self.args.seconds,
            rounds: self.args.rounds,
            lines,
            losses,
            not_killed,
        })
    }

    /// All schemes in one cell, in turns.
    fn cell(&mut self, cell: Cell) -> Fallible<Vec<Line>> {
        let schemes = &self.args.schemes;
        let mut samples: Vec<(Vec<Sample>, Vec<String>)> = vec![Default::default(); schemes.len()];
        for round in 0..self.args.rounds {
            for (scheme, (samples, failures)) in schemes.iter().zip(&mut samples) {
                let parts = parts(self.args, self.dir.path());
                let sample = parts.on(&self.ground).run(*scheme, cell, self.next_user);
                interrupt::check()?;
                let at = format!("{} x {}, round {}: {}", cell.openers, cell.envelopes, round + 1, scheme.text());
                match sample {
                    Ok(sample) => {
                        eprintln!("{at} {:.0}/s", sample.per_second);
                        samples.push(sample);
                    }
                    Err(error) => {
                        eprintln!("{at} FAILED: {error}");
                        failures.push(error.to_string());
                    }
                }
            }
            // The next round's tokens are new to everybody, as this one's were.
            self.next_user = (self.next_user + USERS_OF_A_ROUND) % USERS_MAX;
        }
        let lines = schemes.iter().zip(samples);
        Ok(lines.map(|(scheme, (samples, failures))| Line::new(cell, *scheme, samples, failures)).collect())
    }
}

fn parts<'a>(args: &CompareArgs, dir: &'a std::path::Path) -> RunnerParts<'a> {
    RunnerParts { dir, time: Duration::from_secs(args.seconds), connections: args.database_connections }
}
