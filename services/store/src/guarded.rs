//! A store with a guard before and after every verb: for tests that make a
//! store fail on demand, beside those that break a real one.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened, Stage, Timestamp, UserId};
use parking_lot::RwLock;

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

/// A store or wallet behind a guard, in whose place a test may put another one:
/// what a database server holds after a crash.
pub struct Replaceable<T: ?Sized>(RwLock<Arc<T>>);

impl<T: ?Sized> Replaceable<T> {
    /// Begins with this one.
    pub fn new(first: Arc<T>) -> Replaceable<T> {
        Replaceable(RwLock::new(first))
    }

    /// The one that is there now.
    pub fn now(&self) -> Arc<T> {
        self.0.read().clone()
    }

    /// Calls from now on go to `next`.
    pub fn replace(&self, next: Arc<T>) {
        *self.0.write() = next;
    }
}

/// The generations of what a guard counts the starts of.
pub fn generations_after(starts: u64, inner: Generations) -> Generations {
    Generations(inner.0.into_iter().chain([starts]).collect())
}

/// The barrier of what a guard counts the starts of: what was read before one is void.
///
/// # Errors
/// As [`Barrier::barrier`].
pub async fn barrier_after<B: Barrier + ?Sized>(
    starts: u64,
    since: &Generations,
    inner: Arc<B>,
) -> Result<bool, StoreError> {
    match since.0.split_last() {
        Some((own, others)) if *own == starts => inner.barrier(&Generations(others.to_vec())).await,
        _ => Ok(false),
    }
}

/// A store behind a guard.
pub struct GuardedStore<G> {
    inner: Arc<Replaceable<dyn Store>>,
    guard: Arc<G>,
}

impl<G: Guard> GuardedStore<G> {
    /// The real store, and who decides.
    pub fn new(inner: Arc<dyn Store>, guard: Arc<G>) -> GuardedStore<G> {
        GuardedStore::replaceable(Arc::new(Replaceable::new(inner)), guard)
    }

    /// The same for a store in whose place another may be put.
    pub fn replaceable(inner: Arc<Replaceable<dyn Store>>, guard: Arc<G>) -> GuardedStore<G> {
        GuardedStore { inner, guard }
    }

    async fn guarded<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        verb: Verb<'_>,
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
impl<G: Guard> Barrier for GuardedStore<G> {
    fn generations(&self) -> Generations {
        generations_after(self.guard.start_of_readings(), self.inner.now().generations())
    }
    async fn barrier(&self, since: &Generations) -> Result<bool, StoreError> {
        self.guarded(Verb::Barrier, |inner| barrier_after(self.guard.start_of_readings(), since, inner)).await
    }
}

#[async_trait]
impl<G: Guard> Store for GuardedStore<G> {
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
        self.guarded(Verb::Create, |inner| async move { inner.create(envelopes).await }).await
    }
    async fn load(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
        self.guarded(Verb::Load, |inner| async move { inner.load(id).await }).await
    }
    async fn load_for(
        &self,
        id: EnvelopeId,
        user: &UserId,
    ) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
        self.guarded(Verb::LoadFor, |inner| async move { inner.load_for(id, user).await }).await
    }
    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.guarded(Verb::Entries, |inner| async move { inner.entries(id, after_seq, limit).await }).await
    }
    async fn append(&self, entries: &[Entry]) -> Result<Append, StoreError> {
        self.guarded(Verb::Append(entries), |inner| async move { inner.append(entries).await }).await
    }
    async fn activate(
        &self,
        id: EnvelopeId,
        expires_at: Timestamp,
    ) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
        self.guarded(Verb::Activate, |inner| async move { inner.activate(id, expires_at).await }).await
    }
    async fn cancel(&self, id: EnvelopeId) -> Result<Option<Stage>, StoreError> {
        self.guarded(Verb::Cancel, |inner| async move { inner.cancel(id).await }).await
    }
    async fn tail(&self, table: TableRef, position: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        self.guarded(Verb::Tail, |inner| async move { inner.tail(table, position, limit).await }).await
    }
    async fn tail_position(&self, table: TableRef) -> Result<i64, StoreError> {
        self.guarded(Verb::TailPosition, |inner| async move { inner.tail_position(table).await }).await
    }
    async fn unsettled(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        self.guarded(Verb::Unsettled, |inner| async move { inner.unsettled(table, after, limit).await }).await
    }
    async fn settle(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        self.guarded(Verb::Settle, |inner| async move { inner.settle(settlements).await }).await
    }
    async fn unpaid(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        self.guarded(Verb::Unpaid, |inner| async move { inner.unpaid(table, created_before, after, limit).await }).await
    }
    async fn cancelled(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<EnvelopeId>, StoreError> {
        self.guarded(Verb::Cancelled, |inner| async move { inner.cancelled(table, created_before, after, limit).await })
            .await
    }
    async fn purge(&self, table: TableRef, envelopes: &[EnvelopeId]) -> Result<u64, StoreError> {
        self.guarded(Verb::Purge, |inner| async move { inner.purge(table, envelopes).await }).await
    }
    async fn expired(
        &self,
        table: TableRef,
        now: Timestamp,
        after: Option<(Timestamp, EnvelopeId)>,
        limit: u32,
    ) -> Result<Vec<(Envelope, Journal)>, StoreError> {
        self.guarded(Verb::Expired, |inner| async move { inner.expired(table, now, after, limit).await }).await
    }
    async fn scan(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<(Envelope, u32)>, StoreError> {
        self.guarded(Verb::Scan, |inner| async move { inner.scan(table, after, limit).await }).await
    }
    async fn scan_entries(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        until: EnvelopeId,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.guarded(Verb::ScanEntries, |inner| async move { inner.scan_entries(table, after, until, limit).await })
            .await
    }
}
