//! A store with a guard before and after every verb: for tests that make a
//! store fail on demand, beside those that break a real one.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened, Stage, Timestamp, UserId};

use crate::returns::Returning;
use crate::{Append, Barrier, Durability, Generations, Settlement, Store, StoreError, TailEntry};

/// The verb that a guard is asked about.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each is the verb of the same name")]
pub enum Verb<'a> {
    Create,
    Load,
    LoadFor,
    Entries,
    Append(&'a [Entry]),
    Activate,
    Cancel,
    Tail,
    TailPosition,
    Unsettled,
    Settle,
    Unpaid,
    Cancelled,
    Purge,
    Expired,
    Scan,
    ScanEntries,
    Barrier,
}

/// Decides whether a verb fails.
pub trait Guard: Send + Sync + 'static {
    /// Before the verb: an error, and it is not executed.
    fn before(&self, verb: Verb<'_>) -> Result<(), StoreError>;

    /// After the verb: an error, and nobody learns that it was executed.
    fn after(&self, verb: Verb<'_>) -> Result<(), StoreError>;

    /// The epoch that is told when the store's own is `epoch`.
    fn epoch(&self, epoch: u64) -> u64 {
        epoch
    }
}

/// A store behind a guard.
pub struct GuardedStore<G> {
    /// The real store.
    pub inner: Arc<dyn Store>,
    /// Who decides.
    pub guard: Arc<G>,
}

impl<G: Guard> GuardedStore<G> {
    async fn guarded<T>(
        &self,
        verb: Verb<'_>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.guard.before(verb)?;
        let done = call.await?;
        self.guard.after(verb)?;
        Ok(done)
    }
}

#[async_trait]
impl<G: Guard> Barrier for GuardedStore<G> {
    fn generations(&self) -> Generations {
        self.inner.generations()
    }
    async fn barrier(&self, since: &Generations) -> Result<bool, StoreError> {
        self.guarded(Verb::Barrier, self.inner.barrier(since)).await
    }
}

#[async_trait]
impl<G: Guard> Store for GuardedStore<G> {
    fn table_of(&self, id: EnvelopeId) -> TableRef {
        self.inner.table_of(id)
    }
    fn tables(&self) -> Vec<TableRef> {
        self.inner.tables()
    }
    fn durability(&self) -> Durability {
        self.inner.durability()
    }
    fn refusal(&self) -> Option<String> {
        self.inner.refusal()
    }
    fn returns(&self) -> Returning {
        self.inner.returns()
    }
    fn epoch(&self, database: u8) -> u64 {
        self.guard.epoch(self.inner.epoch(database))
    }
    async fn ping(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.ping().await
    }
    async fn create(&self, envelopes: &[Envelope]) -> Result<(), StoreError> {
        self.guarded(Verb::Create, self.inner.create(envelopes)).await
    }
    async fn load(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
        self.guarded(Verb::Load, self.inner.load(id)).await
    }
    async fn load_for(
        &self,
        id: EnvelopeId,
        user: &UserId,
    ) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
        self.guarded(Verb::LoadFor, self.inner.load_for(id, user)).await
    }
    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.guarded(Verb::Entries, self.inner.entries(id, after_seq, limit)).await
    }
    async fn append(&self, entries: &[Entry]) -> Result<Append, StoreError> {
        self.guarded(Verb::Append(entries), self.inner.append(entries)).await
    }
    async fn activate(
        &self,
        id: EnvelopeId,
        expires_at: Timestamp,
    ) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
        self.guarded(Verb::Activate, self.inner.activate(id, expires_at)).await
    }
    async fn cancel(&self, id: EnvelopeId) -> Result<Option<Stage>, StoreError> {
        self.guarded(Verb::Cancel, self.inner.cancel(id)).await
    }
    async fn tail(&self, table: TableRef, position: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        self.guarded(Verb::Tail, self.inner.tail(table, position, limit)).await
    }
    async fn tail_position(&self, table: TableRef) -> Result<i64, StoreError> {
        self.guarded(Verb::TailPosition, self.inner.tail_position(table)).await
    }
    async fn unsettled(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        self.guarded(Verb::Unsettled, self.inner.unsettled(table, after, limit)).await
    }
    async fn settle(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        self.guarded(Verb::Settle, self.inner.settle(settlements)).await
    }
    async fn unpaid(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        self.guarded(Verb::Unpaid, self.inner.unpaid(table, created_before, after, limit)).await
    }
    async fn cancelled(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<EnvelopeId>, StoreError> {
        self.guarded(Verb::Cancelled, self.inner.cancelled(table, created_before, after, limit)).await
    }
    async fn purge(&self, table: TableRef, envelopes: &[EnvelopeId]) -> Result<u64, StoreError> {
        self.guarded(Verb::Purge, self.inner.purge(table, envelopes)).await
    }
    async fn expired(
        &self,
        table: TableRef,
        now: Timestamp,
        after: Option<(Timestamp, EnvelopeId)>,
        limit: u32,
    ) -> Result<Vec<(Envelope, Journal)>, StoreError> {
        self.guarded(Verb::Expired, self.inner.expired(table, now, after, limit)).await
    }
    async fn scan(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<(Envelope, u32)>, StoreError> {
        self.guarded(Verb::Scan, self.inner.scan(table, after, limit)).await
    }
    async fn scan_entries(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        until: EnvelopeId,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.guarded(Verb::ScanEntries, self.inner.scan_entries(table, after, until, limit)).await
    }
}
