//! Pay: the debit in the wallet, then the activation.

use hongbao_core::event::{Note, NoteWhen};
use hongbao_core::limits::ID_AGE_DAYS_MAX;
use hongbao_core::wire::EnvelopeView;
use hongbao_core::{DayQuota, Envelope, EnvelopeId, Stage, Timestamp, Transfer, TransferId, TransferOutcome};
use hongbao_database::{Durable, durably};
use hongbao_store::{Store, StoreError};
use hongbao_wallet::{TransferRequest, Wallet};

use super::{Caller, DAY_MS, Server, spawn_uncancellable};
use crate::refusal::Refusal;

impl Server {
    /// Pays for an envelope; a repeat answers the same.
    pub async fn pay(&self, id: EnvelopeId, caller: &Caller<'_>) -> Result<EnvelopeView, Refusal> {
        self.check_ours(id)?;
        let store = &self.parts.store;
        let found = durably::<_, StoreError, _>(&**store, || store.load(id)).await?.ok_or(Refusal::NotFound)?;
        if *caller.user != found.0.sender {
            return Err(Refusal::NotSender);
        }
        let (mut envelope, fold) = (*found).clone();
        if envelope.stage == Stage::Created {
            let now = self.parts.clock.now();
            // No worker has cancelled it yet. A payment now would bring an envelope to life whose day table is gone.
            // One that was paid before is activated all the same: its money is there.
            let (store, wallet) = (store.clone(), self.parts.wallet.clone());
            if envelope.id.minted_at() < now.plus_millis(-ID_AGE_DAYS_MAX * DAY_MS)
                && wallet.find(&[TransferId::Envelope(id, 0)]).await?.is_empty()
            {
                return Err(Refusal::Cancelled);
            }
            let unpaid = found.map(|(envelope, _)| envelope);
            let quota = self.quota_of_sending(caller, now);
            let paid =
                spawn_uncancellable(async move { pay_and_activate(&*store, &*wallet, &unpaid, quota, now).await });
            (envelope.stage, envelope.expires_at) =
                paid.await?.map_err(|refusal| self.refusal_of_payment(refusal, quota, envelope.total, now))?;
        }
        if envelope.stage == Stage::Cancelled {
            return Err(Refusal::Cancelled);
        }
        tracing::debug!(envelope_id = %id, user_id = %caller.user, "paid");
        Ok(EnvelopeView::new(&envelope, &fold, self.parts.clock.now()))
    }
}

/// Debits the sender, then activates; the wallet's outcome is durable, whichever caller
/// made the debit. If we die between the two, the activate
/// worker finishes it; a cancel that was first has taken the payment's id.
async fn pay_and_activate(
    store: &dyn Store,
    wallet: &dyn Wallet,
    envelope: &Durable<Envelope>,
    quota: Option<DayQuota>,
    now: Timestamp,
) -> Result<(Stage, Option<Timestamp>), Refusal> {
    let notes = vec![Note::paid(envelope, now)];
    let payment = Transfer::send(envelope, now);
    let quotas = quota.into_iter().map(|quota| (payment.id, quota)).collect();
    let outcome = wallet.transfer_within(TransferRequest { transfers: vec![payment], notes, quotas }).await?.pop();
    match outcome {
        Some(outcome @ (TransferOutcome::Done | TransferOutcome::AlreadyDone)) => {
            let newly_paid_at = (outcome == TransferOutcome::Done).then_some(now);
            activate(store, wallet, envelope, newly_paid_at).await.map_err(Refusal::after_a_transfer)
        }
        Some(TransferOutcome::InsufficientFunds) => Err(Refusal::InsufficientFunds),
        Some(TransferOutcome::Frozen) => Err(Refusal::Frozen),
        Some(TransferOutcome::LimitExceeded(limit)) => Err(Refusal::LimitExceeded { limit, resets_at: None }),
        Some(TransferOutcome::Cancelled) => {
            store.cancel(envelope.id).await?;
            Err(Refusal::Cancelled)
        }
        other => Err(Refusal::Internal(format!("the payment of {} ended as {other:?}", envelope.id))),
    }
}

/// Activates what is paid for; `newly_paid_at` is absent when that was before.
async fn activate(
    store: &dyn Store,
    wallet: &dyn Wallet,
    envelope: &Envelope,
    newly_paid_at: Option<Timestamp>,
) -> Result<(Stage, Option<Timestamp>), Refusal> {
    let paid_at = match newly_paid_at {
        Some(now) => now,
        None => paid_at(wallet, envelope.id).await?,
    };
    // Before it can be opened: what comes first stands first. A charge that has paid it has noted nothing of it.
    let own = Note { when: NoteWhen::New, ..Note::paid(envelope, paid_at) };
    let own = Some(own).filter(|_| newly_paid_at.is_none());
    let notes: Vec<Note> = own.into_iter().chain(Note::paid_for_audience(envelope, paid_at)).collect();
    if !notes.is_empty() {
        wallet.transfer_noting(Vec::new(), notes).await?;
    }
    let expires_at = paid_at.plus_millis(envelope.lifetime_ms);
    let activated = store.activate(envelope.id, expires_at).await?;
    activated.ok_or_else(|| Refusal::Internal(format!("{} was paid and is gone", envelope.id)))
}

/// When an envelope was paid that was paid before. Its lifetime counts from then,
/// whatever activates it, so that the rows tell when it has to expire.
async fn paid_at(wallet: &dyn Wallet, id: EnvelopeId) -> Result<Timestamp, Refusal> {
    let found = wallet.find(&[TransferId::Envelope(id, 0)]).await?.pop();
    found.map(|payment| payment.at).ok_or_else(|| Refusal::Internal(format!("the payment of {id} is gone again")))
}
