//! What a run says to a threshold.

use super::super::{Latency, Outcome, number};
use super::{CALLS, Counted, Kind, Metric};

/// What was measured, in words, and as a number if there is one.
pub struct Measured {
    pub value: f64,
    pub words: String,
}

impl Metric {
    /// `None` if the run did not measure it.
    pub(super) fn measure(&self, outcome: &Outcome) -> Option<Measured> {
        match self {
            Metric::Latency { call, percentile } => {
                let slowest = whole_run(outcome, *call)
                    .filter(|row| row.count > 0)
                    .max_by(|left, right| percentile.of(left).total_cmp(&percentile.of(right)))?;
                let value = percentile.of(slowest);
                let words = number::millis(value);
                let words = if call.is_some() { words } else { format!("{words} ({})", slowest.call) };
                Some(Measured { value, words })
            }
            Metric::Share { call, what } => {
                let part = match what {
                    Kind::Unknown => outcome.totals.unknown,
                    Kind::Errors => labelled(outcome, *call, |_| true),
                    Kind::Word(word) => labelled(outcome, *call, |label| label.split(' ').any(|part| part == word)),
                };
                let whole = match call {
                    Some(_) => whole_run(outcome, *call).map(|row| row.count).sum(),
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

/// The rows that sum a call up, of one call or of each. Clients that were slow on purpose are
/// no call: their latency is their own.
fn whole_run<'a>(outcome: &'a Outcome, call: Option<&'a str>) -> impl Iterator<Item = &'a Latency> {
    let wanted = move |row: &&Latency| call.map_or(CALLS.contains(&row.call.as_str()), |call| call == row.call);
    outcome.latencies.iter().filter(|row| row.phase == "all" && row.outcome == "all").filter(wanted)
}

/// Refusals and failures whose label, which begins with the call, is wanted.
fn labelled(outcome: &Outcome, call: Option<&str>, wanted: impl Fn(&str) -> bool) -> u64 {
    let of_call =
        |label: &str| call.is_none_or(|call| label.strip_prefix(call).is_some_and(|what| what.starts_with(' ')));
    let errors = outcome.seconds.iter().flat_map(|second| &second.errors);
    errors.filter(|(label, _)| of_call(label) && wanted(label)).map(|(_, count)| count).sum()
}
