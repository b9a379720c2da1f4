//! Faults inside the load: parts of a local cluster are killed, stopped, paused,
//! slowed, filled and cut off at given moments, and all of it is undone.
//!
//! [`Schedule::read`] says what is wrong with a file before anything runs;
//! [`Schedule::start`] carries it out beside the load.

mod rehearse;
mod relay;
mod schedule;
mod site;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use rehearse::{Args as FaultsArgs, rehearse};
pub use relay::{Relays, Wanted as WantedRelay};
pub use schedule::{Fault, Schedule};
pub use site::{OPTIONS_OF_FILLED, Site};

use crate::outcome::FaultDone;
use crate::service::Cluster;
use crate::{Fallible, interrupt};

/// Between two looks whether all is undone.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the run is over, which ends every wait.
#[derive(Default)]
struct Over {
    is_over: Mutex<bool>,
    told: Condvar,
}

impl Over {
    /// Waits until then; `false` if the run is over before.
    fn wait_until(&self, then: Instant) -> bool {
        let is_over = self.is_over.lock().expect("nobody panics with the lock");
        let left = then.saturating_duration_since(Instant::now());
        let (is_over, _) =
            self.told.wait_timeout_while(is_over, left, |is_over| !*is_over).expect("nobody panics with the lock");
        !*is_over
    }

    fn tell(&self) {
        *self.is_over.lock().expect("nobody panics with the lock") = true;
        self.told.notify_all();
    }
}

/// A schedule that is being carried out. When it is dropped, whatever it has
/// done is undone, however the run ended; so it must be dropped before its cluster.
pub struct Running {
    over: Arc<Over>,
    threads: Vec<(Fault, JoinHandle<FaultDone>)>,
}

impl Schedule {
    /// Begins to carry it out, in a run that began at `started`. The cluster must have been started for it.
    pub fn start(&self, cluster: &Cluster, started: Instant) -> Fallible<Running> {
        let site = Arc::new(cluster.site(self));
        let mut running = Running { over: Arc::default(), threads: Vec::new() };
        for fault in self.faults() {
            let (site, over, own) = (site.clone(), running.over.clone(), fault.clone());
            let thread = std::thread::Builder::new().name(format!("{} {}", fault.kind, fault.part));
            // If one cannot be started, those that were end with `running`.
            let thread = thread.spawn(move || carry_out(&own, &site, &over, started))?;
            running.threads.push((fault.clone(), thread));
        }
        Ok(running)
    }
}

impl Running {
    /// Whether all faults have been undone by themselves.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(|(_, thread)| thread.is_finished())
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
        self.over.tell();
        let threads = std::mem::take(&mut self.threads);
        let mut done: Vec<FaultDone> = threads
            .into_iter()
            .map(|(fault, thread)| {
                thread
                    .join()
                    .unwrap_or_else(|_| done(&fault, fault.at.as_secs_f64(), Some("its thread panicked".into())))
            })
            .collect();
        done.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        done
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Those that never were in force are of no interest to whoever gave the run up.
        for fault in self.end().into_iter().filter(|fault| fault.until_s > fault.at_s) {
            if let Some(error) = fault.error {
                eprintln!("hongbao-loadtest: {} {}: {error}", fault.kind, fault.part);
            }
        }
    }
}

/// One fault from the wait for its time to its end.
fn carry_out(fault: &Fault, site: &Site, over: &Over, started: Instant) -> FaultDone {
    if !over.wait_until(started + fault.at) {
        return done(fault, fault.at.as_secs_f64(), Some("the run was over before its time".into()));
    }
    let began = Instant::now();
    let at_s = (began - started).as_secs_f64();
    let begun = site.begin(fault);
    let is_in_force = begun.as_ref().map_or_else(|failed| failed.in_force, |()| true);
    let mut errors: Vec<String> = begun.err().map(|failed| failed.words).into_iter().collect();
    if is_in_force {
        over.wait_until(began + fault.lasts);
        errors.extend(site.undo(fault).err().map(|error| format!("not undone: {error}")));
    }
    let error = (!errors.is_empty()).then(|| errors.join("; "));
    FaultDone { until_s: started.elapsed().as_secs_f64(), ..done(fault, at_s, error) }
}

fn done(fault: &Fault, at_s: f64, error: Option<String>) -> FaultDone {
    FaultDone { at_s, until_s: at_s, kind: fault.kind.to_string(), part: fault.part.clone(), error }
}
