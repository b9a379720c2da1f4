//! "Expired" as an answer: the refund is written before it.
//!
//! The memory of a server cannot give it: the envelope may have been opened through
//! another server, and its opener gets that answer for ever. What the database shows
//! is not enough either: an opening that was decided before the expiry may still be
//! committed, also one of this user that was answered as unknown. So the refund is
//! written first, unless a worker has done so. It takes the place in the journal that
//! such an opening needs, and "expired" stays true.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::envelope::OpenDecision;
use hongbao_core::limits::{CATCH_UP_WAIT_MS_MAX, CLOCK_SKEW_MS_MAX, FENCE_RETRIES_MAX};
use hongbao_core::{Entry, EnvelopeId, State, Timestamp, UserId};
use hongbao_store::{Append, StoreError, clock_ahead_ms};

use crate::answer::{OpenAnswer, answer_to, exhausted, failed};
use crate::context::OpeningContext;
use crate::live::{LiveEnvelope, NotLive};
use crate::permits::PermitGuard;

/// What `user` is told of an envelope that had expired at `now`. `in_doubt` says that an
/// opening of the user may have been committed. Not to be cancelled: it may write.
pub async fn confirm_expired(
    context: &OpeningContext,
    id: EnvelopeId,
    user: &UserId,
    now: Timestamp,
    in_doubt: bool,
) -> OpenAnswer {
    for _ in 0..FENCE_RETRIES_MAX {
        let ended = match context.live.get_or_load(id, &*context.store, now).await {
            Ok(live) => end_expired(context, &live, now).await.map(|is_whole| (live, is_whole)),
            Err(not_live) => Err(not_live),
        };
        match ended {
            Ok((live, false)) => context.live.forget_copy(&live),
            Ok((live, true)) => {
                let journal = live.journal();
                return match live.envelope.decide_open(&journal.fold, journal.opened_by(user).as_ref(), user, now) {
                    // By what the database says it had not expired.
                    OpenDecision::Append(_) => exhausted(in_doubt),
                    decided => answer_to(decided),
                };
            }
            Err(NotLive::NotFound | NotLive::NotPaid(_)) => return OpenAnswer::NotFound,
            Err(NotLive::Busy) => return exhausted(in_doubt),
            Err(NotLive::Store(error)) => return failed(&error, in_doubt),
        }
    }
    exhausted(in_doubt)
}

/// Reads what is missing of the journal, and ends it with the refund if it is due. Callers
/// of the same time share that. False: what is remembered is not what the database says.
async fn end_expired(context: &OpeningContext, live: &Arc<LiveEnvelope>, now: Timestamp) -> Result<bool, NotLive> {
    let (store, clock) = (&*context.store, &*context.clock);
    let turn = tokio::time::timeout(Duration::from_millis(CATCH_UP_WAIT_MS_MAX), live.ending.lock()).await;
    let _turn = turn.map_err(|_| NotLive::Busy)?;
    if live.is_outdated(store) {
        return Ok(false);
    }
    if live.journal().fold.has_ended() {
        return Ok(true);
    }
    // As for the workers: a refund at the wrong time takes money from those who could still have opened.
    let ahead_ms = clock_ahead_ms(store, clock).await.map_err(NotLive::Store)?;
    if ahead_ms.abs() > CLOCK_SKEW_MS_MAX {
        let reason = format!("our clock is {ahead_ms} ms ahead of the database's: nothing is refunded by it");
        return Err(NotLive::Store(StoreError::Unavailable(reason)));
    }
    for _ in 0..FENCE_RETRIES_MAX {
        // Read since what was seen last, also where that was in this millisecond.
        let asked_at = live.complete_at().plus_millis(1);
        if !context.live.catch_up(live, store, clock, asked_at).await? {
            return Ok(false);
        }
        let journal = live.journal().fold;
        if live.envelope.state(&journal, now) != State::Expired {
            return Ok(true);
        }
        let Some(refund) = live.envelope.decide_refund(&journal, now) else {
            let reason = format!("{}: what remains does not fit its shares", live.envelope.id);
            return Err(NotLive::Store(StoreError::Damaged(reason)));
        };
        match append(context, live, &refund).await? {
            Append::Done => return Ok(true),
            // Another entry has the place, or may have.
            Append::Fenced => {}
        }
    }
    Err(NotLive::Busy)
}

/// Writes the refund, and remembers it; fenced, also where that is not known.
async fn append(context: &OpeningContext, live: &Arc<LiveEnvelope>, refund: &Entry) -> Result<Append, NotLive> {
    let (_guard, entered) = PermitGuard::enter(&*context.permits, &[live.envelope.id]).await;
    if entered != [true] {
        return Err(NotLive::Busy);
    }
    // Just before the write, as in a lane: the store fences only the first write over a new connection.
    if live.is_outdated(&*context.store) {
        return Ok(Append::Fenced);
    }
    match context.store.append(std::slice::from_ref(refund)).await {
        Ok(Append::Done) => {
            context.live.committed(live, std::iter::once(refund));
            Ok(Append::Done)
        }
        Ok(Append::Fenced) | Err(StoreError::Unknown(_)) => Ok(Append::Fenced),
        Err(error) => Err(NotLive::Store(error)),
    }
}
