//! A schedule that is being carried out.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::schedule::{Fault, Schedule};
use super::site::Site;
use crate::error::{Fallible, complain};
use crate::interrupt;

/// Between two looks whether all is undone.
const LOOK: Duration = Duration::from_millis(50);

/// Its other end is dropped when the run is over, which ends every wait.
type RunEnd = Receiver<Infallible>;

/// Waits until then; `false` if the run is over before.
fn wait_until(then: Instant, end: &RunEnd) -> bool {
    let left = then.saturating_duration_since(Instant::now());
    matches!(end.recv_timeout(left), Err(RecvTimeoutError::Timeout))
}

/// A fault as it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultDone {
    /// When it began, in seconds since the load began.
    pub at_s: f64,
    /// When it was undone.
    pub until_s: f64,
    /// `kill`, `stop`, `pause`, `slow`, `fill`, `partition`.
    pub kind: String,
    /// The part's name in the cluster.
    pub part: String,
    /// Why it could not be done or undone.
    pub error: Option<String>,
}

/// A schedule that is being carried out. When it is dropped, whatever it has
/// done is undone, however the run ended; so it must be dropped before its cluster.
pub struct Running {
    /// Of each fault its thread, and what ends that thread's waits when it is dropped.
    threads: Vec<(Fault, SyncSender<Infallible>, JoinHandle<FaultDone>)>,
}

impl Schedule {
    /// Begins to carry it out, in a run that began at `started`, on the site of a cluster that was started for it.
    pub fn start(&self, site: Site, started: Instant) -> Fallible<Running> {
        let site = Arc::new(site);
        let mut running = Running { threads: Vec::new() };
        for fault in self.faults() {
            let (site, own) = (site.clone(), fault.clone());
            let (running_on, end) = sync_channel(0);
            let thread = std::thread::Builder::new().name(format!("{} {}", fault.kind, fault.part));
            // If one cannot be started, those that were end with `running`.
            let thread = thread.spawn(move || carry_out(&own, &site, &end, started))?;
            running.threads.push((fault.clone(), running_on, thread));
        }
        Ok(running)
    }
}

impl Running {
    /// Whether all faults have been undone by themselves.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(|(_, _, thread)| thread.is_finished())
    }

    /// Waits until all faults have been undone by themselves.
    pub fn wait(&self) -> Fallible<()> {
        while !self.is_over() {
            interrupt::check()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Ends it: undoes what is in force, and leaves out what has not begun. All
    /// faults, in the order in which they began.
    pub fn finish(mut self) -> Vec<FaultDone> {
        self.end()
    }

    fn end(&mut self) -> Vec<FaultDone> {
        // Every wait ends before any thread is waited for.
        let threads: Vec<_> = self.threads.drain(..).map(|(fault, _, thread)| (fault, thread)).collect();
        let panicked = |fault: &Fault| done(fault, fault.at.as_secs_f64(), Some("its thread panicked".into()));
        let joined = threads.into_iter().map(|(fault, thread)| thread.join().unwrap_or_else(|_| panicked(&fault)));
        let mut done: Vec<FaultDone> = joined.collect();
        done.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        done
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Those that never were in force are of no interest once the run was given up.
        for fault in self.end().into_iter().filter(|fault| fault.until_s > fault.at_s) {
            if let Some(error) = fault.error {
                complain(format!("{} {}: {error}", fault.kind, fault.part));
            }
        }
    }
}

/// One fault from the wait for its time to its end.
fn carry_out(fault: &Fault, site: &Site, end: &RunEnd, started: Instant) -> FaultDone {
    if !wait_until(started + fault.at, end) {
        return done(fault, fault.at.as_secs_f64(), Some("the run was over before its time".into()));
    }
    let began = Instant::now();
    let at_s = (began - started).as_secs_f64();
    let begun = site.begin(fault);
    let is_in_force = begun.as_ref().map_or_else(|failed| failed.in_force, |()| true);
    let mut errors: Vec<String> = begun.err().map(|failed| failed.message).into_iter().collect();
    if is_in_force {
        wait_until(began + fault.lasts, end);
        errors.extend(site.undo(fault).err().map(|error| format!("not undone: {error}")));
    }
    let error = (!errors.is_empty()).then(|| errors.join("; "));
    FaultDone { until_s: started.elapsed().as_secs_f64(), ..done(fault, at_s, error) }
}

fn done(fault: &Fault, at_s: f64, error: Option<String>) -> FaultDone {
    FaultDone { at_s, until_s: at_s, kind: fault.kind.to_string(), part: fault.part.clone(), error }
}

#[cfg(test)]
mod tests;
