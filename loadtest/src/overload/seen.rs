//! What a phase of the load was answered, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Bench;
use crate::Fallible;
use crate::generator::{BUSY, Generator};
use crate::http::Answer;
use crate::load::Feed;
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
    /// All others, by what they are.
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
    /// What was answered.
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
}

impl Phase {
    /// Drives the service for a while.
    pub(super) fn of(
        bench: &Bench<'_>,
        generator: &mut Generator,
        pace: Option<f64>,
        feed: &mut Feed<'_>,
        time: Duration,
        expect: Expect,
    ) -> Fallible<Phase> {
        let (before, started) = (bench.service.cpu_time()?, Instant::now());
        let mut seen = Seen::default();
        let check = |_: usize, answer: &Answer<'_>| seen.take(expect, answer, started.elapsed(), time);
        let tally = generator.drive_at(pace, feed, Some(time), check)?;
        for (label, count) in &tally.errors {
            // What is no answer was not told to us.
            if label.starts_with("connection") {
                *seen.others.entry(label.clone()).or_default() += count;
            }
        }
        let quantile = |share| tally.latency_us.value_at_quantile(share) as f64 / 1_000.0;
        Ok(Phase {
            seconds: tally.elapsed.as_secs_f64(),
            missed: tally.missed,
            used_up: tally.used_up,
            p50_ms: quantile(0.50),
            p99_ms: quantile(0.99),
            cpu_s: bench.service.cpu_time()?.saturating_sub(before).as_secs_f64(),
            seen,
        })
    }

    /// Answers as expected in a second.
    pub fn per_second(&self) -> f64 {
        self.seen.accepted as f64 / self.seconds
    }

    /// Processor time for each of them, where next to nothing was refused.
    pub fn cpu_us_per_answer(&self) -> f64 {
        self.cpu_s * 1e6 / self.seen.accepted.max(1) as f64
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

/// What one refusal costs of the processors, in microseconds, where an answer costs so much.
pub fn refusal_us(phase: &Phase, answer_us: f64) -> f64 {
    let left_us = phase.cpu_s * 1e6 - phase.seen.accepted as f64 * answer_us;
    left_us.max(0.0) / phase.seen.refused.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(seen: Seen, cpu_s: f64) -> Phase {
        Phase { seconds: 1.0, seen, missed: 0, used_up: false, p50_ms: 1.0, p99_ms: 2.0, cpu_s }
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
        let seen = Seen { accepted: 1_000, refused: 2_000, ..Seen::default() };
        let cost = refusal_us(&phase(seen, 0.12), 100.0);
        assert!((cost - 10.0).abs() < 1e-6, "{cost}");
    }
}
