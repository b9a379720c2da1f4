//! Counts and times what a run sees: by second for the time axis, and by call,
//! phase and outcome for the tables.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::request::UserCall;
use crate::outcome::{Generator, Latency, Phase, Second, Totals, WITHOUT_ENVELOPE};

/// Latencies over this many microseconds count as this many.
const LATENCY_US_MAX: u64 = 120_000_000;
/// The bars of the lag histogram end at so many milliseconds.
const LAG_BARS_MS: [f64; 10] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, 200.0, 1_000.0];

/// What an answer counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// An opening for the first time.
    Committed,
    /// Any other answer that is no refusal.
    Accepted,
    /// Refused: nothing happened.
    Refused,
    /// It may have happened or not.
    Unknown,
}

/// What the service says of itself between two seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Openings credited since the run began.
    pub settled: u64,
    /// Openings that wait in lanes.
    pub queue_depth: Option<f64>,
    /// Openings a commit since the last look.
    pub batch_mean: Option<f64>,
}

pub struct Recorder {
    phases: Vec<Phase>,
    /// By what was answered, then by call and phase.
    times: BTreeMap<String, BTreeMap<(UserCall, usize), Histogram<u64>>>,
    lag_us: Histogram<u64>,
    now: Totals,
    open_us: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    settled: u64,
    /// Totals over the whole run.
    pub totals: Totals,
    /// The seconds so far.
    pub seconds: Vec<Second>,
    /// Arrivals that could not be started.
    pub not_started: u64,
}

impl Recorder {
    /// Nothing seen yet.
    pub fn new(phases: &[Phase]) -> Recorder {
        Recorder {
            phases: phases.to_vec(),
            times: BTreeMap::new(),
            lag_us: histogram(3),
            now: Totals::default(),
            open_us: histogram(2),
            errors: BTreeMap::new(),
            settled: 0,
            totals: Totals::default(),
            seconds: Vec::new(),
            not_started: 0,
        }
    }

    /// A visit was due.
    pub fn offered(&mut self) {
        self.now.offered += 1;
    }

    /// A visit was due for an envelope that could not be sent.
    pub fn without_envelope(&mut self) {
        *self.errors.entry(WITHOUT_ENVELOPE.to_owned()).or_default() += 1;
    }

    /// A request was sent, so late.
    pub fn started(&mut self, lag_us: u64) {
        self.now.started += 1;
        self.lag_us.saturating_record(lag_us);
    }

    /// A request was answered, or its connection was lost.
    pub fn answered(&mut self, call: UserCall, phase: usize, label: &str, kind: AnswerKind, latency_us: u64) {
        match kind {
            AnswerKind::Committed => {
                self.now.accepted += 1;
                self.now.committed += 1;
            }
            AnswerKind::Accepted => self.now.accepted += 1,
            AnswerKind::Unknown => self.now.unknown += 1,
            AnswerKind::Refused => (),
        }
        if matches!(kind, AnswerKind::Refused | AnswerKind::Unknown) {
            *self.errors.entry(format!("{} {label}", call.text())).or_default() += 1;
        } else if call == UserCall::Open {
            self.open_us.saturating_record(latency_us);
        }
        // No text is made for an answer that was seen before.
        if !self.times.contains_key(label) {
            self.times.insert(label.to_owned(), BTreeMap::new());
        }
        let times = self.times.get_mut(label).expect("it is there now");
        times.entry((call, phase)).or_insert_with(|| histogram(3)).saturating_record(latency_us);
    }

    /// Ends a second.
    pub fn tick(&mut self, at_s: f64, gauges: Gauges) -> &Second {
        let mut counted = std::mem::take(&mut self.now);
        counted.settled = gauges.settled.saturating_sub(self.settled);
        self.settled = self.settled.max(gauges.settled);
        self.totals.add(&counted);
        let at = |quantile| self.open_us.value_at_quantile(quantile) as f64 / 1e3;
        self.seconds.push(Second {
            at_s,
            counted,
            p50_ms: at(0.50),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            queue_depth: gauges.queue_depth,
            batch_mean: gauges.batch_mean,
            errors: std::mem::take(&mut self.errors),
        });
        self.open_us.reset();
        self.seconds.last().expect("it was just added")
    }

    /// Latencies by call, phase and outcome, and over each of these.
    pub fn latencies(&self) -> Vec<Latency> {
        // What is over all phases, or all that was answered, stands behind each of them.
        let mut groups = BTreeMap::new();
        for (label, times) in &self.times {
            for ((call, phase), times) in times {
                for phase in [*phase, self.phases.len()] {
                    for label in [(false, label.as_str()), (true, "all")] {
                        let sum = groups.entry((*call, phase, label)).or_insert_with(|| histogram(3));
                        sum.add(times).expect("both have the same bounds");
                    }
                }
            }
        }
        let mut rows: Vec<Latency> = groups
            .iter()
            .map(|((call, phase, (_, label)), times)| {
                let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
                Latency {
                    call: call.text().to_owned(),
                    phase: self.phases.get(*phase).map_or("all", |phase| &phase.name).to_owned(),
                    outcome: (*label).to_owned(),
                    count: times.len(),
                    p50_ms: at(0.50),
                    p90_ms: at(0.90),
                    p99_ms: at(0.99),
                    p999_ms: at(0.999),
                    p9999_ms: at(0.9999),
                    max_ms: times.max() as f64 / 1e3,
                }
            })
            .collect();
        // A single phase is the whole: it need not be shown twice.
        if self.phases.len() <= 1 {
            rows.retain(|row| row.phase == "all");
        }
        rows
    }

    /// How well the schedule was kept; what processors did is not known here.
    pub fn generator(&self) -> Generator {
        let mut bars: Vec<(f64, u64)> = LAG_BARS_MS.iter().map(|up_to_ms| (*up_to_ms, 0)).collect();
        for step in self.lag_us.iter_recorded() {
            let ms = step.value_iterated_to() as f64 / 1e3;
            let bar = LAG_BARS_MS.iter().position(|up_to_ms| ms <= *up_to_ms).unwrap_or(LAG_BARS_MS.len() - 1);
            bars[bar].1 += step.count_at_value();
        }
        Generator {
            lag_bars: bars,
            lag_p99_ms: self.lag_us.value_at_quantile(0.99) as f64 / 1e3,
            lag_max_ms: self.lag_us.max() as f64 / 1e3,
            not_started: self.not_started,
            ..Generator::default()
        }
    }
}

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_US_MAX, digits).expect("the bounds are fixed and good")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_found_by_second_by_phase_and_as_a_whole() {
        let phase = |name: &str, from_s, to_s| Phase { name: name.into(), from_s, to_s };
        let mut recorder = Recorder::new(&[phase("ramp", 0.0, 1.0), phase("peak", 1.0, 2.0)]);
        recorder.offered();
        recorder.started(300);
        recorder.answered(UserCall::Open, 0, "opened", AnswerKind::Committed, 5_000);
        recorder.answered(UserCall::Open, 0, "503 busy", AnswerKind::Refused, 100);
        let second = recorder.tick(1.0, Gauges { settled: 1, ..Gauges::default() }).clone();
        assert_eq!(second.errors, BTreeMap::from([("open 503 busy".into(), 1)]));
        assert!((second.p50_ms - 5.0).abs() < 0.1, "refusals do not flatter the latency of openings");
        recorder.answered(UserCall::Open, 1, "opened", AnswerKind::Committed, 9_000);
        recorder.tick(2.0, Gauges { settled: 1, ..Gauges::default() });
        assert_eq!((recorder.totals.committed, recorder.totals.settled, recorder.totals.accepted), (2, 1, 2));

        let count = |phase: &str, outcome: &str| {
            let rows = recorder.latencies();
            rows.iter().find(|row| row.phase == phase && row.outcome == outcome).map(|row| row.count)
        };
        assert_eq!(count("ramp", "all"), Some(2));
        assert_eq!(count("all", "opened"), Some(2));
        assert_eq!(count("peak", "503 busy"), None);
        let generator = recorder.generator();
        assert_eq!(generator.lag_bars.iter().find(|bar| bar.1 > 0), Some(&(0.5, 1)));
    }
}
