//! Create: an envelope under an id that was minted at the edge, or under the one that the request's key stands for.
//!
//! A request without a key is one transaction of the store. Under a key, or where the envelopes that wait for payment
//! are limited, in this order, each step of which may be the last one of a process that dies:
//!
//! 1. The wallet commits the key with the id that was minted and counts the envelope, or tells the id that the key stands
//!    for, in the sender's shard. An envelope that is then not made is counted until it could have been paid.
//! 2. If that one is another SET's, the gateway is sent to its owner, who begins with step 1.
//! 3. The envelope is made under this id, unless it is there: two that come this far at the same time make one.

use hongbao_core::limits::NEW_ID_AGE_DAYS_MAX;
use hongbao_core::request::{CreateEnvelope, CreationContext};
use hongbao_core::wire::EnvelopeView;
use hongbao_core::{Envelope, EnvelopeId, Journal, KeyedCall, KeyedRequest, RequestKey, Seed, Timestamp, UserLimit};
use hongbao_database::durably;
use hongbao_store::StoreError;
use hongbao_wallet::{NewEnvelope, Reserved, UnpaidQuota};

use super::{Caller, DAY_MS, Server, spawn_uncancellable};
use crate::refusal::Refusal;

impl Server {
    /// Makes an envelope under an id that was minted at the edge; a repeat under the same key gets the one of the
    /// first time, as it is now.
    pub async fn create(
        &self,
        id: EnvelopeId,
        request: CreateEnvelope,
        key: Option<RequestKey>,
        caller: &Caller<'_>,
        seed: Seed,
    ) -> Result<EnvelopeView, Refusal> {
        let now = self.parts.clock.now();
        let keyed = key.map(|key| KeyedRequest::new(KeyedCall::Create, key, &request));
        let birth = CreationContext { id, sender: caller.user.clone(), seed, now };
        self.check_not_frozen(caller.user)?;
        self.check_new(id, now)?;
        let envelope = request.into_envelope(birth, &self.parts.limits)?;
        if self.limits_of(caller).envelope_fen.is_some_and(|most| envelope.total > most) {
            return Err(self.exceeded(UserLimit::EnvelopeFen, None));
        }
        let quota = self.quota_of_unpaid(caller, now);
        match (keyed, quota) {
            (None, None) => self.make(envelope, now).await.map_err(Refusal::of_making_without_a_key),
            (None, quota) => {
                let made = self.make_reserved(envelope, None, quota, now).await;
                made.map_err(Refusal::of_making_without_a_key)
            }
            (keyed, quota) => self.make_reserved(envelope, keyed, quota, now).await,
        }
    }

    /// Refuses an id under which no envelope is made here, or not yet, or no more.
    fn check_new(&self, id: EnvelopeId, now: Timestamp) -> Result<(), Refusal> {
        let ahead_ms = id.minted_at().millis().saturating_sub(now.millis());
        let checked = match ahead_ms < -NEW_ID_AGE_DAYS_MAX * DAY_MS {
            true => Err(Refusal::ClocksApart(ahead_ms)),
            false => self.check_ours(id),
        };
        match checked {
            // Its sender cannot help it: some server's clock is wrong.
            Err(Refusal::NotFound | Refusal::ClocksApart(_)) => {
                tracing::warn!(envelope_id = %id, ahead_ms, "a new id is not of our time: is the gateway's clock right?");
                Err(Refusal::ClocksApart(ahead_ms))
            }
            checked => checked,
        }
    }

    async fn make(&self, envelope: Envelope, now: Timestamp) -> Result<EnvelopeView, Refusal> {
        match self.store_new(&envelope, now).await? {
            Some(view) => Ok(view),
            None => self.made_before(&envelope).await,
        }
    }

    /// `None`: there is an envelope with this id.
    async fn store_new(&self, envelope: &Envelope, now: Timestamp) -> Result<Option<EnvelopeView>, Refusal> {
        let view = EnvelopeView::new(envelope, &Journal::new(envelope.total), now);
        let (store, made) = (self.parts.store.clone(), envelope.clone());
        match spawn_uncancellable(async move { store.create(&[made]).await }).await? {
            Err(StoreError::Exists) => return Ok(None),
            made => made?,
        }
        tracing::debug!(envelope_id = %envelope.id, user_id = %envelope.sender, "created");
        Ok(Some(view))
    }

    /// The answer to who makes an envelope under an id that exists: the envelope, if it is the very one that is
    /// asked for, made by a request whose answer was lost. Its seed is that of the first request.
    async fn made_before(&self, asked: &Envelope) -> Result<EnvelopeView, Refusal> {
        let (found, journal) = self.stored(asked.id).await?.ok_or_else(not_confirmed)?;
        if !found.has_the_terms_of(asked) {
            return Err(Refusal::IdTaken);
        }
        Ok(EnvelopeView::new(&found, &journal, self.parts.clock.now()))
    }

    async fn make_reserved(
        &self,
        envelope: Envelope,
        request: Option<KeyedRequest>,
        quota: Option<UnpaidQuota>,
        now: Timestamp,
    ) -> Result<EnvelopeView, Refusal> {
        let (wallet, user) = (self.parts.wallet.clone(), envelope.sender.clone());
        let has_key = request.is_some();
        let asked = NewEnvelope { user, id: envelope.id, request, quota, now };
        let reserved = spawn_uncancellable(async move { wallet.reserve(&asked).await }).await??;
        if has_key {
            self.keyed.count(reserved);
        }
        let id = match reserved {
            Reserved::New => envelope.id,
            Reserved::Repeated(first) => first,
            Reserved::KeyConflict => return Err(Refusal::KeyConflict),
            Reserved::TooManyUnpaid(resets_at) => return Err(self.exceeded(UserLimit::UnpaidEnvelopes, resets_at)),
        };
        if !has_key {
            return self.make(envelope, now).await;
        }
        if reserved != Reserved::New {
            match self.check_ours(id) {
                Err(Refusal::Misdirected) => return Err(Refusal::HeldElsewhere(id)),
                checked => checked?,
            }
            if let Some((found, journal)) = self.stored(id).await? {
                return Ok(EnvelopeView::new(&found, &journal, self.parts.clock.now()));
            }
            // It was never made, or was not paid and is removed: no envelope is made under such an id any more.
            if id.minted_at() < now.plus_millis(-NEW_ID_AGE_DAYS_MAX * DAY_MS) {
                return Err(Refusal::Cancelled);
            }
        }
        // Whoever comes first makes it. The limits may have been changed since: what is there stands.
        let envelope = Envelope { id, ..envelope };
        if let Some(view) = self.store_new(&envelope, now).await? {
            return Ok(view);
        }
        let (found, journal) = self.stored(id).await?.ok_or_else(not_confirmed)?;
        Ok(EnvelopeView::new(&found, &journal, self.parts.clock.now()))
    }

    /// The envelope with this id, if there is one.
    async fn stored(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, Refusal> {
        let store = &*self.parts.store;
        let found = durably::<_, StoreError, _>(store, || store.load(id)).await?;
        Ok(found.map(|found| found.into_inner()))
    }
}

/// The row that holds the key of an id may yet be taken back.
fn not_confirmed() -> Refusal {
    Refusal::Unavailable(StoreError::Exists.to_string())
}
