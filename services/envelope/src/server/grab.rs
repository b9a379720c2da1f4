//! Grab: whether there is something to open. Writes nothing, but for the refund of
//! an expired envelope that no worker has refunded yet.

use std::sync::Arc;

use hongbao_core::wire::{GrabAnswer, Outcome, Ready, ReadyTag};
use hongbao_core::{Envelope, EnvelopeId, Stage, State, Timestamp, UserId};
use hongbao_database::durably;
use hongbao_store::StoreError;

use super::{Caller, Server, check_invited, refusal_of};
use crate::live::LiveEnvelope;
use crate::refusal::Refusal;
use crate::shared::snapshot::SafeGrab;

impl Server {
    /// Asks whether there is something to open.
    pub async fn grab(&self, id: EnvelopeId, caller: &Caller<'_>) -> Result<GrabAnswer, Refusal> {
        self.check_ours(id)?;
        let now = self.parts.clock.now();
        if let Some(answer) = self.grab_shared(id, caller, now).await {
            return answer;
        }
        let (state, before) = if self.parts.options.lanes {
            let live = self.live_for_grab(id, caller.user, now).await.map_err(Refusal::of_reading)?;
            let journal = live.journal();
            let before = journal.opened_by(caller.user);
            check_invited(&live.envelope, before.as_ref(), caller)?;
            (live.envelope.state(&journal.fold, now), before)
        } else {
            let store = &*self.parts.store;
            let found = durably::<_, StoreError, _>(store, || store.load_for(id, caller.user)).await;
            let found = found.map_err(|error| Refusal::of_reading(error.into()))?.ok_or(Refusal::NotFound)?;
            let (envelope, fold, before) = found.into_inner();
            check_paid(&envelope)?;
            check_invited(&envelope, before.as_ref(), caller)?;
            (envelope.state(&fold, now), before)
        };
        if let Some(opened) = before {
            return Ok(GrabAnswer::Outcome(Outcome::opened(&opened, true)));
        }
        Ok(match state {
            State::Active => {
                self.check_not_frozen(caller.user)?;
                if self.limits_receiving(caller)
                    && let Some(refusal) = self.refusal_of_receiving(caller, now).await?
                {
                    return Err(refusal);
                }
                GrabAnswer::Ready(self.ready(id, caller.user, now))
            }
            State::Finished => GrabAnswer::Outcome(Outcome::Empty),
            State::Refunded => GrabAnswer::Outcome(Outcome::Expired),
            State::Expired => {
                let answer = self.decide(id, caller.user, false, None, now).await;
                GrabAnswer::Outcome(answer.map_err(Refusal::of_reading)?.outcome)
            }
            State::Created | State::Cancelled => return Err(Refusal::NotFound),
        })
    }

    /// The answer to a grab, if what another server has shown of the envelope is
    /// enough for it; `ready` never is. Openings never look there.
    async fn grab_shared(
        &self,
        id: EnvelopeId,
        caller: &Caller<'_>,
        now: Timestamp,
    ) -> Option<Result<GrabAnswer, Refusal>> {
        let answer = match self.snapshot(id, now).await?.grab(caller.user, caller.groups, now)? {
            SafeGrab::Opened(opened) => GrabAnswer::Outcome(Outcome::opened(&opened, true)),
            SafeGrab::Empty => GrabAnswer::Outcome(Outcome::Empty),
            SafeGrab::Expired => GrabAnswer::Outcome(Outcome::Expired),
            SafeGrab::NotInvited => return Some(Err(Refusal::NotInvited)),
        };
        Some(Ok(answer))
    }

    /// A copy that tells this user whether it has opened the envelope, also through
    /// another server while this one had no request for it.
    async fn live_for_grab(&self, id: EnvelopeId, user: &UserId, now: Timestamp) -> Result<Arc<LiveEnvelope>, Refusal> {
        let store = &*self.parts.store;
        let live = self.live(id, now).await?;
        let is_told = {
            let journal = live.journal();
            journal.fold.has_ended() || journal.opened_by(user).is_some()
        };
        if is_told
            || !self.presence.may_have_missed(live.complete_at())
            || self.live.catch_up(&live, store, self.clock(), now).await.map_err(refusal_of)?
        {
            return Ok(live);
        }
        self.live.forget_copy(&live);
        self.live(id, now).await
    }

    fn ready(&self, id: EnvelopeId, user: &UserId, now: Timestamp) -> Ready {
        let ticket_expires_at = now.plus_millis(self.parts.limits.ticket_life_ms);
        let ticket = self.parts.tickets.issue(id, user, ticket_expires_at);
        Ready { outcome: ReadyTag::Ready, ticket, ticket_expires_at }
    }
}

fn check_paid(envelope: &Envelope) -> Result<(), Refusal> {
    match envelope.stage {
        Stage::Active | Stage::Settled => Ok(()),
        Stage::Created | Stage::Cancelled => Err(Refusal::NotFound),
    }
}
