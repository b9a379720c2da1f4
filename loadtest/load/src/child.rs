//! The processes that a bench starts. They live exactly as long as their value, and
//! no longer than the bench, however it ends.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hongbao_testbed::{bound, spawn_command};

use crate::error::Fallible;
use crate::{interrupt, machine};

/// How long a process may take to listen.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a look at it takes.
const IDLE_LOOK: Duration = Duration::from_millis(500);
/// How long a process may take to become idle.
const IDLE_WAIT_MAX: Duration = Duration::from_secs(120);
/// Lines of its output that a failure shows.
const LOG_LINES_SHOWN: usize = 15;

/// A server in another process, which has printed its address. Dropping it kills it.
pub struct Child {
    process: std::process::Child,
    name: &'static str,
    log: PathBuf,
    addr: SocketAddr,
}

impl Child {
    /// Starts `command`, its output going to the file `log`, and waits for the address that it prints.
    pub fn start(name: &'static str, command: Command, log: &Path) -> Fallible<Child> {
        Child::start_until(name, &command, log, |child| match find_address(&child.output()) {
            Some(addr) => {
                child.addr = addr;
                true
            }
            None => false,
        })
    }

    /// The same of one that prints no address: waits until it listens at `addr`.
    pub fn start_at(name: &'static str, command: &Command, log: &Path, addr: SocketAddr) -> Fallible<Child> {
        Child::start_until(name, command, log, |child| {
            child.addr = addr;
            TcpStream::connect(addr).is_ok()
        })
    }

    /// Starts a process that ends with this one, also when this one is killed.
    fn start_until(
        name: &'static str,
        command: &Command,
        log: &Path,
        listens: impl Fn(&mut Child) -> bool,
    ) -> Fallible<Child> {
        let file = File::create(log)?;
        let mut bound = bound(command);
        bound.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let program = command.get_program().display();
        let process = spawn_command(bound).map_err(|error| format!("cannot start {name}, {program}: {error}"))?;
        let mut child = Child { process, name, log: log.to_owned(), addr: ([127, 0, 0, 1], 0).into() };
        let started = Instant::now();
        while !listens(&mut child) {
            interrupt::check()?;
            if let Some(status) = child.process.try_wait()? {
                return Err(child.complaint(&format!("ended at once, {status}")));
            }
            if started.elapsed() > START_MAX {
                return Err(child.complaint("does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(child)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The processor time that it has used.
    pub fn cpu_time(&self) -> Fallible<Duration> {
        machine::cpu_time(self.process.id()).map_err(|_| self.complaint("is gone"))
    }

    /// An error about this process, with the end of its output.
    pub fn complaint(&self, what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n  ");
        format!("{}: {what}; the end of its output:\n  {end}", self.name).into()
    }

    fn output(&self) -> String {
        std::fs::read(&self.log).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when it has ended and been reaped, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until something, whose processor time `cpu_time` reads, uses less than
/// this share of one processor, so that work left over from one run does not slow the next. Answers
/// how long it took; `None` if it stayed busy.
pub fn wait_until_idle(share: f64, cpu_time: impl Fn() -> Fallible<Duration>) -> Fallible<Option<Duration>> {
    let started = Instant::now();
    while started.elapsed() < IDLE_WAIT_MAX {
        interrupt::check()?;
        let (before, at) = (cpu_time()?, Instant::now());
        std::thread::sleep(IDLE_LOOK);
        let used = cpu_time()?.saturating_sub(before);
        if used.as_secs_f64() < share * at.elapsed().as_secs_f64() {
            return Ok(Some(started.elapsed().saturating_sub(IDLE_LOOK)));
        }
    }
    Ok(None)
}

/// The first `http://127.0.0.1:PORT` of a text, on a line that is complete.
fn find_address(output: &str) -> Option<SocketAddr> {
    let complete = &output[..output.rfind('\n')?];
    complete.split("http://").skip(1).find_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_once_its_line_is_complete() {
        assert_eq!(find_address("listening on http://127.0.0.1:80"), None, "more digits may follow");
        let found = find_address("hello http://example\n listening on http://127.0.0.1:8080/\nx");
        assert_eq!(found, Some(SocketAddr::from(([127, 0, 0, 1], 8080))));
    }

    #[test]
    fn a_process_that_ends_at_once_is_reported_with_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such setting >&2; exit 3"]);
        let error = Child::start("the service", command, &dir.path().join("log")).err().unwrap().to_string();
        assert!(error.contains("ended at once") && error.contains("no such setting"), "{error}");
    }

    #[test]
    fn a_dropped_process_is_killed_and_reaped() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo http://127.0.0.1:9; exec sleep 60"]);
        let child = Child::start("sleeper", command, &dir.path().join("log")).unwrap();
        let pid = child.process.id();
        assert!(wait_until_idle(0.05, || child.cpu_time()).unwrap().is_some());
        drop(child);
        assert!(machine::cpu_time(pid).is_err());
    }
}
