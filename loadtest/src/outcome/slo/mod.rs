//! Thresholds of a run: how they are written and whether they held.
//!
//! | written | what must hold |
//! |---|---|
//! | `open.p99<50ms` | a percentile of one call: p50, p90, p99, p99.9, p99.99, max; in us, ms or s |
//! | `p99<50ms` | the same of every call, so of the slowest |
//! | `busy<1%` | requests that were answered so, by a word of the answer's label, of those that were sent |
//! | `open.busy<1%` | the same of one call, of its answers |
//! | `errors<0.1%` | all that was refused or failed |
//! | `unknown<0.01%` | requests without an answer that says what happened |
//! | `opens>10000/s` | offered, started, accepted or opens (committed), over the time of the load |
//! | `settled>5000/s` | openings credited, over the time of the load and the drain |
//! | `drain<60s` | from the load's end until every opening was credited |

mod measure;
mod parse;

use std::fmt;

use super::{Latency, Outcome, Verdict};

pub use parse::read_file;

/// The calls that a threshold can name.
const CALLS: [&str; 5] = ["create", "pay", "grab", "open", "view"];

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
        let Some(measure::Measured { value, words }) = measured else {
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

#[cfg(test)]
mod tests;
