//! How thresholds are read, and refused in words.

use std::path::Path;
use std::str::FromStr;

use super::{CALLS, Counted, Kind, Metric, Operator, Percentile, Slo};
use crate::Fallible;

/// The answers whose share a threshold can bound, beside statuses such as `503`: a word
/// outside this list would never be counted, and so always hold.
const CODES: [&str; 20] = [
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
    "internal",
    "request_timeout",
];

/// Reads thresholds from a file's text: one a line, or several with commas; `#` begins a comment.
pub(super) fn parse_file(text: &str) -> Result<Vec<Slo>, String> {
    let mut slos = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        for part in line.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            slos.push(part.parse().map_err(|error| format!("line {}: {error}", index + 1))?);
        }
    }
    Ok(slos)
}

/// Reads thresholds from a file, with the line of a mistake.
pub fn read_file(path: &Path) -> Fallible<Vec<Slo>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse_file(&text).map_err(|error| format!("{}: {error}", path.display()).into())
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
}
