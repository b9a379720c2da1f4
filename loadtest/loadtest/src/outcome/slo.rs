//! Thresholds of a run: how they are written and whether they held.
//!
//! | written | what must hold |
//! |---|---|
//! | `open.p99<50ms` | a percentile of one call: p50, p90, p99, p99.9, p99.99, max; in us, ms or s. Of all its answers, or of those that brought what was asked for, whichever is slower: quick refusals flatter nobody |
//! | `p99<50ms` | the same of every call, so of the slowest |
//! | `busy<1%` | requests that were answered so, by a word of the answer's label, of those that were sent |
//! | `open.busy<1%` | the same of one call, of its answers |
//! | `errors<0.1%` | all that was refused or failed |
//! | `unknown<0.01%` | requests without an answer that says what happened |
//! | `opens>10000/s` | offered, started, accepted or opens (committed), over the time of the load |
//! | `settled>5000/s` | openings and refunds credited (the service counts both as one), over the time of the load and the drain |
//! | `drain<60s` | from the load's end until every opening was credited |

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use hongbao_load::number;
use hongbao_load::{Fallible, files};

use super::{Latency, Outcome, Verdict};

/// The calls that a threshold can name.
const CALLS: [&str; 5] = ["create", "pay", "grab", "open", "view"];

/// The answers whose share a threshold can bound, beside statuses such as `503`: a word
/// outside this list would never be counted, and so always hold.
const CODES: [&str; 22] = [
    "invalid_request",
    "unauthorized",
    "forbidden",
    "not_found",
    "not_sender",
    "not_invited",
    "ticket_invalid",
    "insufficient_funds",
    "cancelled",
    "id_conflict",
    "body_too_large",
    "method_not_allowed",
    "misdirected",
    "rate_limited",
    "busy",
    "unavailable",
    "draining",
    "outcome_unknown",
    "rehearsal_off",
    "rehearsal_refused",
    "internal",
    "request_timeout",
];

/// The answers that brought what was asked for, where an answer may be a refusal.
const BROUGHT: [&str; 3] = ["done", "ready", "opened"];

/// A threshold as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    text: String,
    metric: Metric,
    operator: Operator,
    bound: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Metric {
    /// In milliseconds.
    Latency { call: Option<&'static str>, percentile: Percentile },
    /// Of 1.
    Share { call: Option<&'static str>, what: Kind },
    /// A second.
    Rate(Counted),
    /// In seconds.
    Drain,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Percentile {
    P50,
    P90,
    P99,
    P999,
    P9999,
    Max,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Errors,
    Unknown,
    /// Labels that hold this word.
    Word(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Counted {
    Offered,
    Started,
    Accepted,
    Opens,
    Settled,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What was measured, in words, and as a number if there is one.
struct Measured {
    value: f64,
    words: String,
}

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
            Metric::Latency { call: None | Some("open"), percentile } => Some((percentile.name(), self.bound)),
            _ => None,
        }
    }

    /// Whether the run held it.
    pub fn judge(&self, outcome: &Outcome) -> Verdict {
        let measured = self.metric.measure(outcome).filter(|measured| measured.value.is_finite());
        let Some(Measured { value, words }) = measured else {
            return Verdict { text: self.text.clone(), value: "not measured".into(), held: false };
        };
        let held = match self.operator {
            Operator::Less => value < self.bound,
            Operator::LessOrEqual => value <= self.bound,
            Operator::Greater => value > self.bound,
            Operator::GreaterOrEqual => value >= self.bound,
        };
        Verdict { text: self.text.clone(), value: words, held }
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
        let refuse = |why: String| Err(format!("the threshold {text:?} {why}"));
        let Some(at) = text.find(['<', '>']) else {
            return refuse("has none of <, <=, > and >=".into());
        };
        let (left, rest) = text.split_at(at);
        let (operator, right) = match rest.as_bytes() {
            [b'<', b'=', ..] => (Operator::LessOrEqual, &rest[2..]),
            [b'>', b'=', ..] => (Operator::GreaterOrEqual, &rest[2..]),
            [b'<', ..] => (Operator::Less, &rest[1..]),
            _ => (Operator::Greater, &rest[1..]),
        };
        let metric = match Metric::parse(left) {
            Ok(metric) => metric,
            Err(why) => return refuse(why),
        };
        match metric.bound(right) {
            Ok(bound) => Ok(Slo { text, metric, operator, bound }),
            Err(why) => refuse(why),
        }
    }
}

impl Metric {
    fn parse(text: &str) -> Result<Metric, String> {
        if text.is_empty() {
            return Err("does not say what it bounds".into());
        }
        // `p99.9` holds a point of its own.
        let first = text.split('.').next().unwrap_or_default();
        let call = CALLS.into_iter().find(|call| *call == first && text.len() > call.len());
        let name = call.map_or(text, |call| &text[call.len() + 1..]);
        if let Some(percentile) = Percentile::parse(name) {
            return Ok(Metric::Latency { call, percentile });
        }
        if name.contains('.') {
            return Err(match name.starts_with('p') {
                true => format!("names {name}; known are p50, p90, p99, p99.9, p99.99 and max"),
                false => format!("names the call {first}; known are {}", CALLS.join(", ")),
            });
        }
        if name.starts_with('p') && name[1..].parse::<f64>().is_ok() {
            return Err(format!("names {name}; known are p50, p90, p99, p99.9, p99.99 and max"));
        }
        let whole_run = match name {
            "offered" => Some(Metric::Rate(Counted::Offered)),
            "started" => Some(Metric::Rate(Counted::Started)),
            "accepted" => Some(Metric::Rate(Counted::Accepted)),
            "opens" | "committed" => Some(Metric::Rate(Counted::Opens)),
            "settled" => Some(Metric::Rate(Counted::Settled)),
            "drain" => Some(Metric::Drain),
            "unknown" => Some(Metric::Share { call: None, what: Kind::Unknown }),
            _ => None,
        };
        match (whole_run, call) {
            (Some(_), Some(_)) => {
                return Err(format!("asks for {name} of one call; it is known of the whole run only"));
            }
            (Some(metric), None) => return Ok(metric),
            (None, _) => {}
        }
        if name == "errors" {
            return Ok(Metric::Share { call, what: Kind::Errors });
        }
        let is_status = name.len() == 3 && name.parse::<u16>().is_ok_and(|status| (100..600).contains(&status));
        if !is_status && !CODES.contains(&name) {
            return Err(format!("bounds {name:?}, which is nothing that a run measures"));
        }
        Ok(Metric::Share { call, what: Kind::Word(name.into()) })
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
        let Some(factor) = factor else {
            let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
            return Err(match unit {
                "" => format!("has a bound without a unit; here {} would do, as in {example}", names.join(", ")),
                _ => format!("has the unit {unit:?}; here {} would do, as in {example}", names.join(", ")),
            });
        };
        Ok(figure * factor)
    }

    /// `None` if the run did not measure it.
    fn measure(&self, outcome: &Outcome) -> Option<Measured> {
        match self {
            Metric::Latency { call, percentile } => {
                let slowest = all_phases(outcome, *call)
                    .filter(|row| row.count > 0 && (row.outcome == "all" || BROUGHT.contains(&row.outcome.as_str())))
                    .max_by(|left, right| percentile.of(left).total_cmp(&percentile.of(right)))?;
                let value = percentile.of(slowest);
                let of_call = call.is_none().then_some(slowest.call.as_str());
                let of_outcome = (slowest.outcome != "all").then_some(slowest.outcome.as_str());
                let of: Vec<&str> = of_call.into_iter().chain(of_outcome).collect();
                let of = if of.is_empty() { String::new() } else { format!(" ({})", of.join(" ")) };
                Some(Measured { value, words: number::millis(value) + &of })
            }
            Metric::Share { call, what } => {
                let part = match what {
                    Kind::Unknown => outcome.totals.unknown,
                    Kind::Errors => labelled(outcome, *call, |_| true),
                    Kind::Word(word) => labelled(outcome, *call, |label| label.split(' ').any(|part| part == word)),
                };
                let whole = match call {
                    Some(_) => all_phases(outcome, *call).filter(|row| row.outcome == "all").map(|row| row.count).sum(),
                    None => outcome.totals.started,
                };
                let value = part as f64 / whole as f64;
                let words = format!("{} ({} of {})", number::share(value), number::count(part), number::count(whole));
                (whole > 0).then_some(Measured { value, words })
            }
            Metric::Rate(counted) => {
                let totals = &outcome.totals;
                let (count, seconds) = match counted {
                    Counted::Offered => (totals.offered, outcome.load_s),
                    Counted::Started => (totals.started, outcome.load_s),
                    Counted::Accepted => (totals.accepted, outcome.load_s),
                    Counted::Opens => (totals.committed, outcome.load_s),
                    Counted::Settled => (totals.settled, outcome.settling_s()),
                };
                let value = number::rate(count, seconds);
                (seconds > 0.0).then(|| Measured { value, words: format!("{}/s", number::figure(value)) })
            }
            Metric::Drain => {
                let value = outcome.drain_s?;
                Some(Measured { value, words: format!("{} s", number::figure(value)) })
            }
        }
    }
}

impl Percentile {
    const ALL: [Percentile; 6] =
        [Percentile::P50, Percentile::P90, Percentile::P99, Percentile::P999, Percentile::P9999, Percentile::Max];

    fn parse(text: &str) -> Option<Percentile> {
        Percentile::ALL.into_iter().find(|percentile| percentile.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Percentile::P50 => "p50",
            Percentile::P90 => "p90",
            Percentile::P99 => "p99",
            Percentile::P999 => "p99.9",
            Percentile::P9999 => "p99.99",
            Percentile::Max => "max",
        }
    }

    fn of(self, row: &Latency) -> f64 {
        match self {
            Percentile::P50 => row.p50_ms,
            Percentile::P90 => row.p90_ms,
            Percentile::P99 => row.p99_ms,
            Percentile::P999 => row.p999_ms,
            Percentile::P9999 => row.p9999_ms,
            Percentile::Max => row.max_ms,
        }
    }
}

/// The rows that are of all phases, of one call or of each. Clients that were slow on purpose are
/// no call: their latency is their own.
fn all_phases<'a>(outcome: &'a Outcome, call: Option<&'a str>) -> impl Iterator<Item = &'a Latency> {
    let wanted = move |row: &&Latency| call.map_or(CALLS.contains(&row.call.as_str()), |call| call == row.call);
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
