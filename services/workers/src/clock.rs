//! Whether this machine's clock can be trusted.
//!
//! Jobs decide by the clock: an envelope that is refunded an hour early is a lie
//! to those who could still have opened it. So the clock is compared with the
//! database's, and while the two are far apart no job runs.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::Clock;
use hongbao_core::limits::CLOCK_SKEW_MS_MAX;
use hongbao_store::{Store, clock_ahead_ms};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::job::Ports;
use crate::metrics::WorkerMetrics;

/// How long it counts that the clock was right.
const RIGHT_FOR: Duration = Duration::from_secs(5);
/// How long it counts that it was not.
const WRONG_FOR: Duration = Duration::from_secs(1);

/// Compares the clocks. The jobs of a process share it.
pub struct ClockGuard {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: WorkerMetrics,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    is_far_off: bool,
}

impl ClockGuard {
    /// A guard over the clock of these ports.
    pub fn new(ports: &Ports, metrics: WorkerMetrics) -> ClockGuard {
        ClockGuard { store: ports.store.clone(), clock: ports.clock.clone(), metrics, seen: Mutex::default() }
    }

    /// Whether the clock is too far off for any job to run. A database that
    /// does not answer changes nothing: the job itself will find that out. One
    /// without a clock of its own has ours.
    pub async fn is_far_off(&self) -> bool {
        let mut seen = self.seen.lock().await;
        let good_for = if seen.is_far_off { WRONG_FOR } else { RIGHT_FOR };
        if seen.at.is_some_and(|at| at.elapsed() < good_for) {
            return seen.is_far_off;
        }
        let Ok(ahead_ms) = clock_ahead_ms(&*self.store, &*self.clock).await else { return seen.is_far_off };
        let is_far_off = ahead_ms.abs() > CLOCK_SKEW_MS_MAX;
        match (seen.is_far_off, is_far_off) {
            (false, true) => {
                tracing::error!(ahead_ms, "the clock is far from the database's: no job runs until it is right");
            }
            (true, false) => tracing::info!(ahead_ms, "the clock is right again"),
            _ => {}
        }
        self.metrics.clock_ahead(ahead_ms);
        *seen = Seen { at: Some(Instant::now()), is_far_off };
        is_far_off
    }
}
