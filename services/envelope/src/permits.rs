//! Entry permits: how many transactions of one envelope may be in the database.
//!
//! A permit only throttles. With lanes on, all openings of a batch share one;
//! with lanes off every opening needs its own, and this is what keeps a hot
//! row from drowning the database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use hongbao_core::EnvelopeId;
use parking_lot::Mutex;

/// Counts entries per envelope against a cap that can change while running.
pub trait Permits: Send + Sync + 'static {
    /// Takes a permit; false when the cap is reached.
    fn enter(&self, id: EnvelopeId) -> bool;

    /// Gives back a permit that was taken.
    fn leave(&self, id: EnvelopeId);

    /// Changes the cap; those inside stay inside.
    fn set_cap(&self, cap: u32);
}

/// Permits counted in this process alone.
pub struct LocalPermits {
    cap: AtomicU32,
    inside: Mutex<HashMap<EnvelopeId, u32>>,
}

impl LocalPermits {
    /// At most `cap` transactions per envelope.
    pub fn new(cap: u32) -> LocalPermits {
        LocalPermits { cap: AtomicU32::new(cap), inside: Mutex::default() }
    }
}

impl Permits for LocalPermits {
    fn enter(&self, id: EnvelopeId) -> bool {
        let cap = self.cap.load(Ordering::Relaxed);
        let mut inside = self.inside.lock();
        let count = inside.entry(id).or_insert(0);
        if *count >= cap {
            // The entry stays only if somebody is inside.
            if *count == 0 {
                inside.remove(&id);
            }
            return false;
        }
        *count += 1;
        true
    }

    fn leave(&self, id: EnvelopeId) {
        let mut inside = self.inside.lock();
        if let Some(count) = inside.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&id);
            }
        }
    }

    fn set_cap(&self, cap: u32) {
        self.cap.store(cap, Ordering::Relaxed);
    }
}

/// A permit that is given back when it is dropped.
pub struct Inside<'a> {
    permits: &'a dyn Permits,
    id: EnvelopeId,
}

impl<'a> Inside<'a> {
    /// Takes a permit; `None` when the cap is reached.
    pub fn enter(permits: &'a dyn Permits, id: EnvelopeId) -> Option<Inside<'a>> {
        permits.enter(id).then_some(Inside { permits, id })
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.permits.leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hongbao_core::Timestamp;

    #[test]
    fn no_more_than_the_cap_are_inside_and_leaving_makes_room() {
        let id = EnvelopeId::mint(Timestamp::from_millis(1), [7; 10]);
        let permits = LocalPermits::new(2);
        let first = Inside::enter(&permits, id);
        let second = Inside::enter(&permits, id);
        assert!(first.is_some() && second.is_some());
        assert!(Inside::enter(&permits, id).is_none());
        drop(first);
        assert!(Inside::enter(&permits, id).is_some());

        permits.set_cap(0);
        drop(second);
        assert!(Inside::enter(&permits, id).is_none());
        assert!(permits.inside.lock().is_empty(), "an envelope that nobody is in costs nothing");
    }
}
