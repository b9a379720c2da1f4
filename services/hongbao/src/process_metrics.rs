//! `process_…`: what Linux says of this process, under the names and with the units of Prometheus' own libraries.
//! Where there is no `/proc`, nothing is said.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};

/// Ticks in a second: Linux shows 100 on every machine.
const TICKS_PER_S: f64 = 100.0;
/// What stands for "no limit" among numbers.
const UNLIMITED: f64 = u64::MAX as f64;

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(Seen { cpu_s, started_s, resident_bytes, virtual_bytes, threads, open_fds }) = Seen::now() else {
            return Ok(());
        };
        let mut tell = |name, help, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let cpu = "Seconds of processor time, in user and kernel mode.";
        tell("process_cpu_seconds", cpu, &ConstCounter::new(cpu_s))?;
        let started = "When the process was started, in seconds since 1970.";
        tell("process_start_time_seconds", started, &ConstGauge::new(started_s))?;
        tell("process_resident_memory_bytes", "Bytes of memory in use.", &ConstGauge::new(resident_bytes))?;
        tell("process_virtual_memory_bytes", "Bytes of addresses in use.", &ConstGauge::new(virtual_bytes))?;
        tell("process_threads", "Threads of the process.", &ConstGauge::new(threads))?;
        tell("process_open_fds", "File descriptors that are open.", &ConstGauge::new(open_fds))?;
        let max_fds = getrlimit(Resource::Nofile).current.map_or(UNLIMITED, |limit| limit as f64);
        tell("process_max_fds", "File descriptors that may be open.", &ConstGauge::new(max_fds))
    }
}

/// The figures of one moment.
#[derive(Debug, PartialEq)]
struct Seen {
    cpu_s: f64,
    started_s: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    open_fds: f64,
}

impl Seen {
    fn now() -> Option<Seen> {
        let [stat, status, machine] =
            ["/proc/self/stat", "/proc/self/status", "/proc/stat"].map(|path| fs::read_to_string(path).ok());
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count();
        // One of them is the folder itself.
        Seen::parse(&stat?, &status?, &machine?, open_fds.saturating_sub(1))
    }

    fn parse(stat: &str, status: &str, machine: &str, open_fds: usize) -> Option<Seen> {
        // The name of the program stands in parentheses and may hold anything: the fields are counted from its end.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
        let number = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<f64>().ok()
        };
        Some(Seen {
            cpu_s: (ticks(11)? + ticks(12)?) / TICKS_PER_S,
            started_s: number(machine, "btime ")? + ticks(19)? / TICKS_PER_S,
            resident_bytes: number(status, "VmRSS:")? * 1_024.0,
            virtual_bytes: number(status, "VmSize:")? * 1_024.0,
            threads: number(status, "Threads:")?,
            open_fds: open_fds as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_read_past_a_name_that_holds_anything() {
        let stat = "7 (a) b) (c) S 1 1 1 0 -1 4194560 1 2 3 4 250 50 9 9 20 0 1 0 1050 0 0";
        let status = "Name:\ta\nVmSize:\t    2048 kB\nVmRSS:\t     512 kB\nThreads:\t5\n";
        let seen = Seen::parse(stat, status, "cpu  1 2\nbtime 1790000000\nprocesses 3\n", 8).unwrap();
        let expected = Seen {
            cpu_s: 3.0,
            started_s: 1_790_000_010.5,
            resident_bytes: 524_288.0,
            virtual_bytes: 2_097_152.0,
            threads: 5.0,
            open_fds: 8.0,
        };
        assert_eq!(seen, expected);
        assert_eq!(Seen::parse("7 (a) S 1", status, "btime 1\n", 8), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_figures() {
        let seen = Seen::now().unwrap();
        let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!((now_s - 86_400.0..=now_s + 1.0).contains(&seen.started_s), "{seen:?}");
        assert!(seen.resident_bytes > 1e6 && seen.virtual_bytes >= seen.resident_bytes, "{seen:?}");
        assert!(seen.threads >= 1.0 && seen.open_fds >= 3.0, "{seen:?}");
    }
}
