//! Thresholds of a run: how they are written and whether they held.
//!
//! | written | what must hold |
//! |---|---|
//! | `open.p99<50ms` | a percentile of one call: p50, p90, p99, p99.9, p99.99, max; in us, ms or s. Of all its answers, or of those that brought what was asked for, whichever is slower: quick refusals flatter no service |
//! | `p99<50ms` | the same of every call, so of the slowest |
//! | `busy<1%` | requests that were answered so, by a word of the answer's label, of those that were sent |
//! | `open.busy<1%` | the same of one call, of its answers |
//! | `errors<0.1%` | all that was refused or failed, and visits whose envelope could not be sent, of all requests and such visits |
//! | `unknown<0.01%` | requests without an answer that says what happened |
//! | `opens>10000/s` | offered, started, accepted or opens (committed), over the time of the load |
//! | `settled>5000/s` | openings and refunds credited (the service counts both as one), over the time of the load and the drain |
//! | `drain<60s` | from the load's end until every opening was credited |

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use hongbao_core::problem::Code;
use hongbao_load::{Fallible, files, number};

use super::calls;
use super::data::{Latency, Outcome, PERCENTILES, Verdict};

/// The answers that brought what was asked for, where an answer may be a refusal.
const BROUGHT: [&str; 3] = ["done", "ready", "opened"];

/// How many of something there were, and the seconds that their rate is over.
type Count = fn(&Outcome) -> (u64, f64);

/// What is counted over the whole run.
const COUNTS: [(&str, Count); 6] = [
    ("offered", |run| (run.totals.offered, run.load_s)),
    ("started", |run| (run.totals.started, run.load_s)),
    ("accepted", |run| (run.totals.accepted, run.load_s)),
    ("opens", |run| (run.totals.committed, run.load_s)),
    ("committed", |run| (run.totals.committed, run.load_s)),
    ("settled", |run| (run.totals.settled, run.settling_s())),
];

/// A threshold as it was asked for.
#[derive(Clone, Debug)]
pub struct Slo {
    text: String,
    metric: Metric,
    operator: Operator,
    bound: f64,
}

#[derive(Clone, Debug)]
enum Metric {
    /// In milliseconds; the percentile by its place in [`PERCENTILES`].
    Latency { call: Option<&'static str>, percentile: usize },
    /// Of 1.
    Share { call: Option<&'static str>, of: Answers },
    /// A second.
    Rate(Count),
    /// In seconds.
    Drain,
}

/// The answers whose share is bounded.
#[derive(Clone, Debug)]
enum Answers {
    Errors,
    Unknown,
    /// Whose label has this part.
    Labelled(String),
}

/// Whether a measured value and its bound stand so.
type Operator = fn(&f64, &f64) -> bool;

/// As they are written; the longer ones first, which begin as the others do.
const OPERATORS: [(&str, Operator); 4] = [("<=", f64::le), (">=", f64::ge), ("<", f64::lt), (">", f64::gt)];

/// Reads thresholds from a file's text: one a line, or several with commas; `#` begins a comment.
fn parse_file(text: &str) -> Result<Vec<Slo>, String> {
    let mut slos = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        for part in line.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            slos.push(part.parse().map_err(|error| format!("line {}: {error}", index + 1))?);
        }
    }
    Ok(slos)
}

/// The thresholds of `--slo`, and those of `--slo-file` if there is one.
pub fn all(slos: &[Slo], file: Option<&Path>) -> Fallible<Vec<Slo>> {
    let Some(path) = file else { return Ok(slos.to_vec()) };
    let of_file = parse_file(&files::read("--slo-file", path)?);
    let of_file = of_file.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok([slos, &of_file].concat())
}

/// What became of each threshold, in their order.
pub fn judge(slos: &[Slo], outcome: &Outcome) -> Vec<Verdict> {
    slos.iter().map(|slo| slo.judge(outcome)).collect()
}

impl Slo {
    /// The percentile of openings that it bounds, and the bound in milliseconds, if it does.
    pub fn opening_bound_ms(&self) -> Option<(&'static str, f64)> {
        match self.metric {
            Metric::Latency { call: None | Some("open"), percentile } => Some((PERCENTILES[percentile], self.bound)),
            _ => None,
        }
    }

    /// Whether the run held it.
    pub fn judge(&self, outcome: &Outcome) -> Verdict {
        let text = self.text.clone();
        let measured = self.metric.measure(outcome).filter(|(value, _)| value.is_finite());
        let Some((measured, value)) = measured else {
            return Verdict { text, value: "not measured".into(), held: false };
        };
        let held = (self.operator)(&measured, &self.bound);
        Verdict { text, value, held }
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Slo, String> {
        let text: String = text.chars().filter(|char| !char.is_whitespace()).collect();
        let refuse = |why: String| format!("the threshold {text:?} {why}");
        let at = text.find(['<', '>']).ok_or_else(|| refuse("has none of <, <=, > and >=".into()))?;
        let (left, rest) = text.split_at(at);
        let written = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
        let (operator, right) = written.expect("it begins with one of them");
        let metric = Metric::parse(left).map_err(refuse)?;
        let bound = metric.bound(right).map_err(refuse)?;
        Ok(Slo { text, metric, operator, bound })
    }
}

impl Metric {
    fn parse(text: &str) -> Result<Metric, String> {
        if text.is_empty() {
            return Err("does not say what it bounds".into());
        }
        // `p99.9` holds a point of its own.
        let first = text.split('.').next().unwrap_or_default();
        let call = calls::names().find(|call| *call == first && text.len() > call.len());
        let name = call.map_or(text, |call| &text[call.len() + 1..]);
        if let Some(percentile) = PERCENTILES.iter().position(|percentile| *percentile == name) {
            return Ok(Metric::Latency { call, percentile });
        }
        if name.starts_with('p') && (name.contains('.') || name[1..].parse::<f64>().is_ok()) {
            return Err(format!("names {name}; known are {}", PERCENTILES.join(", ")));
        }
        if name.contains('.') {
            let known: Vec<&str> = calls::names().collect();
            return Err(format!("names the call {first}; known are {}", known.join(", ")));
        }
        let whole_run = match (name, COUNTS.iter().find(|(counted, _)| *counted == name)) {
            (_, Some((_, count))) => Some(Metric::Rate(*count)),
            ("drain", _) => Some(Metric::Drain),
            ("unknown", _) => Some(Metric::Share { call: None, of: Answers::Unknown }),
            _ => None,
        };
        if let Some(metric) = whole_run {
            return match call {
                None => Ok(metric),
                Some(_) => Err(format!("asks for {name} of one call; it is known of the whole run only")),
            };
        }
        if name == "errors" {
            return Ok(Metric::Share { call, of: Answers::Errors });
        }
        // Any other word would never be counted, and so always hold.
        let is_status = name.len() == 3 && name.parse::<u16>().is_ok_and(|status| (100..600).contains(&status));
        if !is_status && !Code::ALL.iter().any(|code| code.as_str() == name) {
            return Err(format!("bounds {name:?}, which is nothing that a run measures"));
        }
        Ok(Metric::Share { call, of: Answers::Labelled(name.into()) })
    }

    /// Reads the right side, in the unit that the metric is measured in.
    fn bound(&self, text: &str) -> Result<f64, String> {
        let (units, example): (&[(&str, f64)], _) = match self {
            Metric::Latency { .. } => (&[("ms", 1.0), ("us", 0.001), ("s", 1_000.0)], "50ms"),
            Metric::Share { .. } => (&[("%", 0.01)], "1%"),
            Metric::Rate(_) => (&[("/s", 1.0)], "10000/s"),
            Metric::Drain => (&[("ms", 0.001), ("s", 1.0), ("min", 60.0)], "60s"),
        };
        if text.is_empty() {
            return Err(format!("has no bound, such as {example}"));
        }
        let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
        let (figure, unit) = text.split_at(digits);
        let Ok(figure) = figure.parse::<f64>() else {
            return Err(format!(
                "has the bound {text:?}, which does not begin with a number; write it as in {example}"
            ));
        };
        let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
        let names = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let factor = factor.ok_or_else(|| match unit {
            "" => format!("has a bound without a unit; here {} would do, as in {example}", names()),
            _ => format!("has the unit {unit:?}; here {} would do, as in {example}", names()),
        })?;
        Ok(figure * factor)
    }

    /// What was measured, as a number and as text; `None` if the run did not measure it.
    fn measure(&self, outcome: &Outcome) -> Option<(f64, String)> {
        match self {
            Metric::Latency { call, percentile } => {
                let of = |row: &Latency| row.milliseconds()[*percentile];
                let slowest = all_phases(outcome, *call)
                    .filter(|row| row.count > 0 && (row.outcome == "all" || BROUGHT.contains(&row.outcome.as_str())))
                    .max_by(|left, right| of(left).total_cmp(&of(right)))?;
                let of_call = call.is_none().then_some(slowest.call.as_str());
                let of_outcome = (slowest.outcome != "all").then_some(slowest.outcome.as_str());
                let which: Vec<&str> = of_call.into_iter().chain(of_outcome).collect();
                let which = if which.is_empty() { String::new() } else { format!(" ({})", which.join(" ")) };
                Some((of(slowest), number::millis(of(slowest)) + &which))
            }
            Metric::Share { call, of } => {
                let part = match of {
                    Answers::Unknown => outcome.totals.unknown,
                    Answers::Errors => labelled(outcome, *call, |_| true),
                    Answers::Labelled(word) => {
                        labelled(outcome, *call, |label| label.split(' ').any(|part| part == word))
                    }
                };
                let whole = match call {
                    Some(_) => all_phases(outcome, *call).filter(|row| row.outcome == "all").map(|row| row.count).sum(),
                    None if matches!(of, Answers::Errors) => outcome.wanted(),
                    None => outcome.totals.started,
                };
                let value = part as f64 / whole as f64;
                let text = format!("{} ({} of {})", number::share(value), number::count(part), number::count(whole));
                (whole > 0).then_some((value, text))
            }
            Metric::Rate(count) => {
                let (count, seconds) = count(outcome);
                let value = number::rate(count, seconds);
                (seconds > 0.0).then(|| (value, format!("{}/s", number::figure(value))))
            }
            Metric::Drain => outcome.drain_s.map(|drain_s| (drain_s, format!("{} s", number::figure(drain_s)))),
        }
    }
}

/// The rows that are of all phases, of one call or of each. Clients that were slow on purpose are
/// no call: their latency is their own.
fn all_phases<'a>(outcome: &'a Outcome, call: Option<&'a str>) -> impl Iterator<Item = &'a Latency> {
    let wanted =
        move |row: &&Latency| call.map_or(calls::names().any(|call| call == row.call), |call| call == row.call);
    outcome.latencies.iter().filter(|row| row.phase == "all").filter(wanted)
}

/// Refusals and failures whose label, which begins with the call, is wanted.
fn labelled(outcome: &Outcome, call: Option<&str>, wanted: impl Fn(&str) -> bool) -> u64 {
    let of_call =
        |label: &str| call.is_none_or(|call| label.strip_prefix(call).is_some_and(|what| what.starts_with(' ')));
    let errors = outcome.seconds.iter().flat_map(|second| &second.errors);
    errors.filter(|(label, _)| of_call(label) && wanted(label)).map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests;
