//! What goes wrong in these months: envelopes that are stuck, and processes that die.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use hongbao_core::EnvelopeId;
use hongbao_store::StoreError;
use hongbao_testkit::faults::{StoreFaults, StoreVerb};
use parking_lot::Mutex;

/// See the module.
#[derive(Default)]
pub struct Faults {
    /// Refunds of these envelopes fail.
    stuck: Mutex<HashSet<EnvelopeId>>,
    life: Mutex<Life>,
    deaths: AtomicU64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Lives,
    /// It dies before its next write, or after it, when it has done so many more.
    Dies(u64),
    Dead,
}

impl Faults {
    pub fn stick(&self, id: EnvelopeId) {
        self.stuck.lock().insert(id);
    }

    pub fn unstick(&self) {
        self.stuck.lock().clear();
    }

    /// Two steps belong to each write: before it, and after it.
    pub fn die_at(&self, step: u64) {
        *self.life.lock() = Life::Dies(step);
    }

    /// Starts the process anew; says whether it was dead.
    pub fn revive(&self) -> bool {
        let was_dead = std::mem::take(&mut *self.life.lock()) == Life::Dead;
        self.deaths.fetch_add(was_dead.into(), Ordering::Relaxed);
        was_dead
    }

    /// How often a process died.
    pub fn deaths(&self) -> u64 {
        self.deaths.load(Ordering::Relaxed)
    }

    fn step(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        let mut life = self.life.lock();
        *life = match *life {
            Life::Dies(0) if is_write(verb) => Life::Dead,
            Life::Dies(steps) if is_write(verb) => Life::Dies(steps - 1),
            life => life,
        };
        if *life == Life::Dead { Err(StoreError::Unavailable("the process is dead".to_owned())) } else { Ok(()) }
    }
}

fn is_write(verb: StoreVerb<'_>) -> bool {
    use StoreVerb::*;
    matches!(verb, Activate | Cancel | Append(_) | Settle(_) | Purge | Rotate | Close(_) | Reopen | Seal)
        || matches!(verb, NoteExported | DropExported)
}

impl StoreFaults for Faults {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        match verb {
            StoreVerb::Append(entries)
                if entries.iter().any(|entry| self.stuck.lock().contains(&entry.envelope_id)) =>
            {
                Err(StoreError::Unavailable("stuck".to_owned()))
            }
            _ => self.step(verb),
        }
    }

    async fn after(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        self.step(verb)
    }
}
