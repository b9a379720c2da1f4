//! The table of `cost`: medians over the rounds, and the goals.

use std::fmt::Write as _;

use serde::Serialize;

use super::case::{Case, Via};
use super::floor::Floor;
use super::usage::{PARTS, UsOfEach};
use crate::conditions::Conditions;
use crate::measure::{Sample, median};

/// One run of a case.
#[derive(Debug, Serialize)]
pub struct Run {
    case: Case,
    via: Via,
    /// Microseconds for each request.
    us: UsOfEach,
    /// The share of the requests that were refused as busy; what they cost is a cost of the others.
    refused: f64,
    /// The least that a request can cost, in microseconds; only of what writes.
    floor_us: Option<f64>,
    /// Of the bare route's server and of its client, for each request.
    bare_server_us: f64,
    bare_generator_us: f64,
    bare_per_second: f64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Run {
    /// A run of the service, beside that of the bare route.
    pub fn new(case: Case, via: Via, floor: &Floor, bare: &Sample, sample: &Sample, us: UsOfEach, refused: f64) -> Run {
        let bare_server_us = bare.server_cpu_us.unwrap_or(f64::NAN);
        let bare_generator_us = bare.generator_share / bare.per_second * 1e6;
        let entry_us = if case == Case::Hot { floor.hot_entry_us } else { floor.spread_entry_us };
        let floor_us = bare_server_us + bare_generator_us + entry_us + floor.transfer_us;
        let [p50_ms, p99_ms] = sample.p50_p99_ms();
        Run {
            case,
            via,
            us,
            refused,
            floor_us: case.writes().then_some(floor_us),
            bare_server_us,
            bare_generator_us,
            bare_per_second: bare.per_second,
            per_second: sample.per_second,
            p50_ms,
            p99_ms,
        }
    }

    fn of_floor(&self) -> f64 {
        self.us.all() / self.floor_us.unwrap_or(f64::NAN)
    }

    fn of_throughput(&self) -> f64 {
        self.per_second / self.bare_per_second
    }

    /// Gateway and server together, in requests to the bare route's server.
    fn of_bare_server(&self) -> f64 {
        (self.us.part("gateway") + self.us.part("server")) / self.bare_server_us
    }

    /// One line about it.
    pub fn line(&self) -> String {
        let parts: Vec<String> = PARTS.iter().map(|part| format!("{part} {:.1}", self.us.part(part))).collect();
        format!(
            "{} {}: {:.0}/s, {:.1} us ({}), {:.2} of the floor",
            self.case.text(),
            self.via.text(),
            self.per_second,
            self.us.all(),
            parts.join(", "),
            self.of_floor()
        )
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub conditions: Conditions,
    pub seconds: u64,
    pub rounds: u32,
    /// The share of one processor that the service uses when idle; not counted below.
    pub idle_share: f64,
    pub floors: Vec<Floor>,
    pub runs: Vec<Run>,
}

/// What a figure of some runs is to be.
struct Goal {
    what: &'static str,
    case: Case,
    via: Via,
    figure: fn(&Run) -> f64,
    asked: f64,
    /// Whether more is better.
    at_least: bool,
}

const GOALS: [Goal; 9] = [
    Goal {
        what: "cost of the floor",
        case: Case::Hot,
        via: Via::Direct,
        figure: Run::of_floor,
        asked: 1.4,
        at_least: false,
    },
    Goal {
        what: "cost of the floor",
        case: Case::Spread,
        via: Via::Direct,
        figure: Run::of_floor,
        asked: 1.7,
        at_least: false,
    },
    Goal {
        what: "gateway and server of the bare route's server",
        case: Case::Hot,
        via: Via::Gateway,
        figure: Run::of_bare_server,
        asked: 2.5,
        at_least: false,
    },
    Goal {
        what: "throughput of the bare route",
        case: Case::Hot,
        via: Via::Direct,
        figure: Run::of_throughput,
        asked: 0.55,
        at_least: true,
    },
    Goal {
        what: "throughput of the bare route",
        case: Case::Spread,
        via: Via::Direct,
        figure: Run::of_throughput,
        asked: 0.42,
        at_least: true,
    },
    Goal {
        what: "p99 of p50",
        case: Case::Hot,
        via: Via::Direct,
        figure: |run| run.p99_ms / run.p50_ms,
        asked: 2.0,
        at_least: false,
    },
    Goal {
        what: "throughput of the bare route",
        case: Case::View,
        via: Via::Direct,
        figure: Run::of_throughput,
        asked: 0.85,
        at_least: true,
    },
    Goal {
        what: "throughput of the bare route",
        case: Case::Ticket,
        via: Via::Direct,
        figure: Run::of_throughput,
        asked: 0.85,
        at_least: true,
    },
    Goal {
        what: "us an opening",
        case: Case::Cold,
        via: Via::Direct,
        figure: |run| run.us.all(),
        asked: 100.0,
        at_least: false,
    },
];

impl Report {
    /// The table, and how the goals were met.
    pub fn table(&self) -> String {
        let mut out = format!(
            "{}\nfigures     medians of {} alternating rounds of {} s; us of processor \
             for a request, its credit included; the {:.0}% of a processor that the idle service uses are left out\n",
            self.conditions,
            self.rounds,
            self.seconds,
            100.0 * self.idle_share
        );
        let floor = |figure: fn(&Floor) -> f64| median(self.floors.iter().map(figure));
        let _ = writeln!(
            out,
            "floor       a row of the journal of one envelope {:.1} us, of many {:.1} us, a row of the wallet {:.1} us\n",
            floor(|floor| floor.hot_entry_us),
            floor(|floor| floor.spread_entry_us),
            floor(|floor| floor.transfer_us)
        );
        let _ = write!(out, "{:<8}{:<8}{:>9}{:>8}", "case", "via", "/s", "of bare");
        PARTS.iter().for_each(|part| {
            let _ = write!(out, "{part:>10}");
        });
        let _ = writeln!(
            out,
            "{:>8}{:>8}{:>9}{:>8}{:>8}{:>9}",
            "all us", "floor", "of floor", "p50 ms", "p99 ms", "refused"
        );
        for (case, via) in Case::runs() {
            if self.of(case, via).next().is_some() {
                out.push_str(&self.row(case, via));
            }
        }
        out.push('\n');
        for goal in &GOALS {
            let is = median(self.of(goal.case, goal.via).map(goal.figure));
            if is.is_nan() {
                continue;
            }
            let is_met = if goal.at_least { is >= goal.asked } else { is <= goal.asked };
            let _ = writeln!(
                out,
                "{} {}: {} {is:.2}, goal {} {} {}",
                goal.case.text(),
                goal.via.text(),
                goal.what,
                if goal.at_least { "at least" } else { "at most" },
                goal.asked,
                if is_met { "met" } else { "MISSED" }
            );
        }
        out
    }

    fn of(&self, case: Case, via: Via) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.case == case && run.via == via)
    }

    fn row(&self, case: Case, via: Via) -> String {
        let middle = |figure: &dyn Fn(&Run) -> f64| median(self.of(case, via).map(figure));
        let mut out = format!(
            "{:<8}{:<8}{:>9.0}{:>8.2}",
            case.text(),
            via.text(),
            middle(&|run| run.per_second),
            middle(&Run::of_throughput)
        );
        for part in PARTS {
            let _ = write!(out, "{:>10.1}", middle(&|run| run.us.part(part)));
        }
        let floor = middle(&|run| run.floor_us.unwrap_or(f64::NAN));
        let shown = |figure: f64, digits| if figure.is_nan() { String::new() } else { format!("{figure:.digits$}") };
        let _ = writeln!(
            out,
            "{:>8.1}{:>8}{:>9}{:>8.1}{:>8.1}{:>8.1}%",
            middle(&|run| run.us.all()),
            shown(floor, 1),
            shown(middle(&Run::of_floor), 2),
            middle(&|run| run.p50_ms),
            middle(&|run| run.p99_ms),
            100.0 * middle(&|run| run.refused)
        );
        out
    }
}
