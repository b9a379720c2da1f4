//! Create: an envelope under an id that was minted at the edge.

use hongbao_core::limits::NEW_ID_AGE_DAYS_MAX;
use hongbao_core::request::{CreateEnvelope, CreationContext};
use hongbao_core::wire::EnvelopeView;
use hongbao_core::{Envelope, EnvelopeId, Journal, Seed};
use hongbao_database::durably;
use hongbao_store::StoreError;

use super::{Caller, DAY_MS, Server, spawn_uncancellable};
use crate::refusal::Refusal;

impl Server {
    /// Makes an envelope under an id that was minted at the edge.
    pub async fn create(
        &self,
        id: EnvelopeId,
        request: CreateEnvelope,
        caller: &Caller<'_>,
        seed: Seed,
    ) -> Result<EnvelopeView, Refusal> {
        let now = self.parts.clock.now();
        let ahead_ms = id.minted_at().millis().saturating_sub(now.millis());
        let checked = match ahead_ms < -NEW_ID_AGE_DAYS_MAX * DAY_MS {
            true => Err(Refusal::ClocksApart(ahead_ms)),
            false => self.check_ours(id),
        };
        match checked {
            // Its sender cannot help it: some server's clock is wrong.
            Err(Refusal::NotFound | Refusal::ClocksApart(_)) => {
                tracing::warn!(envelope_id = %id, ahead_ms, "a new id is not of our time: is the gateway's clock right?");
                return Err(Refusal::ClocksApart(ahead_ms));
            }
            checked => checked?,
        }
        let birth = CreationContext { id, sender: caller.user.clone(), seed, now };
        let envelope = request.into_envelope(birth, &self.parts.limits)?;
        let view = EnvelopeView::new(&envelope, &Journal::new(envelope.total), now);
        let (store, made) = (self.parts.store.clone(), envelope.clone());
        match spawn_uncancellable(async move { store.create(&[made]).await }).await? {
            Err(StoreError::Exists) => return self.made_before(&envelope).await,
            made => made?,
        }
        tracing::debug!(envelope_id = %id, user_id = %caller.user, "created");
        Ok(view)
    }

    /// The answer to who makes an envelope under an id that exists: the envelope, if it is the very one that is
    /// asked for, made by a request whose answer was lost. Its seed is that of the first request.
    async fn made_before(&self, asked: &Envelope) -> Result<EnvelopeView, Refusal> {
        let store = &*self.parts.store;
        let found = durably::<_, StoreError, _>(store, || store.load(asked.id)).await?;
        // The row that holds the key may yet be taken back.
        let found = found.ok_or_else(|| Refusal::Unavailable(StoreError::Exists.to_string()))?;
        let (found, journal) = found.into_inner();
        if !found.has_the_terms_of(asked) {
            return Err(Refusal::IdTaken);
        }
        Ok(EnvelopeView::new(&found, &journal, self.parts.clock.now()))
    }
}
