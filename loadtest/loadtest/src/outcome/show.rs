//! `show`: a run that was kept as JSON, shown again and judged again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hongbao_load::{Fallible, files};

use super::data::Outcome;
use super::slo::{self, Slo};

/// The options of `show`.
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
    let mut outcome = Outcome::read("show", &args.run)?;
    let slos = slo::all(&args.slos, args.slo_file.as_deref())?;
    if !slos.is_empty() {
        outcome.slos = slo::judge(&slos, &outcome);
    }
    Ok(outcome.publish(Ok(()), args.json.as_deref(), args.html.as_deref()))
}

impl Outcome {
    /// Prints the summary, writes the files that were asked for, and gives the exit
    /// code. First of all it prints: what cannot be written must hide nothing, least of all a wrong fen.
    /// `kept` is what came of a file that was written before.
    pub fn publish(&self, kept: Fallible<()>, json: Option<&Path>, html: Option<&Path>) -> ExitCode {
        print!("{}", self.text());
        let json = files::write("--json", json, || self.json());
        let html = files::write("--html", html, || Ok(self.html()));
        files::exit_code(self.exit_code(), [kept, json, html])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::sample::outcome;

    #[test]
    fn a_kept_run_is_judged_by_other_thresholds_and_written_anew() {
        let folder = tempfile::tempdir().expect("the system has a folder for temporary files");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("run.json"), outcome().json().expect("the sample is finite")).expect("the folder is ours");
        std::fs::write(path("slo.txt"), "drain<60s # as promised\n").expect("the folder is ours");
        let args = ShowArgs {
            run: path("run.json"),
            html: Some(path("run.html")),
            json: Some(path("again.json")),
            slos: vec!["open.p99<1s".parse().expect("it is well written")],
            slo_file: Some(path("slo.txt")),
        };
        assert_eq!(show(&args).expect("all files are there"), ExitCode::SUCCESS);
        let again = Outcome::read("show", &path("again.json")).expect("it was written");
        let texts: Vec<_> = again.slos.iter().map(|slo| (slo.text.as_str(), slo.held)).collect();
        assert_eq!(texts, [("open.p99<1s", true), ("drain<60s", true)]);
        let page = std::fs::read_to_string(path("run.html")).expect("it was written");
        assert!(page.contains("All 2 held"));

        let missed =
            ShowArgs { slos: vec!["open.p99<1ms".parse().expect("it is well written")], slo_file: None, ..args };
        assert_eq!(show(&missed).expect("all files are there"), ExitCode::from(1));
    }
    #[test]
    fn a_file_that_cannot_be_written_hides_no_verdict() {
        let nowhere = Some(Path::new("/no/such/folder/run.json"));
        let mut held = Outcome { slos: Vec::new(), ..outcome() };
        assert_eq!(held.publish(Ok(()), None, None), ExitCode::SUCCESS);
        assert_eq!(held.publish(Ok(()), nowhere, None), ExitCode::from(2));
        assert_eq!(held.publish(Err("--history: no".into()), None, None), ExitCode::from(2));
        held.audit[0].broken = 1;
        assert_eq!(
            held.publish(Err("--history: no".into()), nowhere, nowhere),
            ExitCode::from(1),
            "a fen is wrong all the same"
        );
    }
}
