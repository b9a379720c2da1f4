//! Whose processor time counts, and for what it stands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hongbao_load::{Cluster, Fallible};
use serde::Serialize;

use crate::measure::us_of_each;

/// Processor time by part, while something was done.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    by_part: BTreeMap<&'static str, Duration>,
    elapsed: Duration,
}

/// Microseconds by part for each of some requests.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UsOfEach(BTreeMap<&'static str, f64>);

/// The parts, in the order in which they are printed.
pub const PARTS: [&str; 7] = ["generator", "gateway", "server", "database", "wallet", "caches", "workers"];

/// What a process of the cluster is a part of.
fn part_of(process: &str) -> &'static str {
    match process {
        "gateway" => "gateway",
        "wallet-mariadb" => "wallet",
        name if name.ends_with("-mariadb") => "database",
        name if name.ends_with("-memcached") || name.ends_with("-redis") => "caches",
        name if name.contains("-w") => "workers",
        _ => "server",
    }
}

impl Usage {
    /// What the cluster uses while something is done; and what came of that.
    pub fn of<T>(cluster: &Cluster, work: impl FnOnce() -> Fallible<T>) -> Fallible<(Usage, T)> {
        let (before, started) = (cluster.cpu_times()?, Instant::now());
        let done = work()?;
        let (after, elapsed) = (cluster.cpu_times()?, started.elapsed());
        let mut by_part = BTreeMap::new();
        for (process, used) in after {
            let used = used.saturating_sub(before.get(&process).copied().unwrap_or_default());
            *by_part.entry(part_of(&process)).or_default() += used;
        }
        Ok((Usage { by_part, elapsed }, done))
    }

    /// Without what the same parts use when idle, of which `idle` is a measure.
    pub fn beyond(mut self, idle: &Usage, idle_for: Duration) -> Usage {
        for (part, used) in &mut self.by_part {
            let idle = idle.by_part.get(part).copied().unwrap_or_default();
            *used = used.saturating_sub(idle.mul_f64(self.elapsed.as_secs_f64() / idle_for.as_secs_f64()));
        }
        self
    }

    /// The generator's time beside that of the service.
    pub fn with_generator(mut self, used: Duration) -> Usage {
        self.by_part.insert("generator", used);
        self
    }

    /// Of all parts together.
    pub fn all(&self) -> Duration {
        self.by_part.values().sum()
    }

    /// For each of so many requests.
    pub fn of_each(&self, sent: u64) -> UsOfEach {
        let each = |used: &Duration| us_of_each(*used, sent).unwrap_or(f64::NAN);
        UsOfEach(self.by_part.iter().map(|(part, used)| (*part, each(used))).collect())
    }
}

impl UsOfEach {
    /// Of one part; 0 where it has none.
    pub fn part(&self, part: &str) -> f64 {
        self.0.get(part).copied().unwrap_or_default()
    }

    /// Of all parts together.
    pub fn all(&self) -> f64 {
        self.0.values().sum()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// So many microseconds of these parts.
    pub fn us_of(parts: &[(&'static str, f64)]) -> UsOfEach {
        UsOfEach(parts.iter().copied().collect())
    }

    #[test]
    fn every_process_of_a_cluster_is_a_part() {
        let parts = [
            ("gateway", "gateway"),
            ("a1", "server"),
            ("a2", "server"),
            ("a-mariadb", "database"),
            ("wallet-mariadb", "wallet"),
            ("a1-memcached", "caches"),
            ("a-redis", "caches"),
            ("a-w1", "workers"),
        ];
        for (process, part) in parts {
            assert_eq!(part_of(process), part, "{process}");
            assert!(PARTS.contains(&part));
        }
    }

    #[test]
    fn what_an_idle_service_uses_is_left_out_and_what_follows_the_load_is_not() {
        let usage = |ms, elapsed| Usage { by_part: BTreeMap::from([("workers", ms * MS)]), elapsed };
        // Idle it uses a tenth of a processor.
        let idle = usage(300, 3_000 * MS);
        let beyond = usage(2_000, 10_000 * MS).beyond(&idle, 3_000 * MS);
        assert_eq!(beyond.all(), 1_000 * MS);
        let each = beyond.with_generator(500 * MS).of_each(1_000);
        assert_eq!((each.part("workers"), each.part("generator"), each.all()), (1_000.0, 500.0, 1_500.0));
        assert_eq!(usage(100, 10_000 * MS).beyond(&idle, 3_000 * MS).all(), Duration::ZERO);
    }
}
