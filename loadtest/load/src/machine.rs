//! What the figures were measured on, and what a process has cost so far.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use hongbao_testbed::cpu_time;

use crate::error::Fallible;

/// Ticks of `/proc/PID/stat` in a second: Linux shows 100 on every machine.
const TICKS_PER_S: u32 = 100;

/// How many processors, of which model.
pub fn processors() -> String {
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    format!("{count} x {}", model.map_or("unknown processor", |(_, name)| name))
}

/// The type of the file system that holds `path`: a tmpfs would flatter the service.
pub fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let holds = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        path.starts_with(at).then(|| (at.len(), kind.to_owned()))
    };
    // Of equals the last: it was mounted over the others.
    mounts.lines().filter_map(holds).max_by_key(|(length, _)| *length).map_or("unknown".into(), |(_, kind)| kind)
}

/// What the clock on the wall says: where a run lies in the day, never how long something took.
#[expect(
    clippy::disallowed_methods,
    reason = "tokens and days are of the real world, and the harness is not the service"
)]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// The processor time that all processes together have used.
pub fn busy_time() -> Fallible<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    parse_busy_time(&stat).ok_or_else(|| "/proc/stat is not understood".into())
}

fn parse_busy_time(stat: &str) -> Option<Duration> {
    // User, nice, system. Interrupts are left out: no process is charged for them.
    let times: Vec<u64> =
        stat.strip_prefix("cpu ")?.split_ascii_whitespace().take(3).map_while(|time| time.parse().ok()).collect();
    (times.len() == 3).then(|| Duration::from_millis(times.iter().sum::<u64>() * 1_000 / u64::from(TICKS_PER_S)))
}

/// The memory that a process has in use, in MB.
pub fn memory_mb(pid: u32) -> Fallible<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_memory_mb(&status).ok_or_else(|| format!("/proc/{pid}/status is not understood").into())
}

fn parse_memory_mb(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1_024.0)
}

/// Lets this process and those it starts open as many files as the system allows.
pub fn raise_open_files() -> Fallible<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_megabytes() {
        assert_eq!(parse_memory_mb("Name:\thongbao\nVmRSS:\t    2048 kB\n"), Some(2.0));
        assert!(memory_mb(std::process::id()).unwrap() > 0.0);
    }

    #[test]
    fn busy_time_is_that_of_all_processors_without_idle_and_interrupts() {
        assert_eq!(parse_busy_time("cpu  100 50 250 9 9 9\ncpu0 1 1 1 1"), Some(Duration::from_secs(4)));
        assert_eq!(parse_busy_time("cpu  100 50"), None);
        assert!(busy_time().is_ok());
    }
}
