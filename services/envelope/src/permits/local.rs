//! Permits counted in this process alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hongbao_core::EnvelopeId;
use parking_lot::Mutex;

use super::{Counter, Permits};

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

#[async_trait]
impl Permits for LocalPermits {
    async fn enter(&self, ids: &[EnvelopeId]) -> Vec<bool> {
        let cap = self.cap();
        let mut inside = self.inside.lock();
        let mut enter_one = |id: &EnvelopeId| {
            let count = inside.get(id).copied().unwrap_or(0);
            if count < cap {
                inside.insert(*id, count + 1);
            }
            count < cap
        };
        ids.iter().map(&mut enter_one).collect()
    }

    fn leave(&self, ids: &[EnvelopeId]) {
        let mut inside = self.inside.lock();
        for id in ids {
            match inside.get_mut(id) {
                Some(count) if *count > 1 => *count -= 1,
                // An envelope without a transaction costs nothing.
                _ => drop(inside.remove(id)),
            }
        }
    }

    fn cap(&self) -> u32 {
        self.cap.load(Ordering::Relaxed)
    }

    fn set_cap(&self, cap: u32) {
        self.cap.store(cap, Ordering::Relaxed);
    }

    fn counter(&self) -> Counter {
        Counter::Local
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permits::PermitGuard;
    use hongbao_core::Timestamp;

    #[tokio::test]
    async fn no_more_than_the_cap_are_inside_and_leaving_makes_room() {
        let id = EnvelopeId::mint(Timestamp::from_millis(1), [7; 10]);
        let permits = LocalPermits::new(2);
        let (first, _) = PermitGuard::enter(&permits, &[id]).await;
        let (second, entered) = PermitGuard::enter(&permits, &[id]).await;
        assert_eq!(entered, [true]);
        assert_eq!(PermitGuard::enter(&permits, &[id]).await.1, [false]);
        drop(first);
        assert_eq!(PermitGuard::enter(&permits, &[id]).await.1, [true]);

        permits.set_cap(0);
        drop(second);
        assert_eq!(PermitGuard::enter(&permits, &[id]).await.1, [false]);
        assert!(permits.inside.lock().is_empty(), "an envelope without a transaction costs nothing");
    }
}
