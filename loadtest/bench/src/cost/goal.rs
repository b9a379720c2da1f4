//! What the figures of `cost` are to be.

use super::case::{Case, Via};
use super::run::Run;
use crate::measure::median;

/// What a figure of some runs is to be.
pub struct Goal {
    case: Case,
    via: Via,
    what: &'static str,
    figure: fn(&Run) -> f64,
    asked: f64,
    /// Whether more is better.
    at_least: bool,
}

/// All of them.
pub const GOALS: [Goal; 9] = [
    at_most(Case::Hot, Via::Direct, "cost of the floor", Run::of_floor, 1.4),
    at_most(Case::Spread, Via::Direct, "cost of the floor", Run::of_floor, 1.7),
    at_most(Case::Hot, Via::Gateway, "gateway and server of the bare route's server", Run::of_bare_server, 2.5),
    at_least(Case::Hot, "throughput of the bare route", Run::of_throughput, 0.55),
    at_least(Case::Spread, "throughput of the bare route", Run::of_throughput, 0.42),
    at_most(Case::Hot, Via::Direct, "p99 of p50", |run| run.p99_ms / run.p50_ms, 2.0),
    at_least(Case::View, "throughput of the bare route", Run::of_throughput, 0.85),
    at_least(Case::Ticket, "throughput of the bare route", Run::of_throughput, 0.85),
    at_most(Case::Cold, Via::Direct, "us an opening", |run| run.us.all(), 100.0),
];

const fn at_most(case: Case, via: Via, what: &'static str, figure: fn(&Run) -> f64, asked: f64) -> Goal {
    Goal { case, via, what, figure, asked, at_least: false }
}

const fn at_least(case: Case, what: &'static str, figure: fn(&Run) -> f64, asked: f64) -> Goal {
    Goal { case, via: Via::Direct, what, figure, asked, at_least: true }
}

impl Goal {
    /// A line that says whether the median of the runs that it is about meets it; `None` if there are none.
    pub fn verdict(&self, runs: &[Run]) -> Option<String> {
        let about = runs.iter().filter(|run| run.case == self.case && run.via == self.via);
        let is = median(about.map(self.figure));
        let (is_met, bound) = match self.at_least {
            true => (is >= self.asked, "at least"),
            false => (is <= self.asked, "at most"),
        };
        let (case, via, what, asked) = (self.case.text(), self.via.text(), self.what, self.asked);
        let verdict = if is_met { "met" } else { "MISSED" };
        (!is.is_nan()).then(|| format!("{case} {via}: {what} {is:.2}, goal {bound} {asked} {verdict}\n"))
    }
}
