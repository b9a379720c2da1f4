//! An opening without a lane: the degraded mode.
//!
//! Straight to the database, under the same permits: read, decide, insert. The
//! journal's keys decide a race, and the loser reads again. What is read is made
//! durable before anybody is told of it, and before an entry follows it.

use hongbao_core::envelope::OpenDecision;
use hongbao_core::limits::FENCE_RETRIES_MAX;
use hongbao_core::{Envelope, EnvelopeId, Journal, Opened, Timestamp, UserId};
use hongbao_database::{Durable, durably};
use hongbao_store::{Append, StoreError};

use crate::lane::job::{LaneContext, OpenAnswer, answer_to};
use crate::permits::PermitGuard;

/// Opens an envelope for `user`; gives up at `deadline`.
pub async fn open(context: &LaneContext, id: EnvelopeId, user: &UserId, deadline: Timestamp) -> OpenAnswer {
    let (_guard, entered) = PermitGuard::enter(&*context.permits, &[id]).await;
    let answer = match entered[..] {
        [true] => read_decide_insert(context, id, user, deadline).await,
        _ => OpenAnswer::Busy,
    };
    context.metrics.count(&answer);
    answer
}

async fn read_decide_insert(context: &LaneContext, id: EnvelopeId, user: &UserId, deadline: Timestamp) -> OpenAnswer {
    let mut in_doubt = false;
    for _ in 0..FENCE_RETRIES_MAX {
        let now = context.clock.now();
        if deadline <= now {
            break;
        }
        let (envelope, fold, before) = match load_for(context, id, user).await {
            Ok(Some(found)) => found.into_inner(),
            Ok(None) => return OpenAnswer::NotFound,
            Err(error) => return failed(&error, in_doubt),
        };
        let decision = envelope.decide_open(&fold, before.as_ref(), user, now);
        let entry = match &decision {
            OpenDecision::Append(entry) => entry,
            // An opening that nobody confirmed may still arrive, until another entry has taken its place.
            OpenDecision::Expired if in_doubt && !fold.has_ended() => return exhausted(in_doubt),
            _ => return answer_to(decision),
        };
        match context.store.append(std::slice::from_ref(entry)).await {
            Ok(Append::Done) => return answer_to(decision),
            Ok(Append::Fenced) => {}
            Err(StoreError::Unknown(_)) => in_doubt = true,
            Err(error) => return failed(&error, in_doubt),
        }
    }
    exhausted(in_doubt)
}

/// The row, the fold, and the user's own opening, none of which a crash takes back.
async fn load_for(
    context: &LaneContext,
    id: EnvelopeId,
    user: &UserId,
) -> Result<Option<Durable<(Envelope, Journal, Option<Opened>)>>, StoreError> {
    durably(&*context.store, || context.store.load_for(id, user)).await
}

/// What the database says now to `user`, who is not among the openers that are
/// remembered of an expired envelope. Writes nothing. `in_doubt` says that an
/// opening of the user may have been committed.
///
/// An expired envelope whose rest has not been refunded may have been opened
/// through another server, and who opened it is told so for ever. No write
/// would notice that the memory is old, so the answer does not come from it.
/// Once it is refunded, the memory is loaded again and is whole.
pub async fn confirm_expired(
    context: &LaneContext,
    id: EnvelopeId,
    user: &UserId,
    now: Timestamp,
    in_doubt: bool,
) -> OpenAnswer {
    match load_for(context, id, user).await {
        Ok(Some(found)) => {
            let (envelope, fold, before) = found.into_inner();
            if fold.has_ended() {
                context.live.forget(id);
            }
            match envelope.decide_open(&fold, before.as_ref(), user, now) {
                // An opening that nobody confirmed may still arrive, until another
                // entry has taken its place.
                OpenDecision::Append(_) | OpenDecision::Expired if in_doubt && !fold.has_ended() => exhausted(in_doubt),
                // By the clock of this decision it had expired: it stays so.
                OpenDecision::Append(_) => OpenAnswer::Expired,
                decided => answer_to(decided),
            }
        }
        Ok(None) => OpenAnswer::NotFound,
        Err(error) => failed(&error, in_doubt),
    }
}

/// The answer to an opening that nobody tries any longer.
pub(crate) fn exhausted(in_doubt: bool) -> OpenAnswer {
    if in_doubt { OpenAnswer::Unknown("no commit was confirmed in time".to_owned()) } else { OpenAnswer::Busy }
}

/// The answer to an opening that could not be read or written.
pub(crate) fn failed(error: &StoreError, in_doubt: bool) -> OpenAnswer {
    if matches!(error, StoreError::Locked(_)) {
        return exhausted(in_doubt);
    }
    let cause = error.to_string();
    // A reading that was not confirmed to be durable may have shown the user's own opening.
    if in_doubt || matches!(error, StoreError::Unknown(_)) {
        OpenAnswer::Unknown(cause)
    } else {
        OpenAnswer::Unavailable(cause)
    }
}
