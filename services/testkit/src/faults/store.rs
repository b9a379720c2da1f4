//! A store with a guard before and after every verb: for tests that make a
//! store fail on demand, beside those that break a real one.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened, Stage, Timestamp, UserId};
use hongbao_database::returns::Returning;
use hongbao_database::{Barrier, DatabaseError, Durability, Generations};
use hongbao_store::{Append, Settlement, Store, StoreError, TailEntry};

use super::{Replaceable, barrier_after, generations_after};

/// The verb that a guard is asked about.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each is the verb of the same name")]
pub enum StoreVerb<'a> {
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
pub trait StoreFaults: Send + Sync + 'static {
    /// Before the verb: an error, and it is not executed.
    fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError>;

    /// After the verb: an error, and nobody learns that it was executed.
    fn after(&self, verb: StoreVerb<'_>) -> Result<(), StoreError>;

    /// The epoch that is told when the store's own is `epoch`.
    fn epoch(&self, epoch: u64) -> u64 {
        epoch
    }

    /// How often the database server behind the store was started anew: what was
    /// read before the last start is void, and a write across it is unknown.
    fn starts(&self) -> u64 {
        0
    }

    /// The start that readings of now are said to belong to. Where it is not the
    /// last one, a barrier does not find out that what was read is void.
    fn start_of_readings(&self) -> u64 {
        self.starts()
    }
}

/// A store behind a guard.
pub struct FaultInjectingStore<G> {
    inner: Arc<Replaceable<dyn Store>>,
    guard: Arc<G>,
}

impl<G: StoreFaults> FaultInjectingStore<G> {
    /// The real store, and who decides.
    pub fn new(inner: Arc<dyn Store>, guard: Arc<G>) -> FaultInjectingStore<G> {
        FaultInjectingStore::replaceable(Arc::new(Replaceable::new(inner)), guard)
    }

    /// The same for a store in whose place another may be put.
    pub fn replaceable(inner: Arc<Replaceable<dyn Store>>, guard: Arc<G>) -> FaultInjectingStore<G> {
        FaultInjectingStore { inner, guard }
    }

    async fn guarded<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        verb: StoreVerb<'_>,
        call: impl FnOnce(Arc<dyn Store>) -> F,
    ) -> Result<T, StoreError> {
        self.guard.before(verb)?;
        let starts = self.guard.starts();
        let done = call(self.inner.now()).await?;
        self.guard.after(verb)?;
        match self.guard.starts() == starts {
            true => Ok(done),
            false => Err(StoreError::Unknown("the connection is gone".to_owned())),
        }
    }
}

#[async_trait]
impl<G: StoreFaults> Barrier for FaultInjectingStore<G> {
    fn generations(&self) -> Generations {
        generations_after(self.guard.start_of_readings(), self.inner.now().generations())
    }
    async fn barrier(&self, since: &Generations) -> Result<bool, DatabaseError> {
        let passed = self.guarded(StoreVerb::Barrier, |inner| async move {
            Ok(barrier_after(self.guard.start_of_readings(), since, inner).await?)
        });
        passed.await.map_err(|error| match error {
            StoreError::Unavailable(reason) | StoreError::Locked(reason) => DatabaseError::Unavailable(reason),
            other => DatabaseError::Unknown(other.to_string()),
        })
    }
}

#[async_trait]
impl<G: StoreFaults> Store for FaultInjectingStore<G> {
    fn table_of(&self, id: EnvelopeId) -> TableRef {
        self.inner.now().table_of(id)
    }
    fn tables(&self) -> Vec<TableRef> {
        self.inner.now().tables()
    }
    fn durability(&self) -> Durability {
        self.inner.now().durability()
    }
    fn refusal(&self) -> Option<String> {
        self.inner.now().refusal()
    }
    fn returns(&self) -> Returning {
        self.inner.now().returns()
    }
    fn epoch(&self, database: u8) -> u64 {
        self.guard.epoch(self.inner.now().epoch(database) + self.guard.starts())
    }
    async fn ping(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.now().ping().await
    }
    async fn create(&self, envelopes: &[Envelope]) -> Result<(), StoreError> {
        self.guarded(StoreVerb::Create, |inner| async move { inner.create(envelopes).await }).await
    }
    async fn load(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
        self.guarded(StoreVerb::Load, |inner| async move { inner.load(id).await }).await
    }
    async fn load_for(
        &self,
        id: EnvelopeId,
        user: &UserId,
    ) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
        self.guarded(StoreVerb::LoadFor, |inner| async move { inner.load_for(id, user).await }).await
    }
    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.guarded(StoreVerb::Entries, |inner| async move { inner.entries(id, after_seq, limit).await }).await
    }
    async fn append(&self, entries: &[Entry]) -> Result<Append, StoreError> {
        self.guarded(StoreVerb::Append(entries), |inner| async move { inner.append(entries).await }).await
    }
    async fn activate(
        &self,
        id: EnvelopeId,
        expires_at: Timestamp,
    ) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
        self.guarded(StoreVerb::Activate, |inner| async move { inner.activate(id, expires_at).await }).await
    }
    async fn cancel(&self, id: EnvelopeId) -> Result<Option<Stage>, StoreError> {
        self.guarded(StoreVerb::Cancel, |inner| async move { inner.cancel(id).await }).await
    }
    async fn tail(&self, table: TableRef, position: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        self.guarded(StoreVerb::Tail, |inner| async move { inner.tail(table, position, limit).await }).await
    }
    async fn tail_position(&self, table: TableRef) -> Result<i64, StoreError> {
        self.guarded(StoreVerb::TailPosition, |inner| async move { inner.tail_position(table).await }).await
    }
    async fn unsettled(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        self.guarded(StoreVerb::Unsettled, |inner| async move { inner.unsettled(table, after, limit).await }).await
    }
    async fn settle(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        self.guarded(StoreVerb::Settle, |inner| async move { inner.settle(settlements).await }).await
    }
    async fn unpaid(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        self.guarded(StoreVerb::Unpaid, |inner| async move { inner.unpaid(table, created_before, after, limit).await })
            .await
    }
    async fn cancelled(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<EnvelopeId>, StoreError> {
        self.guarded(
            StoreVerb::Cancelled,
            |inner| async move { inner.cancelled(table, created_before, after, limit).await },
        )
        .await
    }
    async fn purge(&self, table: TableRef, envelopes: &[EnvelopeId]) -> Result<u64, StoreError> {
        self.guarded(StoreVerb::Purge, |inner| async move { inner.purge(table, envelopes).await }).await
    }
    async fn expired(
        &self,
        table: TableRef,
        now: Timestamp,
        after: Option<(Timestamp, EnvelopeId)>,
        limit: u32,
    ) -> Result<Vec<(Envelope, Journal)>, StoreError> {
        self.guarded(StoreVerb::Expired, |inner| async move { inner.expired(table, now, after, limit).await }).await
    }
    async fn scan(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<(Envelope, u32)>, StoreError> {
        self.guarded(StoreVerb::Scan, |inner| async move { inner.scan(table, after, limit).await }).await
    }
    async fn scan_entries(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        until: EnvelopeId,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.guarded(
            StoreVerb::ScanEntries,
            |inner| async move { inner.scan_entries(table, after, until, limit).await },
        )
        .await
    }
}
