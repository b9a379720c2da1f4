//! What a phase of the load was answered, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hongbao_load::{Answer, BUSY, Fallible, Generator, RequestSource, Service, machine};
use serde::Serialize;

use crate::workload::Expect;

/// In pieces of this length it is known how much was answered.
const PIECE: Duration = Duration::from_millis(100);

/// What was answered.
#[derive(Debug, Default, Serialize)]
pub struct Seen {
    /// Answers as expected.
    pub accepted: u64,
    /// Answers `busy`.
    pub refused: u64,
    /// Answers `outcome_unknown`.
    pub unknown: u64,
    pub others: BTreeMap<String, u64>,
    /// Answers as expected, by tenths of a second.
    pub pieces: Vec<u32>,
}

impl Seen {
    /// Takes in an answer that came at this time of a phase, which lasts until `end`.
    fn take(&mut self, expect: Expect, answer: &Answer<'_>, at: Duration, end: Duration) -> Result<(), String> {
        let Err(label) = expect.check(answer) else {
            if at >= end {
                return Ok(());
            }
            self.accepted += 1;
            let piece = (at.as_millis() / PIECE.as_millis()) as usize;
            self.pieces.resize(self.pieces.len().max(piece + 1), 0);
            self.pieces[piece] += 1;
            return Ok(());
        };
        match label.as_str() {
            BUSY => self.refused += 1,
            "504 outcome_unknown" => self.unknown += 1,
            other => *self.others.entry(other.to_owned()).or_default() += 1,
        }
        Err(label)
    }
}

/// A while of load at one pace.
#[derive(Debug, Serialize)]
pub struct Phase {
    /// How long it lasted, in seconds.
    pub seconds: f64,
    pub seen: Seen,
    /// Arrivals that found every connection waiting for its answer.
    pub missed: u64,
    /// The requests were used up before the time was.
    pub used_up: bool,
    /// From sending a request to an answer as expected, in milliseconds.
    pub p50_ms: f64,
    /// The same for the slowest hundredth.
    pub p99_ms: f64,
    /// Processor time of the service, all of its processes, in seconds.
    pub cpu_s: f64,
    /// Processor time of this process, which is the client, in seconds.
    pub client_cpu_s: f64,
}

/// What is asked for takes processor time, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    pub answer_us: f64,
    pub refusal_us: f64,
}

impl Costs {
    /// From a phase with next to no refusals, and one with many: a refusal costs what the answers leave.
    pub fn of(peak: &Phase, storm: &Phase, cpu_s: impl Fn(&Phase) -> f64) -> Costs {
        let answer_us = cpu_s(peak) * 1e6 / peak.seen.accepted.max(1) as f64;
        let left_us = cpu_s(storm) * 1e6 - storm.seen.accepted as f64 * answer_us;
        Costs { answer_us, refusal_us: left_us.max(0.0) / storm.seen.refused.max(1) as f64 }
    }

    pub fn refusal_part(self) -> f64 {
        self.refusal_us / self.answer_us
    }

    /// The part of the peak that can be answered when so many times the peak comes and
    /// the rest is refused on the same processors.
    pub fn goodput(self, factor: f64) -> f64 {
        let part = self.refusal_part();
        ((1.0 - factor * part) / (1.0 - part)).max(0.0)
    }
}

impl Phase {
    /// Drives the service for a while.
    pub fn of(
        service: &Service,
        generator: &mut Generator,
        pace: Option<f64>,
        source: &mut RequestSource<'_>,
        time: Duration,
        expect: Expect,
    ) -> Fallible<Phase> {
        let client = std::process::id();
        let (before, client_before) = (service.cpu_time()?, machine::cpu_time(client)?);
        let started = Instant::now();
        let mut seen = Seen::default();
        let check = |_: usize, answer: &Answer<'_>| seen.take(expect, answer, started.elapsed(), time);
        let stats = generator.drive_at(pace, source, Some(time), check)?;
        for (label, count) in &stats.errors {
            // What is no answer does not reach `check`.
            if label.starts_with("connection") {
                *seen.others.entry(label.clone()).or_default() += count;
            }
        }
        let quantile = |share| stats.latency_us.value_at_quantile(share) as f64 / 1_000.0;
        Ok(Phase {
            seconds: stats.elapsed.as_secs_f64(),
            missed: stats.missed,
            used_up: stats.used_up,
            p50_ms: quantile(0.50),
            p99_ms: quantile(0.99),
            cpu_s: service.cpu_time()?.saturating_sub(before).as_secs_f64(),
            client_cpu_s: machine::cpu_time(client)?.saturating_sub(client_before).as_secs_f64(),
            seen,
        })
    }

    /// Answers as expected in a second.
    pub fn per_second(&self) -> f64 {
        self.seen.accepted as f64 / self.seconds
    }

    /// Seconds until half a second's answers come at so many a second; `None` if they never do.
    pub fn seconds_until(&self, per_second: f64) -> Option<f64> {
        let half_second = 5;
        let enough = per_second * PIECE.as_secs_f64() * half_second as f64;
        let at =
            self.seen.pieces.windows(half_second).position(|pieces| f64::from(pieces.iter().sum::<u32>()) >= enough);
        at.map(|at| (at as u32 * PIECE).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(seen: Seen, cpu_s: f64) -> Phase {
        Phase { seconds: 1.0, seen, missed: 0, used_up: false, p50_ms: 1.0, p99_ms: 2.0, cpu_s, client_cpu_s: 0.0 }
    }

    #[test]
    fn answers_are_told_apart_and_counted_by_their_time() {
        let mut seen = Seen::default();
        let opened = br#"{"outcome":"opened","replayed":false}"#;
        let mut take = |status, body: &[u8], ms| {
            seen.take(Expect::Opened, &Answer::of(status, body), Duration::from_millis(ms), Duration::from_secs(1))
        };
        assert_eq!(take(200, opened, 50), Ok(()));
        assert_eq!(take(200, opened, 250), Ok(()));
        assert_eq!(take(200, opened, 1_000), Ok(()), "after its end");
        assert!(take(503, br#"{"code":"busy"}"#, 10).is_err());
        assert!(take(504, br#"{"code":"outcome_unknown"}"#, 10).is_err());
        assert!(take(500, br#"{"code":"internal"}"#, 10).is_err());
        assert_eq!((seen.accepted, seen.refused, seen.unknown), (2, 1, 1));
        assert_eq!(seen.pieces, [1, 0, 1]);
        assert_eq!(seen.others.get("500 internal"), Some(&1));
    }

    #[test]
    fn the_time_until_it_is_back_begins_where_half_a_second_is_full() {
        let pieces = vec![0, 0, 10, 100, 100, 100, 100, 100, 100];
        let seen = Seen { accepted: 610, pieces, ..Seen::default() };
        assert_eq!(phase(seen, 0.0).seconds_until(1_000.0), Some(0.3));
        assert_eq!(phase(Seen::default(), 0.0).seconds_until(1.0), None);
    }

    #[test]
    fn a_refusal_costs_what_the_answers_leave() {
        let peak = phase(Seen { accepted: 2_000, ..Seen::default() }, 0.2);
        let storm = phase(Seen { accepted: 1_000, refused: 2_000, ..Seen::default() }, 0.12);
        let costs = Costs::of(&peak, &storm, |phase| phase.cpu_s);
        assert!((costs.answer_us - 100.0).abs() < 1e-6 && (costs.refusal_us - 10.0).abs() < 1e-6, "{costs:?}");
    }

    #[test]
    fn refusals_leave_the_rest_of_the_processors_to_answers() {
        let goodput = |refusal_us| Costs { answer_us: 100.0, refusal_us }.goodput(3.0);
        assert_eq!(goodput(0.0), 1.0);
        assert!((goodput(10.0) - 0.7 / 0.9).abs() < 1e-6);
        assert_eq!(goodput(40.0), 0.0, "refusing takes all");
    }
}
