//! Detail: the envelope and a page of its openings.

use std::sync::Arc;

use hongbao_core::wire::{Detail, EnvelopeView, OpenView};
use hongbao_core::{Envelope, EnvelopeId, Journal, Opened, State, Timestamp, UserId, limits};
use hongbao_database::durably;
use hongbao_store::StoreError;

use super::{Caller, Server, check_invited, refusal_of};
use crate::live::{LiveEnvelope, LiveJournal, NotLive};
use crate::refusal::Refusal;
use crate::shared::snapshot::Snapshot;

impl Server {
    /// The envelope and a page of its openings.
    pub async fn detail(
        &self,
        id: EnvelopeId,
        caller: &Caller<'_>,
        after_seq: u32,
        limit: u32,
    ) -> Result<Detail, Refusal> {
        self.check_ours(id)?;
        let now = self.parts.clock.now();
        if let Some(snapshot) = self.snapshot(id, now).await
            && let Snapshot::Ended { envelope, journal } = &*snapshot
        {
            return detail_of(envelope, journal, caller, after_seq, limit, now);
        }
        let live = match self.live_for_detail(id, now).await {
            Err(NotLive::NotPaid(envelope)) if envelope.sender == *caller.user => {
                let store = &*self.parts.store;
                let found = durably::<_, StoreError, _>(store, || store.load(id)).await;
                let found = found.map_err(|error| Refusal::of_reading(error.into()))?.ok_or(Refusal::NotFound)?;
                return Ok(unpaid_detail(&found.0, now));
            }
            found => found.map_err(|not_live| Refusal::of_reading(refusal_of(not_live)))?,
        };
        detail_of(&live.envelope, &live.journal(), caller, after_seq, limit, now)
    }

    /// A copy that is good enough to show. Openings of this server are in it at
    /// once; but the refund, and with lanes off the openings, are written past
    /// the memory, and another server may have owned the envelope for a while:
    /// to a copy that may lack something, that is added first. So every page of
    /// a detail is as fresh as the first one, and each costs what is new.
    async fn live_for_detail(&self, id: EnvelopeId, now: Timestamp) -> Result<Arc<LiveEnvelope>, NotLive> {
        let store = &self.parts.store;
        let live = self.live.get_or_load(id, store, now).await?;
        let age_ms = now.millis() - live.complete_at().millis();
        let state = live.envelope.state(&live.journal().fold, now);
        let may_be_old = match state {
            State::Finished | State::Refunded => false,
            State::Expired => true,
            _ => !self.parts.options.lanes || !(0..=limits::DETAIL_AGE_MS_MAX).contains(&age_ms),
        };
        if !may_be_old || self.live.catch_up(&live, &**store, self.clock(), now).await? {
            return Ok(live);
        }
        self.live.forget_copy(&live);
        self.live.get_or_load(id, store, now).await
    }
}

fn detail_of(
    envelope: &Envelope,
    journal: &LiveJournal,
    caller: &Caller<'_>,
    after_seq: u32,
    limit: u32,
    now: Timestamp,
) -> Result<Detail, Refusal> {
    let mine = journal.opened_by(caller.user);
    check_invited(envelope, mine.as_ref(), caller)?;
    let last = journal.open_count().min(after_seq.saturating_add(limit));
    let opens = (after_seq.saturating_add(1)..=last).filter_map(|seq| journal.open_at(seq));
    let closed = journal.fold.has_ended();
    let view = |(user, opened): (&UserId, Opened)| OpenView::new(user, &opened);
    Ok(Detail {
        envelope: EnvelopeView::new(envelope, &journal.fold, now),
        opens: opens.map(view).collect(),
        next_seq: (last < journal.open_count()).then_some(last),
        mine: mine.map(|opened| OpenView::new(caller.user, &opened)),
        luckiest: journal.luckiest().filter(|_| closed).map(view),
        draw_seed: closed.then(|| envelope.seed.reveal()),
    })
}

fn unpaid_detail(envelope: &Envelope, now: Timestamp) -> Detail {
    Detail {
        envelope: EnvelopeView::new(envelope, &Journal::new(envelope.total), now),
        opens: Vec::new(),
        next_seq: None,
        mine: None,
        luckiest: None,
        draw_seed: None,
    }
}
