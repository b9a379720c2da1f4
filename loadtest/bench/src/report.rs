//! What a bench prints: medians over its rounds, the goals beside the ratios.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::conditions::Conditions;
use crate::measure::{Sample, median};
use crate::workload::Workload;

/// The columns of the table.
const HEAD: &str = "workload  conns    bare/s service/s  ratio         goal     p50     p99   p99.9   batch  cpu us cost us generator catch-up   errors";
/// Errors above this share of all answers fail a bench.
const ERROR_SHARE_MAX: f64 = 0.001;
/// Other processes that use more than this share of one processor are worth a note.
const OTHERS_SHARE_MAX: f64 = 0.10;

/// The two runs of one round, with the same requests.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Round {
    pub bare: Sample,
    pub service: Sample,
}

/// One line of the table: a workload's medians.
#[derive(Debug, Serialize)]
pub struct Line {
    workload: &'static str,
    connections: u32,
    goal: Option<f64>,
    ratio: f64,
    bare: Sample,
    service: Sample,
    rounds: Vec<Round>,
}

/// Everything that a bench found.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub conditions: Conditions,
    pub seconds: u64,
    pub lines: Vec<Line>,
}

impl Round {
    /// The service's speed over that of the bare route.
    pub fn ratio(&self) -> f64 {
        self.service.per_second / self.bare.per_second
    }
}

impl Line {
    /// Sums up a workload's rounds, of which there is at least one.
    pub fn new(workload: Workload, rounds: Vec<Round>) -> Line {
        Line {
            workload: workload.name.text(),
            connections: workload.connections,
            goal: workload.goal,
            // The two runs of a round stand next to each other, so drift cancels in each ratio.
            ratio: median(rounds.iter().map(Round::ratio)),
            bare: summary(rounds.iter().map(|round| &round.bare)),
            service: summary(rounds.iter().map(|round| &round.service)),
            rounds,
        }
    }

    fn goal_met(&self) -> bool {
        self.goal.is_none_or(|goal| self.ratio >= goal)
    }

    /// Why these figures are worth nothing, if they are.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (who, sample) in [("bare route", &self.bare), ("service", &self.service)] {
            let errors: u64 = sample.errors.values().sum();
            if errors as f64 > ERROR_SHARE_MAX * sample.sent as f64 {
                faults.push(format!("{} at {}: {errors} errors of the {who}", self.workload, self.connections));
            }
        }
        if self.service.errors.keys().any(|label| label.ends_with("replayed")) {
            faults.push(format!("{}: a first opening was answered as a repeated one", self.workload));
        }
        faults
    }

    fn notes(&self) -> Vec<String> {
        let what = format!("{} at {}", self.workload, self.connections);
        let mut notes = Vec::new();
        for (sample, of) in [(&self.service, ""), (&self.bare, " of the bare route")] {
            let line = |(label, count)| format!("{what}: {count} of {} answers{of} were {label}", sample.sent);
            notes.extend(sample.errors.iter().map(line));
        }
        let (bare, service) = (self.bare.others_share, self.service.others_share);
        if bare.max(service) > OTHERS_SHARE_MAX {
            notes.push(format!(
                "{what}: other processes used {:.0}% of a processor beside the bare route, {:.0}% beside the service",
                100.0 * bare,
                100.0 * service
            ));
        }
        if self.service.used_up {
            notes.push(format!("{what}: used up its prepared requests early; only the time before counts"));
        }
        if self.rounds.iter().any(|round| round.service.caught_up_s.is_none()) {
            notes.push(format!("{what}: the service was still busy long after a run, which slows the next"));
        }
        notes
    }
}

impl Report {
    /// Whether every goal was met.
    pub fn goals_met(&self) -> bool {
        self.lines.iter().all(Line::goal_met)
    }

    /// Why the figures are worth nothing, if they are.
    pub fn faults(&self) -> Vec<String> {
        self.lines.iter().flat_map(Line::faults).collect()
    }

    pub fn table(&self) -> String {
        let mut out = String::new();
        let rounds = self.lines.first().map_or(0, |line| line.rounds.len());
        let _ = writeln!(out, "{}", self.conditions);
        let _ =
            writeln!(out, "figures     medians of {rounds} alternating rounds of {} s, latency in ms\n", self.seconds);
        let _ = writeln!(out, "{HEAD}");
        for line in &self.lines {
            let goal = match line.goal {
                Some(goal) => format!("{goal:.2} {}", if line.goal_met() { "met" } else { "MISSED" }),
                None => "-".into(),
            };
            let service = &line.service;
            let known =
                |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
            let ms = |us: Option<f64>| known(us.map(|us| us / 1_000.0), 1);
            let _ = writeln!(
                out,
                "{:<9}{:>6}{:>10.0}{:>10.0}{:>7.2}{:>13}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9.0}%{:>9}{:>9}",
                line.workload,
                line.connections,
                line.bare.per_second,
                service.per_second,
                line.ratio,
                goal,
                ms(service.p50_us),
                ms(service.p99_us),
                ms(service.p999_us),
                known(service.batch_size_mean, 0),
                known(service.server_cpu_us, 1),
                known(service.cost_us, 1),
                100.0 * service.generator_share,
                service.caught_up_s.map_or("-".into(), |seconds| format!("{seconds:.0} s")),
                service.errors.values().sum::<u64>(),
            );
        }
        let notes = self.lines.iter().flat_map(Line::notes).fold(String::new(), |out, note| out + "\nnote: " + &note);
        if !notes.is_empty() {
            let _ = writeln!(out, "{notes}");
        }
        out
    }
}

/// Medians of the figures, sums of the counts.
fn summary<'a>(samples: impl Iterator<Item = &'a Sample> + Clone) -> Sample {
    let middle = |figure: fn(&Sample) -> f64| median(samples.clone().map(figure));
    let known = |figure: fn(&Sample) -> Option<f64>| {
        samples.clone().any(|sample| figure(sample).is_some()).then(|| median(samples.clone().filter_map(figure)))
    };
    let mut errors = BTreeMap::new();
    for (label, count) in samples.clone().flat_map(|sample| &sample.errors) {
        *errors.entry(label.clone()).or_default() += count;
    }
    Sample {
        per_second: middle(|sample| sample.per_second),
        p50_us: known(|sample| sample.p50_us),
        p99_us: known(|sample| sample.p99_us),
        p999_us: known(|sample| sample.p999_us),
        sent: samples.clone().map(|sample| sample.sent).sum(),
        errors,
        server_cpu_us: known(|sample| sample.server_cpu_us),
        cost_us: known(|sample| sample.cost_us),
        generator_share: middle(|sample| sample.generator_share),
        others_share: middle(|sample| sample.others_share),
        batch_size_mean: known(|sample| sample.batch_size_mean),
        caught_up_s: known(|sample| sample.caught_up_s),
        elapsed_s: middle(|sample| sample.elapsed_s),
        used_up: samples.clone().any(|sample| sample.used_up),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Name;

    fn round(bare: f64, service: f64) -> Round {
        let sample = |per_second| Sample { per_second, sent: 1_000, caught_up_s: Some(1.0), ..Sample::default() };
        Round { bare: sample(bare), service: sample(service) }
    }

    fn report(rounds: Vec<Round>) -> Report {
        let workload = Workload { name: Name::Hot, connections: 256, goal: Some(0.40) };
        Report {
            conditions: Conditions {
                processors: "2 x test".into(),
                file_system: "ext4".into(),
                durability: "full".into(),
            },
            seconds: 5,
            lines: vec![Line::new(workload, rounds)],
        }
    }

    #[test]
    fn a_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([7.0].into_iter()), 7.0);
        assert!(median([].into_iter()).is_nan());
    }

    #[test]
    fn the_ratio_is_taken_round_by_round_so_that_drift_cancels() {
        // The machine slows to a half: the ratio stays, that of the medians would too, but not
        // that of any run with the run after the next.
        let met = report(vec![round(100.0, 50.0), round(80.0, 40.0), round(50.0, 25.0)]);
        assert_eq!(met.lines[0].ratio, 0.5);
        assert_eq!((met.lines[0].bare.per_second, met.lines[0].service.per_second), (80.0, 40.0));
        assert!(met.goals_met() && met.faults().is_empty());
        assert!(met.table().contains("0.40 met"), "{}", met.table());

        let missed = report(vec![round(100.0, 39.0)]);
        assert!(!missed.goals_met());
        assert!(missed.table().contains("0.40 MISSED"), "{}", missed.table());
    }

    #[test]
    fn too_many_errors_or_one_replayed_opening_fail_a_bench() {
        let with = |label: &str, count| {
            let mut round = round(100.0, 50.0);
            round.service.errors.insert(label.into(), count);
            report(vec![round])
        };
        assert!(with("503 busy", 1).faults().is_empty());
        assert!(with("503 busy", 1).table().contains("1 of 1000 answers were 503 busy"));
        assert_eq!(with("503 busy", 2).faults().len(), 1);
        assert_eq!(with("200 opened replayed", 1).faults().len(), 1);
    }

    #[test]
    fn a_machine_that_was_busy_with_something_else_is_noted() {
        let mut busy = round(100.0, 50.0);
        assert!(!report(vec![busy.clone()]).table().contains("other processes"));
        busy.service.others_share = 0.5;
        let table = report(vec![busy]).table();
        assert!(table.contains("0% of a processor beside the bare route, 50% beside the service"), "{table}");
    }

    #[test]
    fn counts_add_up_over_rounds_and_unknown_figures_stay_unknown() {
        let mut first = round(1.0, 1.0);
        first.service.errors.insert("503 busy".into(), 2);
        first.service.batch_size_mean = Some(8.0);
        let mut second = first.clone();
        second.service.batch_size_mean = None;
        let line = &report(vec![first, second]).lines[0];
        assert_eq!(line.service.errors["503 busy"], 4);
        assert_eq!(line.service.sent, 2_000);
        assert_eq!(line.service.batch_size_mean, Some(8.0));
        assert_eq!(line.bare.batch_size_mean, None);
    }
}
