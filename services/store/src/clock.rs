//! This machine's clock against the database's.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::Clock;
use hongbao_core::limits::CLOCK_SKEW_MS_MAX;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::{Store, StoreError};

/// How long it counts that the clock was right.
const RIGHT_FOR: Duration = Duration::from_secs(5);
/// How long it counts that it was not.
const WRONG_FOR: Duration = Duration::from_secs(1);

/// Milliseconds that `clock` is ahead of the database's at least, below zero if it is behind; the time that the
/// database took to answer is no difference. A database without a clock of its own has ours.
///
/// # Errors
/// When the database does not answer.
pub async fn clock_ahead_ms(store: &dyn Store, clock: &dyn Clock) -> Result<i64, StoreError> {
    let before = clock.now();
    let Some(theirs) = store.clock().await? else { return Ok(0) };
    let after = clock.now();
    // It is between the two of some moment between ours; at most one of the differences is above zero.
    Ok(before.millis_since(*theirs.end()) - theirs.start().millis_since(after))
}

/// Whether a clock is too far from the database's for a refund: one that is written an hour
/// early takes money from those who could still have opened.
pub fn is_far_off(ahead_ms: i64) -> bool {
    ahead_ms.abs() > CLOCK_SKEW_MS_MAX
}

/// Compares the clocks, and remembers the comparison for some seconds.
pub struct DatabaseClock {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    seen: Mutex<Option<(Instant, i64)>>,
}

impl DatabaseClock {
    /// The clock of this store's database against `clock`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> DatabaseClock {
        DatabaseClock { store, clock, seen: Mutex::default() }
    }

    /// [`clock_ahead_ms`], a few seconds old at most. A database that does not answer
    /// changes nothing: what is done next finds that out.
    pub async fn ahead_ms(&self) -> i64 {
        let mut seen = self.seen.lock().await;
        let before = seen.map_or(0, |(_, ahead_ms)| ahead_ms);
        let good_for = if is_far_off(before) { WRONG_FOR } else { RIGHT_FOR };
        if seen.is_some_and(|(at, _)| at.elapsed() < good_for) {
            return before;
        }
        let Ok(ahead_ms) = clock_ahead_ms(&*self.store, &*self.clock).await else { return before };
        *seen = Some((Instant::now(), ahead_ms));
        ahead_ms
    }
}
