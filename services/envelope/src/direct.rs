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

use crate::answer::{OpenAnswer, answer_to, exhausted, failed, settled};
use crate::context::OpeningContext;
use crate::permits::PermitGuard;
use crate::refund::{refund, refund_time};

/// Opens an envelope for `user`; gives up at `deadline`. Unless it `opens`, it only asks
/// what there is to say of an envelope that has expired.
pub async fn open(
    context: &OpeningContext,
    id: EnvelopeId,
    user: &UserId,
    opens: bool,
    deadline: Timestamp,
) -> OpenAnswer {
    let (_guard, entered) = PermitGuard::enter(&*context.permits, &[id]).await;
    let answer = match entered[..] {
        [true] => read_decide_insert(context, id, user, opens, deadline).await,
        _ => OpenAnswer::Busy,
    };
    context.metrics.count(&answer);
    answer
}

async fn read_decide_insert(
    context: &OpeningContext,
    id: EnvelopeId,
    user: &UserId,
    opens: bool,
    deadline: Timestamp,
) -> OpenAnswer {
    let store = &*context.store;
    let database = store.table_of(id).database;
    let mut in_doubt = false;
    for _ in 0..FENCE_RETRIES_MAX {
        let now = context.clock.now();
        if deadline <= now {
            break;
        }
        let epoch = store.epoch(database);
        let (envelope, fold, before) = match durably::<_, StoreError, _>(store, || store.load_for(id, user)).await {
            Ok(Some(found)) => found.into_inner(),
            Ok(None) => return OpenAnswer::NotFound,
            Err(error) => return failed(&error, in_doubt),
        };
        let decision = envelope.decide_open(&fold, before.as_ref(), user, now);
        let entry = match &decision {
            OpenDecision::Append(_) if !opens => return exhausted(in_doubt),
            OpenDecision::Append(entry) => entry.clone(),
            OpenDecision::Expired if !fold.has_ended() => {
                match refund_time(context, now).await.and_then(|at| refund(&envelope, &fold, at)) {
                    Ok(refund) => refund,
                    Err(answer) => return settled(answer, in_doubt),
                }
            }
            _ => return answer_to(decision),
        };
        // As in a lane, just before the write: what was read may be of another node.
        if store.epoch(database) != epoch {
            continue;
        }
        match store.append(&[entry]).await {
            Ok(Append::Done) => return answer_to(decision),
            Ok(Append::Fenced) => {}
            Err(StoreError::Unknown(_)) => in_doubt = true,
            Err(error) => return failed(&error, in_doubt),
        }
    }
    exhausted(in_doubt)
}
