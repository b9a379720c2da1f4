//! The refund before the answer "expired".
//!
//! The memory of a server cannot give that answer: the envelope may have been opened
//! through another server, and its opener gets its own answer for ever. What the database
//! shows is not enough either: an opening that was decided before the expiry may still be
//! committed, also one of the same user that was answered as unknown. So the opening that
//! finds an envelope expired appends the refund, unless a worker has done so, under the
//! same keys. It takes the place in the journal that such an opening needs; and if the
//! memory was old, the place is taken, and the opening is decided again.

use hongbao_core::{Entry, Envelope, Journal, State, Timestamp};
use hongbao_store::is_far_off;

use crate::answer::OpenAnswer;
use crate::context::OpeningContext;

/// Whether `envelope` may have to be refunded at `now`.
pub(crate) fn may_be_due(envelope: &Envelope, now: Timestamp) -> bool {
    envelope.expires_at.is_none_or(|expires_at| expires_at <= now)
}

/// The moment by which refunds are decided for openings of `now`: not early by the
/// database's clock, as exactly as that is known.
///
/// # Errors
/// The answer where our clock is so wrong that nothing may be refunded by it.
pub(crate) async fn refund_time(context: &OpeningContext, now: Timestamp) -> Result<Timestamp, OpenAnswer> {
    let ahead_ms = context.database_clock.ahead_ms().await;
    if is_far_off(ahead_ms) {
        let reason = format!("our clock is {ahead_ms} ms ahead of the database's: nothing is refunded by it");
        return Err(OpenAnswer::Unavailable(reason));
    }
    // It may have been set right since `now`.
    Ok(now.min(context.clock.now()).plus_millis(-ahead_ms.max(0)))
}

/// The refund of an envelope that had expired at `at`, a [`refund_time`].
///
/// # Errors
/// The answer where there is none: it had not expired then, or its rows are damaged.
pub(crate) fn refund(envelope: &Envelope, journal: &Journal, at: Timestamp) -> Result<Entry, OpenAnswer> {
    match envelope.decide_refund(journal, at) {
        Some(refund) => Ok(refund),
        None if envelope.state(journal, at) == State::Active => Err(OpenAnswer::Busy),
        None => {
            let reason = format!("envelope {}: what remains does not fit its shares", envelope.id);
            Err(OpenAnswer::Unavailable(reason))
        }
    }
}
