//! Whether this machine's clock can be trusted.
//!
//! Jobs decide by the clock: an envelope that is refunded an hour early is a lie
//! to those who could still have opened it. So the clock is compared with the
//! database's, and while the two are far apart no job runs.

use std::sync::atomic::{AtomicBool, Ordering};

use hongbao_store::{DatabaseClock, is_far_off};

use crate::job::Ports;
use crate::metrics::WorkerMetrics;

/// Compares the clocks. The jobs of a process share it.
pub struct ClockGuard {
    database: DatabaseClock,
    metrics: WorkerMetrics,
    was_far_off: AtomicBool,
}

impl ClockGuard {
    /// A guard over the clock of these ports.
    pub fn new(ports: &Ports, metrics: WorkerMetrics) -> ClockGuard {
        let database = DatabaseClock::new(ports.store.clone(), ports.clock.clone());
        ClockGuard { database, metrics, was_far_off: AtomicBool::new(false) }
    }

    /// Whether the clock is too far off for any job to run.
    pub async fn is_far_off(&self) -> bool {
        let ahead_ms = self.database.ahead_ms().await;
        let is_far_off = is_far_off(ahead_ms);
        match (self.was_far_off.swap(is_far_off, Ordering::Relaxed), is_far_off) {
            (false, true) => {
                tracing::error!(ahead_ms, "the clock is far from the database's: no job runs until it is right");
            }
            (true, false) => tracing::info!(ahead_ms, "the clock is right again"),
            _ => {}
        }
        self.metrics.clock_ahead(ahead_ms);
        is_far_off
    }
}
