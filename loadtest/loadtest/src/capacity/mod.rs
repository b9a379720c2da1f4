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

/// The options of `plan`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    wanted: Wanted,
    /// The JSON of a measured run with --cluster, without faults
    #[arg(long)]
    from: PathBuf,
    /// Write what is needed to this file, too
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Prints the plan. The exit code is 1 if no installation does what is wanted, and
/// 2 if the run does not show that.
pub fn print(args: &Args) -> Fallible<ExitCode> {
    let evidence = Evidence::read(&args.from)?;
    if args.wanted.servers_max <= args.wanted.lose_servers {
        return Err("--servers-max must leave a SET a server when --lose-servers are lost".into());
    }
    match plan::plan(&args.wanted, &evidence) {
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
            println!("{sheet}This run sustained too little to show it: {why}.");
            println!("A run with more --closed users comes nearer to the ceiling.");
            Ok(ExitCode::from(FAILED))
        }
    }
}
