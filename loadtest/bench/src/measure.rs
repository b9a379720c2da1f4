//! One measured run: full load on one address for a while, and what it cost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hongbao_load::{Answer, Fallible, Generator, LoadStats, RequestSource, machine};
use serde::Serialize;

use crate::workload::Expect;

/// Load before each measured run, over the same connections.
pub const WARM_UP: Duration = Duration::from_millis(500);

/// What one run of one server gave. What could not be measured is absent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Expected answers a second.
    pub per_second: f64,
    /// Latency of expected answers, in microseconds.
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    /// Requests that were sent.
    pub sent: u64,
    /// Unexpected answers by label, those of the warm-up included.
    pub errors: BTreeMap<String, u64>,
    /// Processor time of the server for one request, in microseconds.
    pub server_cpu_us: Option<f64>,
    /// Processor time of all the service's processes for one request, with what
    /// they did in the background until they were idle, in microseconds: for an
    /// opening its credit is included.
    pub cost_us: Option<f64>,
    /// The share of one processor that the generator used.
    pub generator_share: f64,
    /// The share of one processor that everything else on this machine used.
    pub others_share: f64,
    /// Openings in one commit, on average.
    pub batch_size_mean: Option<f64>,
    /// Seconds until the server had finished what it does in the background.
    pub caught_up_s: Option<f64>,
    /// Seconds of full load.
    pub elapsed_s: f64,
    /// Whether the prepared requests were used up early.
    pub used_up: bool,
}

impl Sample {
    /// What was answered, without what it cost.
    pub fn of(stats: &LoadStats) -> Sample {
        let us = |quantile| (!stats.latency_us.is_empty()).then(|| stats.latency_us.value_at_quantile(quantile) as f64);
        let elapsed_s = stats.elapsed.as_secs_f64();
        Sample {
            per_second: stats.counted as f64 / elapsed_s,
            p50_us: us(0.50),
            p99_us: us(0.99),
            p999_us: us(0.999),
            sent: stats.sent,
            errors: stats.errors.clone(),
            elapsed_s,
            used_up: stats.used_up,
            ..Sample::default()
        }
    }

    /// Refuses a run in which anything else was answered than what was expected.
    pub fn without_errors(self, name: &str) -> Fallible<Sample> {
        if self.errors.is_empty() { Ok(self) } else { Err(format!("{name}: {:?}", self.errors).into()) }
    }

    /// Latencies in milliseconds at 50% and at 99%; not a number where there are none.
    pub fn p50_p99_ms(&self) -> [f64; 2] {
        [self.p50_us, self.p99_us].map(|us| us.unwrap_or(f64::NAN) / 1_000.0)
    }
}

/// What a run brought, and what it used of the parts of the service.
pub struct Driven<const PARTS: usize> {
    /// Of the first part; requests of the warm-up are among those that were sent.
    pub sample: Sample,
    /// Of the measured time alone.
    pub stats: LoadStats,
    /// Processor time of each part in the measured time.
    pub used: [Duration; PARTS],
}

/// Drives one server at full load for `time`, after a warm-up. `cpu_times` are those of
/// the service's parts so far.
pub fn drive<const PARTS: usize>(
    addr: SocketAddr,
    cpu_times: &dyn Fn() -> Fallible<[Duration; PARTS]>,
    mut source: RequestSource<'_>,
    connections: u32,
    time: Duration,
    mut check: impl FnMut(usize, &Answer<'_>) -> Result<(), String>,
) -> Fallible<Driven<PARTS>> {
    let mut generator = Generator::connect(addr, connections as usize)?;
    let warm_up = generator.drive(&mut source, Some(WARM_UP), &mut check)?;
    let own_cpu_time = || machine::cpu_time(std::process::id());
    let (before, own, busy, started) = (cpu_times()?, own_cpu_time()?, machine::busy_time()?, Instant::now());
    let stats = generator.drive(&mut source, Some(time), check)?;
    let mut used = cpu_times()?;
    used.iter_mut().zip(before).for_each(|(used, before)| *used = used.saturating_sub(before));
    let (own, busy) = (own_cpu_time()?.saturating_sub(own), machine::busy_time()?.saturating_sub(busy));
    let took = started.elapsed().as_secs_f64();
    let others = busy.saturating_sub(own + used.iter().sum::<Duration>());
    let mut errors = warm_up.errors;
    stats.errors.iter().for_each(|(label, count)| *errors.entry(label.clone()).or_default() += count);
    let sample = Sample {
        sent: warm_up.sent + stats.sent,
        errors,
        server_cpu_us: us_of_each(used[0], stats.sent),
        generator_share: own.as_secs_f64() / took,
        others_share: others.as_secs_f64() / took,
        ..Sample::of(&stats)
    };
    Ok(Driven { sample, stats, used })
}

/// Microseconds for each of so many, if there were any.
pub fn us_of_each(used: Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| used.as_secs_f64() * 1e6 / count as f64)
}

/// The same of a server as a whole, whose answers must be these.
pub fn measure(
    addr: SocketAddr,
    cpu_time: &dyn Fn() -> Fallible<Duration>,
    source: RequestSource<'_>,
    connections: u32,
    time: Duration,
    expect: Expect,
) -> Fallible<Sample> {
    let check = |_: usize, answer: &Answer<'_>| expect.check(answer);
    Ok(drive(addr, &|| Ok([cpu_time()?]), source, connections, time, check)?.sample)
}

/// The middle value, or the mean of the two in the middle; not a number when there is none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}
