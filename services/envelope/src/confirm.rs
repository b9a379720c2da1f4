//! What the database says of a user's opening, where the memory cannot say it,
//! and the refund that makes "expired" final.

use hongbao_core::envelope::OpenDecision;
use hongbao_core::limits::FENCE_RETRIES_MAX;
use hongbao_core::{Envelope, EnvelopeId, Journal, Opened, Timestamp, UserId};
use hongbao_database::{Durable, durably};
use hongbao_store::{Append, StoreError};

use crate::answer::{OpenAnswer, answer_to, exhausted, failed};
use crate::context::OpeningContext;
use crate::permits::PermitGuard;

/// The row, the fold, and the user's own opening, none of which a crash takes back.
pub(crate) async fn load_for(
    context: &OpeningContext,
    id: EnvelopeId,
    user: &UserId,
) -> Result<Option<Durable<(Envelope, Journal, Option<Opened>)>>, StoreError> {
    durably(&*context.store, || context.store.load_for(id, user)).await
}

/// What `user` is told of an expired envelope, who is not among its openers that are
/// remembered. `in_doubt` says that an opening of the user may have been committed.
pub async fn confirm_expired(
    context: &OpeningContext,
    id: EnvelopeId,
    user: &UserId,
    now: Timestamp,
    in_doubt: bool,
) -> OpenAnswer {
    let (_guard, entered) = PermitGuard::enter(&*context.permits, &[id]).await;
    match entered[..] {
        [true] => refund_and_answer(context, id, user, now, in_doubt).await,
        _ => exhausted(in_doubt),
    }
}

/// The same for a caller that holds a permit of the envelope.
///
/// The memory cannot tell: the envelope may have been opened through another
/// server, and its opener gets that answer for ever. What the database shows is
/// not enough either: an opening that was decided before the expiry may still be
/// committed, also one of this user that was answered as unknown. So the refund
/// is written first, unless a worker has done so. It takes the place in the
/// journal that such an opening needs, and "expired" stays true.
pub(crate) async fn refund_and_answer(
    context: &OpeningContext,
    id: EnvelopeId,
    user: &UserId,
    now: Timestamp,
    in_doubt: bool,
) -> OpenAnswer {
    for _ in 0..FENCE_RETRIES_MAX {
        let (envelope, journal, before) = match load_for(context, id, user).await {
            Ok(Some(found)) => found.into_inner(),
            Ok(None) => return OpenAnswer::NotFound,
            Err(error) => return failed(&error, in_doubt),
        };
        // Whatever comes next, the memory that led here is old.
        context.live.forget(id);
        match envelope.decide_open(&journal, before.as_ref(), user, now) {
            OpenDecision::Expired if !journal.has_ended() => {}
            // By its row it has not expired.
            OpenDecision::Append(_) => return exhausted(in_doubt),
            decided => return answer_to(decided),
        }
        let Some(refund) = envelope.decide_refund(&journal, now) else {
            // The rows are damaged: no refund and no opening can be decided from them.
            return if in_doubt { exhausted(in_doubt) } else { OpenAnswer::Expired };
        };
        match context.store.append(std::slice::from_ref(&refund)).await {
            Ok(Append::Done) => {
                context.live.forget(id);
                return OpenAnswer::Expired;
            }
            // Another entry has the place, or may have: the journal tells.
            Ok(Append::Fenced) | Err(StoreError::Unknown(_)) => {}
            Err(error) => return failed(&error, in_doubt),
        }
    }
    exhausted(in_doubt)
}
