//! `plan`: from a measured run to the SETs, servers and databases that a night
//! needs, as arithmetic that can be checked line by line.

mod bound;
mod evidence;
mod plan;
mod sheet;
#[cfg(test)]
mod tests;
mod wanted;

use std::path::PathBuf;
use std::process::ExitCode;

use evidence::Evidence;
use hongbao_load::{FAILED, Fallible, files};
use plan::NoPlan;
use wanted::Wanted;

use crate::outcome::Measured;

/// The options of `plan`.
#[derive(clap::Args)]
pub struct Args {
    /// Openings a second at the peak
    #[arg(long, value_parser = positive)]
    peak: f64,
    /// Openings of one envelope, on average
    #[arg(long, value_parser = positive)]
    openers: f64,
    /// The JSON of a measured run with --cluster, without faults
    #[arg(long)]
    from: PathBuf,
    /// The part of what was measured that is counted on
    #[arg(long, default_value_t = 0.6, value_parser = share)]
    derating: f64,
    /// SETs that may be lost at the peak
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=50))]
    lose_sets: u32,
    /// Servers of a SET, and gateways, that may be lost at the peak
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=50))]
    lose_servers: u32,
    /// Servers that a SET may have
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    servers_max: u32,
    /// Grabs for each opening
    #[arg(long, default_value_t = 20.0, value_parser = not_negative)]
    grabs_per_open: f64,
    /// Views for each opening
    #[arg(long, default_value_t = 10.0, value_parser = not_negative)]
    views_per_open: f64,
    /// How long the peak lasts
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    peak_seconds: f64,
    /// How long after the peak its last credit may come
    #[arg(long, default_value_t = 240.0, value_parser = positive)]
    drain_seconds: f64,
    /// Processors of a server's or gateway's host; those of the run's machine if absent
    #[arg(long, value_parser = positive)]
    server_cores: Option<f64>,
    /// Processors of a database's host; those of the run's machine if absent
    #[arg(long, value_parser = positive)]
    db_cores: Option<f64>,
    /// Hosts of a database: 3 for a Galera cluster
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    db_nodes: u32,
    /// The network of a host, in each direction
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    network_gbit: f64,
    /// Write what is needed to this file, too
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Prints the plan. The exit code is 1 if no installation does what is wanted, and
/// 2 if that cannot be told from the run.
pub fn print(args: &Args) -> Fallible<ExitCode> {
    let evidence = Evidence::read(&args.from)?;
    let wanted = wanted(args, &evidence.measured)?;
    match plan::plan(&wanted, &evidence) {
        Ok(plan) => {
            print!("{}", plan.sheet);
            files::write("--json", args.json.as_deref(), || Ok(serde_json::to_string_pretty(&plan)? + "\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(NoPlan { why, is_known: true, sheet }) => {
            println!("{sheet}No installation does it: {why}.");
            Ok(ExitCode::FAILURE)
        }
        Err(NoPlan { why, is_known: false, sheet }) => {
            println!("{sheet}It cannot be told from this run, which bore too little: {why}.");
            println!("A run with more --closed users comes nearer to the ceiling.");
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn wanted(args: &Args, measured: &Measured) -> Fallible<Wanted> {
    if args.openers < 1.0 {
        return Err("an envelope that nobody opens is no part of a peak: --openers must be at least 1".into());
    }
    if args.servers_max <= args.lose_servers {
        return Err("--servers-max must leave a SET a server when --lose-servers are lost".into());
    }
    Ok(Wanted {
        peak_opens_per_s: args.peak,
        openers: args.openers,
        grabs_per_open: args.grabs_per_open,
        views_per_open: args.views_per_open,
        peak_s: args.peak_seconds,
        drain_s: args.drain_seconds,
        derating: args.derating,
        lose_sets: args.lose_sets,
        lose_servers: args.lose_servers,
        servers_max: args.servers_max,
        server_cores: args.server_cores.unwrap_or(measured.cores),
        db_cores: args.db_cores.unwrap_or(measured.cores),
        db_nodes: args.db_nodes,
        network_gbit_per_s: args.network_gbit,
    })
}

fn positive(text: &str) -> Result<f64, String> {
    let value = not_negative(text)?;
    if value == 0.0 {
        return Err("it must be more than nothing".to_owned());
    }
    Ok(value)
}

fn not_negative(text: &str) -> Result<f64, String> {
    /// More than that is a slip of the finger, and keeps all results finite.
    const MAX: f64 = 1e12;
    let value: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if !(0.0..=MAX).contains(&value) {
        return Err(format!("it must be from 0 to {MAX}"));
    }
    Ok(value)
}

fn share(text: &str) -> Result<f64, String> {
    let value = positive(text)?;
    if value > 1.0 {
        return Err("no more than all of it can be counted on: at most 1".to_owned());
    }
    Ok(value)
}
