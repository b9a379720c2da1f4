//! Purge: removes envelopes that were never paid, a while after they were cancelled.
//!
//! An envelope that is created and not paid costs a row, which is useless once it is
//! cancelled: its sender gets 404 instead of `cancelled` from then on. What goes
//! is the envelope's row alone. Its cancel stays in the wallet, for two reasons:
//! the ledger is append-only, each row being what the balances are checked
//! against; and the cancel has taken the payment's id, so that a request that read the
//! envelope before it went, however long that request sleeps, cannot pay for it.
//!
//! The wallet decides here as it does for payments: only an envelope whose cancel
//! it holds, for long enough, may go. One that it says was paid, or of which it
//! knows nothing, is damage that the audit names, and is kept. The store removes
//! what is cancelled and has no entry, whatever it is asked. Every step may be
//! repeated.
//!
//! Round trips of a run: one look at all tables. Of one visit: one read of the store, one of the wallet with a
//! barrier, and one store transaction for each [`SQL_LIST_MAX`] envelopes that go.

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::limits::SQL_LIST_MAX;
use hongbao_core::{EnvelopeId, Limits, Timestamp, Transfer, TransferId, TransferKind};
use hongbao_database::{Durable, durably};
use hongbao_store::StoreError;
use hongbao_wallet::WalletError;

use crate::job::{Job, JobError, Ports, RunReport, bounded};
use crate::schedule::{TableJob, TableSchedule, Visit, run_over_tables};

/// Tables of days gone by that one run visits. It runs seldom, and all that it
/// finds in them was left over when no worker ran.
const COLD_TABLES_PER_RUN: usize = 64;

/// The job.
pub struct Purge {
    purger: Purger,
    schedule: TableSchedule,
}

struct Purger {
    ports: Ports,
    after_ms: i64,
    /// Where the next page begins in tables with more than one page: a hint.
    pages: HashMap<TableRef, EnvelopeId>,
}

impl Purge {
    /// The job for these ports: envelopes go `after_s` seconds after they were cancelled.
    pub fn new(ports: Ports, zone_offset_s: i32, limits: &Limits, after_s: u32) -> Purge {
        Purge {
            purger: Purger { ports, after_ms: i64::from(after_s) * 1_000, pages: HashMap::new() },
            schedule: TableSchedule::new(zone_offset_s, limits, COLD_TABLES_PER_RUN),
        }
    }
}

#[async_trait]
impl Job for Purge {
    fn name(&self) -> &'static str {
        Purger::NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let now = self.purger.ports.clock.now();
        let tables = self.purger.ports.store.unsealed_tables();
        Ok(run_over_tables(&mut self.purger, &mut self.schedule, &tables, now, bounded(limit)).await)
    }

    fn forget_failures(&mut self) {
        self.schedule.forget_failures();
    }
}

#[async_trait]
impl TableJob for Purger {
    const NAME: &'static str = "purge";

    async fn due(&self, tables: &[TableRef], now: Timestamp) -> Result<Vec<Option<Timestamp>>, StoreError> {
        let waiting = self.ports.store.waiting(tables).await?;
        Ok(waiting.into_iter().map(|waiting| waiting.has_cancelled.then_some(now)).collect())
    }

    async fn visit(&mut self, table: TableRef, now: Timestamp, limit: u32) -> Result<Visit, JobError> {
        let after = self.pages.get(&table).copied();
        let cancelled_before = now.plus_millis(-self.after_ms);
        // None was cancelled before it was made.
        let page = self.ports.store.cancelled(table, cancelled_before, after, limit).await?;
        let gone = self.that_may_go(&page, cancelled_before).await?;
        let mut rows = 0;
        for batch in gone.chunks(SQL_LIST_MAX) {
            rows += self.ports.store.purge(table, batch).await? as u32;
        }
        let full = page.len() as u32 == limit;
        match page.last() {
            Some(next) if full => self.pages.insert(table, *next),
            _ => self.pages.remove(&table),
        };
        // A page of envelopes that stay is no reason to hurry on to the next.
        Ok(Visit { seen: page.len() as u32, rows, more: full && rows > 0 })
    }
}

impl Purger {
    /// Those whose payment the wallet has ruled out before then.
    async fn that_may_go(&self, page: &[EnvelopeId], cancelled_before: Timestamp) -> Result<Vec<EnvelopeId>, JobError> {
        if page.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<TransferId> = page.iter().map(|id| TransferId::Envelope(*id, 0)).collect();
        let wallet = &*self.ports.wallet;
        // A cancel that the wallet takes back in a crash rules nothing out.
        let found = durably::<_, WalletError, _>(wallet, || async { wallet.find(&ids).await.map(Some) }).await?;
        let found: HashMap<TransferId, Transfer> =
            found.into_iter().flat_map(Durable::into_inner).map(|transfer| (transfer.id, transfer)).collect();
        let (mut gone, mut kept) = (Vec::new(), None);
        for (id, transfer_id) in page.iter().zip(ids) {
            match found.get(&transfer_id) {
                Some(cancel) if cancel.kind == TransferKind::Cancel => {
                    if cancel.at < cancelled_before {
                        gone.push(*id);
                    }
                }
                _ => kept = Some(*id),
            }
        }
        if let Some(envelope_id) = kept {
            tracing::error!(%envelope_id, "it is cancelled here and not in the wallet, so it is kept: run the audit");
        }
        Ok(gone)
    }
}
