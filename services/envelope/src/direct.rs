//! An opening without a lane: the degraded mode.
//!
//! Straight to the database, under the same permits: read, decide, insert. The
//! journal's keys decide a race, and the loser reads again. What is read is made
//! durable before it is answered, and before an entry follows it.

use hongbao_core::envelope::OpenDecision;
use hongbao_core::limits::FENCE_RETRIES_MAX;
use hongbao_core::{EnvelopeId, Timestamp, UserId};
use hongbao_store::{Append, StoreError};

use crate::answer::{OpenAnswer, answer_to, exhausted, failed};
use crate::confirm::{load_for, refund_and_answer};
use crate::context::OpeningContext;
use crate::permits::PermitGuard;

/// Opens an envelope for `user`; gives up at `deadline`.
pub async fn open(context: &OpeningContext, id: EnvelopeId, user: &UserId, deadline: Timestamp) -> OpenAnswer {
    let (_guard, entered) = PermitGuard::enter(&*context.permits, &[id]).await;
    let answer = match entered[..] {
        [true] => read_decide_insert(context, id, user, deadline).await,
        _ => OpenAnswer::Busy,
    };
    context.metrics.count(&answer);
    answer
}

async fn read_decide_insert(
    context: &OpeningContext,
    id: EnvelopeId,
    user: &UserId,
    deadline: Timestamp,
) -> OpenAnswer {
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
            OpenDecision::Expired if !fold.has_ended() => {
                return refund_and_answer(context, id, user, now, in_doubt).await;
            }
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
