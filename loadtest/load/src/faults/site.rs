//! Where faults happen: what each kind does to a part of a cluster, and how it is undone.
//!
//! Faults of one part may overlap. The first of those that do the same does it,
//! and the last one undoes it; delays add up. A part that was started anew in
//! the meantime is neither paused nor full.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard};

use hongbao_testbed::{Installation, Processes, TopologyChange};
use rustix::process::Signal;

use super::schedule::{Fault, FaultKind, Schedule};
use crate::error::Fallible;

/// How many faults hold a part in each state.
#[derive(Default)]
struct Holders {
    down: u32,
    paused: u32,
    full: u32,
}

/// Why a fault did not begin as it should.
pub struct Failed {
    /// Whether something was done, so that it has to be undone.
    pub in_force: bool,
    /// What went wrong.
    pub message: String,
}

/// The parts that a schedule names, and the means to do something to them.
pub struct Site {
    installation: Arc<Installation>,
    parts: BTreeMap<String, Mutex<Holders>>,
    /// One is made at a time, for each begins with the file that the one before has left.
    changes: Mutex<Vec<TopologyChange>>,
}

impl Site {
    /// For the parts of `schedule`.
    pub fn new(installation: Arc<Installation>, schedule: &Schedule) -> Site {
        let parts = schedule.faults().iter().map(|fault| (fault.part.clone(), Mutex::default())).collect();
        Site { installation, parts, changes: Mutex::new(schedule.changes().to_vec()) }
    }

    /// Does it.
    pub fn begin(&self, fault: &Fault) -> Result<(), Failed> {
        let part = fault.part.as_str();
        let mut holders = self.holders(part);
        let failed =
            |in_force| move |error: Box<dyn Error + Send + Sync>| Failed { in_force, message: error.to_string() };
        match fault.kind {
            FaultKind::Kill | FaultKind::Stop => {
                let signal = if fault.kind == FaultKind::Kill { Signal::KILL } else { Signal::TERM };
                if holders.down == 0 {
                    self.processes().pid(part).map_err(failed(false))?;
                    holders.down = 1;
                    return self.processes().end(part, signal).map_err(failed(true));
                }
                holders.down += 1;
            }
            FaultKind::Pause => {
                if holders.paused == 0 {
                    self.processes().signal(part, Signal::STOP).map_err(failed(false))?;
                }
                holders.paused += 1;
            }
            FaultKind::Fill => {
                if holders.full == 0 {
                    self.installation.fill(part).map_err(failed(false))?;
                }
                holders.full += 1;
            }
            FaultKind::Slow(delay) => {
                self.installation.change_link(part, |link| link.delay += delay).map_err(failed(false))?
            }
            FaultKind::Partition => {
                self.installation.change_link(part, |link| link.cuts += 1).map_err(failed(false))?
            }
            FaultKind::Topology(number) => {
                let changes = self.changes.lock().expect("no change panics");
                self.installation.change_topology(&changes[number]).map_err(failed(false))?
            }
        }
        Ok(())
    }

    /// Undoes what [`Site::begin`] did; for a process that ended, it listens again afterwards.
    pub fn undo(&self, fault: &Fault) -> Fallible<()> {
        let part = fault.part.as_str();
        let mut holders = self.holders(part);
        match fault.kind {
            FaultKind::Kill | FaultKind::Stop => {
                holders.down -= 1;
                if holders.down > 0 {
                    return Ok(());
                }
                // One that did not end by SIGTERM is not left half-ended.
                if self.processes().pid(part).is_ok() {
                    self.processes().end(part, Signal::KILL)?;
                }
                self.installation.run(&[part])
            }
            FaultKind::Pause => {
                holders.paused -= 1;
                match holders.paused == 0 && holders.down == 0 {
                    true => self.processes().signal(part, Signal::CONT),
                    false => Ok(()),
                }
            }
            FaultKind::Fill => {
                holders.full -= 1;
                match holders.full == 0 && holders.down == 0 {
                    true => self.installation.make_room(part),
                    false => Ok(()),
                }
            }
            FaultKind::Slow(delay) => {
                self.installation.change_link(part, |link| link.delay = link.delay.saturating_sub(delay))
            }
            FaultKind::Partition => self.installation.change_link(part, |link| link.cuts -= 1),
            FaultKind::Topology(_) => Ok(()),
        }
    }

    fn processes(&self) -> &Processes {
        self.installation.processes()
    }

    fn holders(&self, part: &str) -> MutexGuard<'_, Holders> {
        self.parts[part].lock().expect("no holder of the lock panics")
    }
}
