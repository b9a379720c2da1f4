//! The processes of an installation, each by its name. A file remembers the number of
//! each and when it began, since numbers are given again: so another process knows
//! them too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::install::Fallible;
use crate::spawn::{bound, log_to, prefixed, spawn_command};
use crate::stat::{cpu_time, started_at};

/// How long a process that was asked to end may take.
const END_MAX: Duration = Duration::from_secs(30);
/// Between two looks at one that ends.
const END_LOOK: Duration = Duration::from_millis(5);
/// Lines of a log that an error shows.
const LOG_LINES: usize = 5;

/// How long processes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as this process at most, however it ends.
    Bound,
    /// Until they are ended by name.
    Detached,
}

/// What is known of them besides their files.
#[derive(Default)]
struct Known {
    /// Those that were ended on purpose.
    down: BTreeSet<String>,
    /// The processor time that each process had used when it was looked at last.
    used: BTreeMap<(String, Id), Duration>,
}

/// The number of a process and its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    pid: u32,
    started: u64,
}

/// Processes with their logs and numbers under one folder.
pub struct Processes {
    dir: PathBuf,
    lifetime: Lifetime,
    known: Mutex<Known>,
}

impl Processes {
    /// Those of a folder.
    pub(crate) fn new(dir: &Path, lifetime: Lifetime) -> Processes {
        Processes { dir: dir.to_owned(), lifetime, known: Mutex::default() }
    }

    /// Starts one, which must not run.
    pub fn spawn(&self, name: &str, command: &Command) -> Fallible<()> {
        let command = match self.lifetime {
            Lifetime::Bound => bound(command),
            Lifetime::Detached => prefixed(&["env"], command),
        };
        // In a session of its own, so that a terminal's signals go to its caller alone.
        let mut command = prefixed(&["setsid"], &command);
        fs::create_dir_all(self.dir.join("run"))?;
        fs::create_dir_all(self.dir.join("log"))?;
        log_to(&mut command, &self.log(name))?;
        let mut child = spawn_command(command).map_err(|error| format!("{name} cannot be started: {error}"))?;
        let pid = child.id();
        let started = started_at(pid).unwrap_or_default();
        fs::write(self.file(name), format!("{pid} {started}\n"))?;
        self.known().down.remove(name);
        // A child whose end no parent reads stays in the process table.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// The file that has what it printed.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// The last lines that it printed.
    pub(crate) fn last_lines(&self, name: &str) -> String {
        let log = fs::read(self.log(name)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Sends a signal to one.
    pub fn signal(&self, name: &str, signal: Signal) -> Fallible<()> {
        kill_process(self.pid(name)?, signal).map_err(|error| format!("{name}: {error}").into())
    }

    /// Asks one to end, on purpose, and waits until it has.
    pub fn end(&self, name: &str, signal: Signal) -> Fallible<()> {
        let id = self.id(name)?;
        // What it has used is not forgotten with it.
        let used = cpu_time(id.pid).unwrap_or_default();
        {
            let mut known = self.known();
            known.used.insert((name.to_owned(), id), used);
            known.down.insert(name.to_owned());
        }
        self.signal(name, signal)?;
        let since = Instant::now();
        while started_at(id.pid) == Some(id.started) {
            if since.elapsed() > END_MAX {
                return Err(format!("{name} did not end within {} s", END_MAX.as_secs()).into());
            }
            std::thread::sleep(END_LOOK);
        }
        Ok(())
    }

    /// Ends those that run, at the same time and on purpose; one that is paused goes on
    /// for it, and one that does not end in time is killed. Gives those that run nevertheless.
    pub(crate) fn end_all(&self, names: &[String]) -> Vec<String> {
        std::thread::scope(|scope| {
            for name in names.iter().filter(|name| self.pid(name).is_ok()) {
                scope.spawn(move || {
                    // It may end by itself meanwhile.
                    let _ = self.signal(name, Signal::CONT);
                    if self.end(name, Signal::TERM).is_err() {
                        let _ = self.end(name, Signal::KILL);
                    }
                });
            }
        });
        names.iter().filter(|name| self.pid(name).is_ok()).cloned().collect()
    }

    /// The process of that name.
    pub fn pid(&self, name: &str) -> Fallible<Pid> {
        let id = self.id(name)?;
        let pid = i32::try_from(id.pid).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| format!("{name}: no process has the number {}", id.pid).into())
    }

    fn id(&self, name: &str) -> Fallible<Id> {
        let id = written_id(&self.file(name)).filter(|id| started_at(id.pid) == Some(id.started));
        id.ok_or_else(|| format!("{name} does not run").into())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join("run").join(format!("{name}.pid"))
    }

    /// The processor time that each of them has used by name, also if it was
    /// ended on purpose and started again. Fails if another one is gone.
    pub fn cpu_times(&self) -> Fallible<BTreeMap<String, Duration>> {
        let mut known = self.known();
        for file in fs::read_dir(self.dir.join("run"))? {
            let path = file?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // One that is just being started has written nothing yet.
            let Some(id) = written_id(&path) else { continue };
            match cpu_time(id.pid) {
                Ok(used) if started_at(id.pid) == Some(id.started) => {
                    known.used.insert((name, id), used);
                }
                _ if known.down.contains(&name) => (),
                _ => return Err(format!("{name} is gone, its log is {}", self.log(&name).display()).into()),
            }
        }
        let mut times = BTreeMap::new();
        for ((name, _), used) in &known.used {
            *times.entry(name.clone()).or_default() += *used;
        }
        Ok(times)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of the lock panics")
    }
}

fn written_id(file: &Path) -> Option<Id> {
    let text = fs::read_to_string(file).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    Some(Id { pid: pid.parse().ok()?, started: started.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ended_by_name_and_its_time_still_counts() {
        let dir = tempfile::tempdir().unwrap();
        let processes = Processes::new(dir.path(), Lifetime::Bound);
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        assert_eq!(processes.signal("a1", Signal::CONT).unwrap_err().to_string(), "a1 does not run");
        processes.spawn("a1", &sleep).unwrap();
        let cpu_time = || processes.cpu_times().map(|times| times["a1"]);
        let first = processes.pid("a1").unwrap();
        let used = cpu_time().unwrap();
        processes.end("a1", Signal::KILL).unwrap();
        assert!(processes.pid("a1").is_err());
        assert!(cpu_time().unwrap() >= used, "it was ended on purpose");
        processes.spawn("a1", &sleep).unwrap();
        assert_ne!(processes.pid("a1").unwrap(), first);
        kill_process(processes.pid("a1").unwrap(), Signal::KILL).unwrap();
        while processes.pid("a1").is_ok() {
            std::thread::sleep(END_LOOK);
        }
        assert!(cpu_time().is_err(), "its end was not meant");
    }
}
