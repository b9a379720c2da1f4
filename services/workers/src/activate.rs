//! Activate: finishes a payment that crashed half way, and cancels what was
//! never paid.
//!
//! Paying is two steps, debit and activation. A server that crashes between them
//! leaves an envelope that is `created` here and paid in the wallet; the wallet
//! decides. While an envelope may still be paid, it is activated if the wallet
//! has its payment and left alone if not. After that the job first takes the
//! payment's id with a cancel: if it gets it, the payment can never happen any
//! more, and the envelope is cancelled; if the payment was faster, it is
//! activated. Both steps may be repeated.
//!
//! Unpaid envelopes that may wait are passed by a cursor, so that any number of
//! them hides no other.
//!
//! What is found is made durable before it is acted on: a payment that a crash
//! of the wallet takes back must not have activated an envelope.
//!
//! Round trips of a run: one look at all tables. Of one visit: one read of the store, one of the wallet and a
//! barrier if it found a payment; for what is overdue one more read and a barrier
//! of the store and one wallet transaction for all cancels; and one store
//! transaction for each envelope that changes.

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::event::{Note, NoteWhen};
use hongbao_core::id::TableRef;
use hongbao_core::{
    Envelope, EnvelopeId, Limits, Stage, Timestamp, Transfer, TransferId, TransferKind, TransferOutcome as Outcome,
};
use hongbao_database::{Durable, durably};
use hongbao_store::StoreError;
use hongbao_wallet::WalletError;

use crate::job::{Job, JobError, Ports, RunReport, bounded};
use crate::schedule::{COLD_TABLES_PER_RUN, TableJob, TableSchedule, Visit, run_over_tables};

/// A payment gets this long to be activated by its own request.
const GRACE_MS: i64 = 2_000;

/// The job.
pub struct Activate {
    activator: Activator,
    schedule: TableSchedule,
}

struct Activator {
    ports: Ports,
    pay_within_ms: i64,
    /// Where the next page begins in tables with more than one page: a hint.
    pages: HashMap<TableRef, EnvelopeId>,
}

impl Activate {
    /// The job for these ports.
    pub fn new(ports: Ports, zone_offset_s: i32, limits: &Limits) -> Activate {
        let pay_within_ms = i64::from(limits.pay_within_s) * 1_000;
        Activate {
            activator: Activator { ports, pay_within_ms, pages: HashMap::new() },
            schedule: TableSchedule::new(zone_offset_s, limits, COLD_TABLES_PER_RUN),
        }
    }
}

#[async_trait]
impl Job for Activate {
    fn name(&self) -> &'static str {
        Activator::NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let now = self.activator.ports.clock.now();
        let tables = self.activator.ports.store.unsealed_tables();
        Ok(run_over_tables(&mut self.activator, &mut self.schedule, &tables, now, bounded(limit)).await)
    }

    fn forget_failures(&mut self) {
        self.schedule.forget_failures();
    }
}

#[async_trait]
impl TableJob for Activator {
    const NAME: &'static str = "activate";

    async fn due(&self, tables: &[TableRef], now: Timestamp) -> Result<Vec<Option<Timestamp>>, StoreError> {
        let waiting = self.ports.store.waiting(tables).await?;
        Ok(waiting.into_iter().map(|waiting| waiting.has_unpaid.then_some(now)).collect())
    }

    async fn visit(&mut self, table: TableRef, now: Timestamp, limit: u32) -> Result<Visit, JobError> {
        let after = self.pages.get(&table).copied();
        let created_before = now.plus_millis(-GRACE_MS);
        let page = self.ports.store.unpaid(table, created_before, after, limit).await?;
        let full = page.len() as u32 == limit;
        let seen = page.len() as u32;
        let next = page.last().map(|envelope| envelope.id);

        let overdue_before = now.plus_millis(-self.pay_within_ms);
        let (overdue, waiting): (Vec<Envelope>, Vec<Envelope>) =
            page.into_iter().partition(|envelope| envelope.created_at < overdue_before);
        let mut rows = self.follow_wallet(&waiting).await?;
        if !overdue.is_empty() {
            let store = &*self.ports.store;
            let overdue = durably::<_, StoreError, _>(store, || async {
                Ok(Some(store.unpaid(table, overdue_before, after, limit).await?).filter(|page| !page.is_empty()))
            });
            if let Some(overdue) = overdue.await? {
                rows += self.cancel(&overdue, now).await?;
            }
        }

        match next {
            Some(next) if full => self.pages.insert(table, next),
            _ => self.pages.remove(&table),
        };
        // A page of envelopes that may wait is no reason to hurry on to the next.
        Ok(Visit { seen, rows, more: full && rows > 0 })
    }
}

impl Activator {
    /// Brings envelopes to where the wallet says they are; gives how many changed.
    async fn follow_wallet(&self, envelopes: &[Envelope]) -> Result<u32, JobError> {
        if envelopes.is_empty() {
            return Ok(0);
        }
        let ids: Vec<TransferId> = envelopes.iter().map(|envelope| TransferId::Envelope(envelope.id, 0)).collect();
        let wallet = &*self.ports.wallet;
        // A payment that the wallet takes back in a crash must not have activated anything.
        let found = durably::<_, WalletError, _>(wallet, || async {
            Ok(Some(wallet.find(&ids).await?).filter(|found| !found.is_empty()))
        });
        let Some(found) = found.await? else { return Ok(0) };
        let found: Durable<HashMap<TransferId, Transfer>> =
            found.map(|found| found.into_iter().map(|transfer| (transfer.id, transfer)).collect());
        let mut rows = 0;
        for (envelope, id) in envelopes.iter().zip(ids) {
            let Some(transfer) = found.get(&id) else { continue };
            match transfer.kind {
                TransferKind::Send => self.activate_one(envelope, transfer.at).await?,
                TransferKind::Cancel => self.cancel_one(envelope).await?,
                kind => {
                    tracing::error!(envelope_id = %envelope.id, ?kind, "a payment's id was used for something else");
                    continue;
                }
            }
            rows += 1;
        }
        Ok(rows)
    }

    /// Takes the payments' ids, so that they can never happen; gives how many envelopes changed.
    async fn cancel(&self, overdue: &Durable<Vec<Envelope>>, now: Timestamp) -> Result<u32, JobError> {
        let cancels = overdue.iter().map(|envelope| Transfer::cancel(envelope, now)).collect();
        let outcomes = self.ports.wallet.transfer(cancels).await?;
        let mut rows = 0;
        let mut paid = Vec::new();
        for (envelope, outcome) in overdue.iter().zip(outcomes) {
            match outcome {
                Outcome::Done | Outcome::AlreadyDone => {
                    self.cancel_one(envelope).await?;
                    rows += 1;
                }
                Outcome::AlreadyPaid => paid.push(envelope.clone()),
                Outcome::InsufficientFunds
                | Outcome::Cancelled
                | Outcome::Conflict
                | Outcome::Overflow
                | Outcome::Frozen
                | Outcome::LimitExceeded(_) => {
                    tracing::error!(envelope_id = %envelope.id, ?outcome, "an unpaid envelope cannot be cancelled");
                }
            }
        }
        Ok(rows + self.follow_wallet(&paid).await?)
    }

    async fn activate_one(&self, envelope: &Envelope, paid_at: Timestamp) -> Result<(), JobError> {
        // Before it can be opened, so that the payment comes first in each feed. The request that paid may have come as far.
        let own = Note { when: NoteWhen::New, ..Note::paid(envelope, paid_at) };
        let notes = [own].into_iter().chain(Note::paid_for_audience(envelope, paid_at)).collect();
        self.ports.wallet.transfer_noting(Vec::new(), notes).await?;
        // The same expiry that the payment's own request would have written.
        let expires_at = paid_at.plus_millis(envelope.lifetime_ms);
        match self.ports.store.activate(envelope.id, expires_at).await? {
            Some((Stage::Active | Stage::Settled, _)) => {
                tracing::info!(envelope_id = %envelope.id, "finished a payment that had stopped half way");
            }
            stage => tracing::error!(envelope_id = %envelope.id, ?stage, "a paid envelope cannot be activated"),
        }
        Ok(())
    }

    async fn cancel_one(&self, envelope: &Envelope) -> Result<(), JobError> {
        match self.ports.store.cancel(envelope.id).await? {
            Some(Stage::Cancelled) => tracing::debug!(envelope_id = %envelope.id, "cancelled: it was never paid"),
            stage => tracing::error!(envelope_id = %envelope.id, ?stage, "an unpaid envelope cannot be cancelled"),
        }
        Ok(())
    }
}
