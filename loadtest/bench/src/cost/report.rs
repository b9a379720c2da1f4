//! The table of `cost`: medians over the rounds, and whether the goals are met.

use std::fmt::Write as _;

use serde::Serialize;

use super::case::{Case, Via};
use super::floor::Floor;
use super::goal::GOALS;
use super::run::Run;
use super::usage::PARTS;
use crate::conditions::Conditions;
use crate::measure::median;

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
        GOALS.iter().filter_map(|goal| goal.verdict(&self.runs)).for_each(|verdict| out.push_str(&verdict));
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

#[cfg(test)]
mod tests {
    use super::super::usage::tests::us_of;
    use super::*;
    use crate::measure::Sample;

    /// Runs of three rounds that cost so much, where the floor is 40 us.
    fn report(case: Case, via: Via, costs: [f64; 3]) -> Report {
        let floor = Floor { hot_entry_us: 8.0, spread_entry_us: 10.0, transfer_us: 7.0 };
        // 10 us of the server and, at 0.9 of a processor, 15 us of the generator.
        let bare =
            Sample { server_cpu_us: Some(10.0), generator_share: 0.9, per_second: 60_000.0, ..Sample::default() };
        let sample = Sample { per_second: 30_000.0, p50_us: Some(5_000.0), p99_us: Some(9_000.0), ..Sample::default() };
        let run = |us: f64| Run::new(case, via, &floor, &bare, &sample, us_of(&[("server", us)]), 0.01);
        Report {
            conditions: Conditions {
                processors: "2 x test".into(),
                file_system: "ext4".into(),
                durability: "full".into(),
            },
            seconds: 3,
            rounds: 3,
            idle_share: 0.05,
            floors: vec![floor],
            runs: costs.map(run).into(),
        }
    }

    #[test]
    fn the_median_of_the_rounds_is_held_against_the_floor_of_the_same_workload() {
        let near = report(Case::Hot, Via::Direct, [56.0, 90.0, 20.0]).table();
        assert!(near.contains("hot direct: cost of the floor 1.40, goal at most 1.4 met"), "{near}");
        assert!(near.contains("hot direct: throughput of the bare route 0.50, goal at least 0.55 MISSED"), "{near}");
        assert!(near.contains("hot direct: p99 of p50 1.80, goal at most 2 met"), "{near}");
        assert!(near.contains("    40.0     1.40     5.0     9.0     1.0%"), "{near}");
        let far = report(Case::Spread, Via::Direct, [84.0, 84.0, 84.0]).table();
        assert!(far.contains("spread direct: cost of the floor 2.00, goal at most 1.7 MISSED"), "{far}");
    }

    #[test]
    fn what_writes_nothing_has_no_floor_and_what_was_not_measured_no_goal() {
        let table = report(Case::View, Via::Direct, [13.0; 3]).table();
        assert!(!table.contains("NaN") && !table.contains("of the floor"), "{table}");
        assert!(!table.contains("hot") && table.contains("view direct: throughput"), "{table}");
    }
}
