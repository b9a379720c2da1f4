//! This machine's clock against the database's.

use hongbao_core::Clock;

use crate::{Store, StoreError};

/// Milliseconds that `clock` is ahead of the database's, below zero if it is behind. A
/// database without a clock of its own has ours.
///
/// # Errors
/// When the database does not answer.
pub async fn clock_ahead_ms(store: &dyn Store, clock: &dyn Clock) -> Result<i64, StoreError> {
    let before = clock.now();
    let theirs = store.ping().await?;
    let after = clock.now();
    // The answer is from some moment between; at most one of the two is above zero.
    Ok(theirs.map_or(0, |at| before.millis_since(at) - at.millis_since(after)))
}
