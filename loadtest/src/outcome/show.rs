//! `show`: a run that was kept as JSON, shown again and judged again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Outcome, Slo, slo};
use crate::Fallible;

/// What `show` is told.
#[derive(clap::Args)]
pub struct ShowArgs {
    /// The JSON file of a run
    run: PathBuf,
    /// Write its page to this file
    #[arg(long)]
    html: Option<PathBuf>,
    /// Write it with its new verdicts to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Judge it by these thresholds instead of its own, as in `open.p99<50ms,busy<1%`
    #[arg(long = "slo", value_delimiter = ',')]
    slos: Vec<Slo>,
    /// The same from a file: one threshold a line, `#` begins a comment
    #[arg(long)]
    slo_file: Option<PathBuf>,
}

/// Prints a kept run's summary, and exits as the run would have.
pub fn show(args: &ShowArgs) -> Fallible<ExitCode> {
    let mut outcome = Outcome::read(&args.run)?;
    let mut slos = args.slos.clone();
    if let Some(path) = &args.slo_file {
        slos.extend(slo::read_file(path)?);
    }
    if !slos.is_empty() {
        outcome.slos = slo::judge(&slos, &outcome);
    }
    if let Some(path) = &args.html {
        write(path, &outcome.html())?;
    }
    if let Some(path) = &args.json {
        write(path, &outcome.json()?)?;
    }
    print!("{}", outcome.text());
    Ok(ExitCode::from(outcome.exit_code()))
}

fn write(path: &Path, text: &str) -> Fallible<()> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}
