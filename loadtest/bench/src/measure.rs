//! One measured run: full load on one address for a while, and what it cost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hongbao_load::generator::Generator;
use hongbao_load::http::Answer;
use hongbao_load::source::{LoadStats, RequestSource};
use hongbao_load::{Fallible, machine};

use crate::report::Sample;
use crate::workload::Expect;

/// Load before each measured run, over the same connections.
pub const WARM_UP: Duration = Duration::from_millis(500);

/// What a run brought, and what it used of the parts of the service.
pub struct Driven<const PARTS: usize> {
    /// Of the measured time.
    pub stats: LoadStats,
    /// Requests that were sent, those of the warm-up included.
    pub sent: u64,
    /// Unexpected answers by label, those of the warm-up included.
    pub errors: BTreeMap<String, u64>,
    /// Processor time of each part in the measured time.
    pub used: [Duration; PARTS],
    /// The share of one processor that the generator used.
    pub generator_share: f64,
    /// The share of one processor that everything else on this machine used.
    pub others_share: f64,
}

/// Drives one server at full load for `time`, after a warm-up. `cpu_times` are those of
/// the service's parts so far.
pub fn drive<const PARTS: usize>(
    addr: SocketAddr,
    cpu_times: &dyn Fn() -> Fallible<[Duration; PARTS]>,
    mut source: RequestSource<'_>,
    connections: usize,
    time: Duration,
    mut check: impl FnMut(usize, &Answer<'_>) -> Result<(), String>,
) -> Fallible<Driven<PARTS>> {
    let mut generator = Generator::connect(addr, connections)?;
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
    Ok(Driven {
        sent: warm_up.sent + stats.sent,
        errors,
        used,
        generator_share: own.as_secs_f64() / took,
        others_share: others.as_secs_f64() / took,
        stats,
    })
}

/// The same with the figures that a bench shows.
pub fn measure(
    addr: SocketAddr,
    cpu_time: &dyn Fn() -> Fallible<Duration>,
    source: RequestSource<'_>,
    connections: usize,
    time: Duration,
    expect: Expect,
) -> Fallible<Sample> {
    let cpu_times = || Ok([cpu_time()?]);
    let driven = drive(addr, &cpu_times, source, connections, time, |_, answer| expect.check(answer))?;
    let Driven { stats, sent, errors, used: [used], generator_share, others_share } = driven;
    let us = |quantile| stats.latency_us.value_at_quantile(quantile) as f64;
    let elapsed_s = stats.elapsed.as_secs_f64();
    Ok(Sample {
        per_second: stats.counted as f64 / elapsed_s,
        p50_us: us(0.50),
        p99_us: us(0.99),
        p999_us: us(0.999),
        sent,
        errors,
        server_cpu_us: used.as_secs_f64() * 1e6 / stats.sent as f64,
        generator_share,
        others_share,
        elapsed_s,
        used_up: stats.used_up,
        ..Sample::default()
    })
}
