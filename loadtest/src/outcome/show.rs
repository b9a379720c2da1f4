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
    // First of all: what cannot be written must not hide it.
    print!("{}", outcome.text());
    if let Some(path) = &args.html {
        write(path, &outcome.html())?;
    }
    if let Some(path) = &args.json {
        write(path, &outcome.json()?)?;
    }
    Ok(ExitCode::from(outcome.exit_code()))
}

fn write(path: &Path, text: &str) -> Fallible<()> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::sample::outcome;

    #[test]
    fn a_kept_run_is_judged_by_other_thresholds_and_written_anew() {
        let folder = tempfile::tempdir().expect("the system has a folder for temporary files");
        let path = |name: &str| folder.path().join(name);
        write(&path("run.json"), &outcome().json().expect("the sample is finite")).expect("the folder is ours");
        write(&path("slo.txt"), "drain<60s # as promised\n").expect("the folder is ours");
        let args = ShowArgs {
            run: path("run.json"),
            html: Some(path("run.html")),
            json: Some(path("again.json")),
            slos: vec!["open.p99<1s".parse().expect("it is well written")],
            slo_file: Some(path("slo.txt")),
        };
        assert_eq!(show(&args).expect("all files are there"), ExitCode::SUCCESS);
        let again = Outcome::read(&path("again.json")).expect("it was written");
        let texts: Vec<_> = again.slos.iter().map(|slo| (slo.text.as_str(), slo.held)).collect();
        assert_eq!(texts, [("open.p99<1s", true), ("drain<60s", true)]);
        let page = std::fs::read_to_string(path("run.html")).expect("it was written");
        assert!(page.contains("All 2 held"));

        let missed =
            ShowArgs { slos: vec!["open.p99<1ms".parse().expect("it is well written")], slo_file: None, ..args };
        assert_eq!(show(&missed).expect("all files are there"), ExitCode::from(1));
    }
}
