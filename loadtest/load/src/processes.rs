//! The processes of a cluster on this machine, each by its name in `ops/cluster.sh`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::child::forget_environment;
use crate::error::Fallible;
use crate::machine;

/// How long a process that was told to end may take.
const END_MAX: Duration = Duration::from_secs(30);
/// Between two looks at one that ends.
const END_LOOK: Duration = Duration::from_millis(5);

/// What is known of them besides the files of the script.
#[derive(Default)]
struct Known {
    /// Those that were ended on purpose.
    down: BTreeSet<String>,
    /// The processor time that each process had used when it was looked at last.
    used: BTreeMap<(String, Id), Duration>,
}

/// The number of a process and its start: numbers are given again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    pid: u32,
    started: u64,
}

/// Where they are described, and whether they may still be started.
pub struct Processes {
    script: PathBuf,
    dir: PathBuf,
    known: Mutex<Known>,
    /// Set when the cluster ends: nothing is started afterwards.
    ended: RwLock<bool>,
}

impl Processes {
    /// Those that `script` starts, or has started, with its data under `dir`.
    pub fn new(script: &Path, dir: &Path) -> Processes {
        let (script, dir) = (script.to_owned(), dir.to_owned());
        Processes { script, dir, known: Mutex::default(), ended: RwLock::new(false) }
    }

    /// The folder with their data and logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs the script with one of its commands.
    pub fn script<'a>(&self, command: &str, arguments: impl IntoIterator<Item = &'a str>) -> Fallible<()> {
        let mut script = Command::new(&self.script);
        script.arg(command).arg("--data").arg(&self.dir).args(arguments);
        forget_environment(&mut script);
        let done = script.output().map_err(|error| format!("{}: {error}", self.script.display()))?;
        if !done.status.success() {
            return Err(format!("cluster {command}: {}", String::from_utf8_lossy(&done.stderr).trim()).into());
        }
        Ok(())
    }

    /// Ends all of them, in good order. None of them can be started afterwards.
    pub fn stop(&self) -> Fallible<()> {
        // Whoever is starting one is done when the lock is ours.
        *self.ended.write().expect("nobody panics with the lock") = true;
        self.script("stop", [])
    }

    /// Starts one again that has ended, and waits until it listens.
    pub fn run(&self, name: &str) -> Fallible<()> {
        let ended = self.ended.read().expect("nobody panics with the lock");
        if *ended {
            return Err(format!("{name} is not started again: the cluster has ended").into());
        }
        // The script outlives us: it has to see that there is nobody any more to start it for.
        let us = std::process::id().to_string();
        self.script("run", ["--watch", &us, name])?;
        self.known().down.remove(name);
        Ok(())
    }

    /// Sends a signal to one.
    pub fn signal(&self, name: &str, signal: Signal) -> Fallible<()> {
        kill_process(self.pid(name)?, signal).map_err(|error| format!("{name}: {error}").into())
    }

    /// Tells one to end, on purpose, and waits until it has.
    pub fn end(&self, name: &str, signal: Signal) -> Fallible<()> {
        let id = self.id(name)?;
        // What it has used is not forgotten with it.
        let used = machine::cpu_time(id.pid).unwrap_or_default();
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

    /// The process of that name.
    pub fn pid(&self, name: &str) -> Fallible<Pid> {
        let id = self.id(name)?;
        let pid = i32::try_from(id.pid).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| format!("{name}: no process has the number {}", id.pid).into())
    }

    fn id(&self, name: &str) -> Fallible<Id> {
        let gone = || format!("{name} does not run");
        let id = self.written_id(&self.dir.join("run").join(format!("{name}.pid"))).ok_or_else(gone)?;
        match started_at(id.pid) == Some(id.started) {
            true => Ok(id),
            false => Err(gone().into()),
        }
    }

    fn written_id(&self, file: &Path) -> Option<Id> {
        let text = fs::read_to_string(file).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Id { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// The processor time that each of them has used by name, also if it was
    /// ended on purpose and started again. Fails if another one is gone.
    pub fn cpu_times(&self) -> Fallible<BTreeMap<String, Duration>> {
        let mut known = self.known();
        for file in fs::read_dir(self.dir.join("run"))? {
            let path = file?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // One that is just being started has written nothing yet.
            let Some(id) = self.written_id(&path) else { continue };
            match machine::cpu_time(id.pid) {
                Ok(used) if started_at(id.pid) == Some(id.started) => {
                    known.used.insert((name, id), used);
                }
                _ if known.down.contains(&name) => (),
                _ => return Err(format!("{name} is gone, its log is in {}", self.dir.join("log").display()).into()),
            }
        }
        let mut times = BTreeMap::new();
        for ((name, _), used) in &known.used {
            *times.entry(name.clone()).or_default() += *used;
        }
        Ok(times)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nobody panics with the lock")
    }
}

/// When a process was started, in ticks since the machine was; `None` if it has
/// ended, even if nobody has noticed.
fn started_at(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, so count from its end.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    (fields.next()? != "Z").then_some(())?;
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for `ops/cluster.sh run NAME`.
    const SCRIPT: &str = "#!/usr/bin/env bash\n\
        [ \"$1\" = run ] || exit 0\n\
        setsid sleep 60 >/dev/null 2>&1 </dev/null &\n\
        echo \"$! $(awk '{ print $22 }' /proc/$!/stat)\" >\"$3/run/${!#}.pid\"\n";

    fn processes(dir: &Path) -> Processes {
        let script = dir.join("cluster.sh");
        hongbao_parts::write_executable(&script, SCRIPT);
        fs::create_dir(dir.join("run")).unwrap();
        Processes::new(&script, dir)
    }

    #[test]
    fn a_process_is_ended_by_name_and_its_time_still_counts() {
        let dir = tempfile::tempdir().unwrap();
        let processes = processes(dir.path());
        assert_eq!(processes.signal("a1", Signal::CONT).unwrap_err().to_string(), "a1 does not run");
        processes.run("a1").unwrap();
        let cpu_time = || processes.cpu_times().map(|times| times["a1"]);
        let first = processes.pid("a1").unwrap();
        let used = cpu_time().unwrap();
        processes.end("a1", Signal::KILL).unwrap();
        assert!(processes.pid("a1").is_err());
        assert!(cpu_time().unwrap() >= used, "it was ended on purpose");
        processes.run("a1").unwrap();
        assert_ne!(processes.pid("a1").unwrap(), first);
        kill_process(processes.pid("a1").unwrap(), Signal::KILL).unwrap();
        while processes.pid("a1").is_ok() {
            std::thread::sleep(END_LOOK);
        }
        assert!(cpu_time().is_err(), "nobody meant it to go");
    }

    #[test]
    fn nothing_is_started_once_the_cluster_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let processes = processes(dir.path());
        processes.stop().unwrap();
        let refused = processes.run("a1").unwrap_err().to_string();
        assert_eq!(refused, "a1 is not started again: the cluster has ended");
    }
}
