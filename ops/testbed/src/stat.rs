//! The start and the processor time of a process, from `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::install::Fallible;

/// Ticks in a second: Linux shows 100 on every machine.
const TICKS_PER_S: u32 = 100;

/// When a process was started, in ticks since the machine was; `None` if it has
/// ended, even if its parent has not noticed.
pub fn started_at(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = fields(&stat)?;
    (fields.next()? != "Z").then_some(())?;
    fields.nth(18)?.parse().ok()
}

/// The processor time that a process has used, in user and kernel mode.
pub fn cpu_time(pid: u32) -> Fallible<Duration> {
    cpu_time_of(Path::new(&format!("/proc/{pid}")))
}

/// The same of a process or a thread by its folder, `/proc/PID/task/TID`.
pub fn cpu_time_of(folder: &Path) -> Fallible<Duration> {
    let stat = folder.join("stat");
    parse_cpu_time(&fs::read_to_string(&stat)?).ok_or_else(|| format!("{} is not understood", stat.display()).into())
}

fn parse_cpu_time(stat: &str) -> Option<Duration> {
    let mut times = fields(stat)?.skip(11);
    let (user, system): (u32, u32) = (times.next()?.parse().ok()?, times.next()?.parse().ok()?);
    Some(Duration::from_secs(1) * user.checked_add(system)? / TICKS_PER_S)
}

/// The fields from the state on. The name before it stands in parentheses and may hold
/// anything, so they are counted from its end.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_name_that_holds_anything() {
        let stat = "7 (a) b) (c) S 1 1 1 0 -1 4194560 1 2 3 4 250 50 9 9 20 0 1 0 100 0 0";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_cpu_time("7 (a) S 1"), None);
        assert!(cpu_time(std::process::id()).is_ok());
    }
}
