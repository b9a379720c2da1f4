//! One measured run: full load on one address for a while, and what it cost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hongbao_load::generator::Generator;
use hongbao_load::source::RequestSource;
use hongbao_load::{Fallible, machine};

use crate::report::Sample;
use crate::workload::Expect;

/// Load before each measured run, over the same connections.
pub const WARM_UP: Duration = Duration::from_millis(500);

/// Drives one server at full load for `time`, after a warm-up.
pub fn measure(
    addr: SocketAddr,
    cpu_time: &dyn Fn() -> Fallible<Duration>,
    mut source: RequestSource<'_>,
    connections: usize,
    time: Duration,
    expect: Expect,
) -> Fallible<Sample> {
    let mut generator = Generator::connect(addr, connections)?;
    let warm_up = generator.drive(&mut source, Some(WARM_UP), |_, answer| expect.check(answer))?;
    let (before, started) = (Usage::read(cpu_time)?, Instant::now());
    let stats = generator.drive(&mut source, Some(time), |_, answer| expect.check(answer))?;
    let (used, took) = (Usage::read(cpu_time)?.since(&before), started.elapsed().as_secs_f64());
    let mut errors = warm_up.errors;
    stats.errors.into_iter().for_each(|(label, count)| *errors.entry(label).or_default() += count);
    let elapsed_s = stats.elapsed.as_secs_f64();
    Ok(Sample {
        per_second: stats.counted as f64 / elapsed_s,
        p50_us: stats.latency_us.value_at_quantile(0.50) as f64,
        p99_us: stats.latency_us.value_at_quantile(0.99) as f64,
        p999_us: stats.latency_us.value_at_quantile(0.999) as f64,
        sent: warm_up.sent + stats.sent,
        errors,
        server_cpu_us: used.server.as_secs_f64() * 1e6 / stats.sent as f64,
        cost_us: None,
        generator_share: used.generator.as_secs_f64() / took,
        others_share: used.others().as_secs_f64() / took,
        batch_size_mean: None,
        caught_up_s: None,
        elapsed_s,
        used_up: stats.used_up,
    })
}

/// Processor time by who used it.
struct Usage {
    server: Duration,
    generator: Duration,
    all: Duration,
}

impl Usage {
    fn read(cpu_time: &dyn Fn() -> Fallible<Duration>) -> Fallible<Usage> {
        Ok(Usage { server: cpu_time()?, generator: machine::cpu_time(std::process::id())?, all: machine::busy_time()? })
    }

    fn since(&self, before: &Usage) -> Usage {
        Usage {
            server: self.server.saturating_sub(before.server),
            generator: self.generator.saturating_sub(before.generator),
            all: self.all.saturating_sub(before.all),
        }
    }

    fn others(&self) -> Duration {
        self.all.saturating_sub(self.server + self.generator)
    }
}
