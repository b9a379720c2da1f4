//! An opening without a lane: the degraded mode.
//!
//! Straight to the database, under the same permits: read, decide, insert. The
//! journal's keys decide a race, and the loser reads again. What is read is made
//! durable before it is answered, and before an entry follows it.

use hongbao_core::envelope::OpenDecision;
use hongbao_core::limits::FENCE_RETRIES_MAX;
use hongbao_core::{EnvelopeId, Timestamp, UserId};
use hongbao_database::durably;
use hongbao_store::{Append, StoreError};

use crate::answer::{OpenAnswer, answer_to, exhausted, failed};
use crate::confirm::confirm_expired;
use crate::context::OpeningContext;
use crate::permits::PermitGuard;

/// It had expired, and its journal has not ended.
struct Unended {
    now: Timestamp,
    in_doubt: bool,
}

/// Opens an envelope for `user`; gives up at `deadline`.
pub async fn open(context: &OpeningContext, id: EnvelopeId, user: &UserId, deadline: Timestamp) -> OpenAnswer {
    let opened = {
        let (_guard, entered) = PermitGuard::enter(&*context.permits, &[id]).await;
        match entered[..] {
            [true] => read_decide_insert(context, id, user, deadline).await,
            _ => Ok(OpenAnswer::Busy),
        }
    };
    let answer = match opened {
        Ok(answer) => answer,
        Err(Unended { now, in_doubt }) => confirm_expired(context, id, user, now, in_doubt).await,
    };
    context.metrics.count(&answer);
    answer
}

async fn read_decide_insert(
    context: &OpeningContext,
    id: EnvelopeId,
    user: &UserId,
    deadline: Timestamp,
) -> Result<OpenAnswer, Unended> {
    let mut in_doubt = false;
    for _ in 0..FENCE_RETRIES_MAX {
        let now = context.clock.now();
        if deadline <= now {
            break;
        }
        let found = durably::<_, StoreError, _>(&*context.store, || context.store.load_for(id, user)).await;
        let (envelope, fold, before) = match found {
            Ok(Some(found)) => found.into_inner(),
            Ok(None) => return Ok(OpenAnswer::NotFound),
            Err(error) => return Ok(failed(&error, in_doubt)),
        };
        let decision = envelope.decide_open(&fold, before.as_ref(), user, now);
        let entry = match &decision {
            OpenDecision::Append(entry) => entry,
            OpenDecision::Expired if !fold.has_ended() => return Err(Unended { now, in_doubt }),
            _ => return Ok(answer_to(decision)),
        };
        match context.store.append(std::slice::from_ref(entry)).await {
            Ok(Append::Done) => return Ok(answer_to(decision)),
            Ok(Append::Fenced) => {}
            Err(StoreError::Unknown(_)) => in_doubt = true,
            Err(error) => return Ok(failed(&error, in_doubt)),
        }
    }
    Ok(exhausted(in_doubt))
}
