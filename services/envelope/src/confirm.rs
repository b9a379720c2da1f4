//! What the database says of a user's opening, where the memory cannot say it.

use hongbao_core::envelope::OpenDecision;
use hongbao_core::{Envelope, EnvelopeId, Journal, Opened, Timestamp, UserId};
use hongbao_database::{Durable, durably};
use hongbao_store::StoreError;

use crate::answer::{OpenAnswer, answer_to, exhausted, failed};
use crate::context::OpeningContext;

/// The row, the fold, and the user's own opening, none of which a crash takes back.
pub(crate) async fn load_for(
    context: &OpeningContext,
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
/// through another server, and its opener gets that answer for ever. No write
/// would notice that the memory is old, so the answer does not come from it.
/// Once it is refunded, the memory is loaded again and is whole.
pub async fn confirm_expired(
    context: &OpeningContext,
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
                // An unconfirmed opening may still arrive, until another
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
