//! A store that may fail before and after every verb: for tests that make a
//! store fail on demand, beside those that break a real one.

use std::collections::HashSet;
use std::future::ready;
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::fence::Fence;
use hongbao_core::id::TableRef;
use hongbao_core::manifest::Manifest;
use hongbao_core::{Date, Entry, Envelope, EnvelopeId, Journal, Opened, Stage, Timestamp, UserId};
use hongbao_database::returns::Returning;
use hongbao_database::{Barrier, DatabaseError, Durability, Generations};
use hongbao_store::{
    Append, Archive, ArchivedFile, Closed, Creation, Crediting, Exported, Exporting, Journals, Maintenance,
    ManifestRow, Outline, PendingPage, Rotated, Rotation, Scans, Seal, Sealing, Settlement, Store, StoreError,
    StoredManifest, TailEntry, Waiting,
};

use super::{Replaceable, barrier_after, generations_after};

/// The verb that may fail.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each is the verb of the same name")]
pub enum StoreVerb<'a> {
    Create(&'a [Envelope]),
    Activate,
    Cancel,
    Load,
    LoadFor,
    Entries(EnvelopeId),
    Append(&'a [Entry]),
    Tail(TableRef),
    TailPosition,
    TailPositions,
    Unsettled,
    Settle(&'a [Settlement]),
    Waiting,
    Unpaid,
    Cancelled,
    Purge,
    Expired,
    Scan(TableRef, Option<EnvelopeId>),
    CountPending,
    ScanEntries(TableRef, Option<EnvelopeId>, EnvelopeId),
    Fence,
    Rotate,
    Look,
    IsQuiet(TableRef),
    Close(TableRef),
    Closing,
    Reopen,
    Seal,
    Outline,
    Manifests,
    LastManifest,
    Manifest,
    Exported,
    NoteExported,
    DropExported,
    Barrier,
}

/// Decides whether a verb fails.
pub trait StoreFaults: Send + Sync + 'static {
    /// Before the verb: an error, and it is not executed.
    fn before(&self, _verb: StoreVerb<'_>) -> impl Future<Output = Result<(), StoreError>> + Send {
        ready(Ok(()))
    }

    /// After a verb that succeeded: an error takes the place of its answer.
    fn after(&self, _verb: StoreVerb<'_>) -> impl Future<Output = Result<(), StoreError>> + Send {
        ready(Ok(()))
    }

    /// Entries that were written, and that this verb does not find.
    fn hidden(&self, _verb: StoreVerb<'_>) -> HashSet<(EnvelopeId, u32)> {
        HashSet::new()
    }

    /// The epoch of the store where its own is `epoch`.
    fn epoch(&self, epoch: u64) -> u64 {
        epoch
    }

    /// The clock of the store where its own is `clock`.
    fn clock(&self, clock: Option<RangeInclusive<Timestamp>>) -> Option<RangeInclusive<Timestamp>> {
        clock
    }

    /// The fence of the store where its own is `fence`.
    fn fence(&self, fence: Fence) -> Fence {
        fence
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

/// A store whose verbs fail as `G` decides.
pub struct FaultInjectingStore<G> {
    inner: Arc<Replaceable<dyn Store>>,
    faults: Arc<G>,
}

impl<G: StoreFaults> FaultInjectingStore<G> {
    /// The real store, and who decides.
    pub fn new(inner: Arc<dyn Store>, faults: Arc<G>) -> FaultInjectingStore<G> {
        FaultInjectingStore::replaceable(Arc::new(Replaceable::new(inner)), faults)
    }

    /// The same for a store in whose place another may be put.
    pub fn replaceable(inner: Arc<Replaceable<dyn Store>>, faults: Arc<G>) -> FaultInjectingStore<G> {
        FaultInjectingStore { inner, faults }
    }

    async fn inject<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        verb: StoreVerb<'_>,
        call: impl FnOnce(Arc<dyn Store>) -> F,
    ) -> Result<T, StoreError> {
        self.faults.before(verb).await?;
        let starts = self.faults.starts();
        let done = call(self.inner.now()).await?;
        self.faults.after(verb).await?;
        match self.faults.starts() == starts {
            true => Ok(done),
            false => Err(StoreError::Unknown("the connection is gone".to_owned())),
        }
    }
}

#[async_trait]
impl<G: StoreFaults> Barrier for FaultInjectingStore<G> {
    fn generations(&self) -> Generations {
        generations_after(self.faults.start_of_readings(), self.inner.now().generations())
    }
    async fn barrier(&self, since: &Generations) -> Result<bool, DatabaseError> {
        let passed = self.inject(StoreVerb::Barrier, |inner| async move {
            Ok(barrier_after(self.faults.start_of_readings(), since, inner).await?)
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
    fn may_lie_in(&self, table: TableRef, id: EnvelopeId) -> bool {
        self.inner.now().may_lie_in(table, id)
    }
    fn tables(&self) -> Vec<TableRef> {
        self.inner.now().tables()
    }
    fn unsealed_tables(&self) -> Vec<TableRef> {
        self.inner.now().unsealed_tables()
    }
    fn durability(&self) -> Durability {
        self.inner.now().durability()
    }
    fn refusal(&self) -> Option<String> {
        self.inner.now().refusal()
    }
    fn is_away(&self) -> bool {
        self.inner.now().is_away()
    }

    fn returns(&self) -> Returning {
        self.inner.now().returns()
    }
    fn epoch(&self, database: u8) -> u64 {
        self.faults.epoch(self.inner.now().epoch(database) + self.faults.starts())
    }
    fn writer_of(&self, database: u8) -> Option<u8> {
        self.inner.now().writer_of(database)
    }
    async fn fence(&self) -> Result<Fence, StoreError> {
        Ok(self.faults.fence(self.inject(StoreVerb::Fence, |inner| async move { inner.fence().await }).await?))
    }
    async fn clock(&self) -> Result<Option<RangeInclusive<Timestamp>>, StoreError> {
        Ok(self.faults.clock(self.inner.now().clock().await?))
    }
}

/// Implements a group of verbs: each may fail before and after the store has executed it.
macro_rules! with_faults {
    ($group:ident { $($verb:expr => $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* }) => {
        with_faults! { $group { $($verb => $name($($arg: $type),*) -> $answer;)* } and {} }
    };
    ($group:ident { $($verb:expr => $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* } and { $($others:tt)* }) => {
        #[async_trait]
        impl<G: StoreFaults> $group for FaultInjectingStore<G> {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer, StoreError> {
                self.inject($verb, |inner| async move { inner.$name($($arg),*).await }).await
            })*
            $($others)*
        }
    };
}

with_faults! { Creation {
    StoreVerb::Create(envelopes) => create(envelopes: &[Envelope]) -> ();
    StoreVerb::Activate => activate(id: EnvelopeId, expires_at: Timestamp) -> Option<(Stage, Option<Timestamp>)>;
    StoreVerb::Cancel => cancel(id: EnvelopeId) -> Option<Stage>;
} }

with_faults! { Journals {
    StoreVerb::Load => load(id: EnvelopeId) -> Option<(Envelope, Journal)>;
    StoreVerb::LoadFor => load_for(id: EnvelopeId, user: &UserId) -> Option<(Envelope, Journal, Option<Opened>)>;
    StoreVerb::Append(entries) => append(entries: &[Entry]) -> Append;
} and {
    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let read = |inner: Arc<dyn Store>| async move { inner.entries(id, after_seq, limit).await };
        let mut entries = self.inject(StoreVerb::Entries(id), read).await?;
        let hidden = self.faults.hidden(StoreVerb::Entries(id));
        entries.retain(|entry| !hidden.contains(&(id, entry.seq)));
        Ok(entries)
    }
} }

with_faults! { Crediting {
    StoreVerb::TailPosition => tail_position(table: TableRef) -> i64;
    StoreVerb::TailPositions => tail_positions(tables: &[TableRef]) -> Vec<i64>;
    StoreVerb::Unsettled => unsettled(
        table: TableRef, after: Option<EnvelopeId>, through: i64, limit: u32
    ) -> Vec<Envelope>;
    StoreVerb::Settle(settlements) => settle(settlements: &[Settlement]) -> ();
} and {
    async fn tail(&self, table: TableRef, position: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        let hidden = self.faults.hidden(StoreVerb::Tail(table));
        let with_hidden = limit.saturating_add(hidden.len() as u32);
        let read = |inner: Arc<dyn Store>| async move { inner.tail(table, position, with_hidden).await };
        let mut rows = self.inject(StoreVerb::Tail(table), read).await?;
        rows.retain(|row| !hidden.contains(&(row.entry.envelope_id, row.entry.seq)));
        rows.truncate(limit as usize);
        Ok(rows)
    }
} }

with_faults! { Maintenance {
    StoreVerb::Waiting => waiting(tables: &[TableRef]) -> Vec<Waiting>;
    StoreVerb::Unpaid => unpaid(
        table: TableRef, created_before: Timestamp, after: Option<EnvelopeId>, limit: u32
    ) -> Vec<Envelope>;
    StoreVerb::Cancelled => cancelled(
        table: TableRef, created_before: Timestamp, after: Option<EnvelopeId>, limit: u32
    ) -> Vec<EnvelopeId>;
    StoreVerb::Purge => purge(table: TableRef, envelopes: &[EnvelopeId]) -> u64;
    StoreVerb::Expired => expired(
        table: TableRef, now: Timestamp, after: Option<(Timestamp, EnvelopeId)>, limit: u32
    ) -> Vec<(Envelope, Journal)>;
} }

with_faults! { Rotation {
    StoreVerb::Rotate => rotate(through: Date) -> Rotated;
    StoreVerb::Look => look() -> ();
} }

with_faults! { Sealing {
    StoreVerb::IsQuiet(table) => is_quiet(table: TableRef) -> bool;
    StoreVerb::Close(table) => close(table: TableRef) -> Option<Closed>;
    StoreVerb::Closing => closing(table: TableRef) -> Option<Closed>;
    StoreVerb::Reopen => reopen(closed: Closed) -> ();
    StoreVerb::Seal => seal(closed: Closed, manifest: &Manifest) -> Seal;
    StoreVerb::Outline => outline(table: TableRef) -> Option<Outline>;
    StoreVerb::Manifests => manifests(database: u8, after: u64, limit: u32) -> Vec<ManifestRow>;
    StoreVerb::LastManifest => last_manifest(database: u8) -> Option<StoredManifest>;
} }

with_faults! { Exporting {
    StoreVerb::Manifest => manifest(table: TableRef) -> Option<StoredManifest>;
    StoreVerb::Exported => exported(table: TableRef) -> Option<Exported>;
    StoreVerb::NoteExported => note_exported(manifest: &Manifest, file: &ArchivedFile) -> bool;
    StoreVerb::DropExported => drop_exported(table: TableRef) -> bool;
} and {
    fn archive(&self) -> Option<Arc<dyn Archive>> {
        self.inner.now().archive()
    }
    fn sealed_tables(&self) -> Vec<TableRef> {
        self.inner.now().sealed_tables()
    }
    fn exported_tables(&self) -> Vec<TableRef> {
        self.inner.now().exported_tables()
    }
    fn is_exported(&self, table: TableRef) -> bool {
        self.inner.now().is_exported(table)
    }
    async fn is_in_database(&self, table: TableRef) -> Result<bool, StoreError> {
        self.inner.now().is_in_database(table).await
    }
} }

with_faults! { Scans {
    StoreVerb::Scan(table, after) => scan(
        table: TableRef, after: Option<EnvelopeId>, limit: u32
    ) -> Vec<(Envelope, u32)>;
    StoreVerb::CountPending => count_pending(
        table: TableRef, stage: Stage, after: Option<EnvelopeId>, limit: u32
    ) -> PendingPage;
    StoreVerb::ScanEntries(table, after, until) => scan_entries(
        table: TableRef, after: Option<EnvelopeId>, until: EnvelopeId, limit: u32
    ) -> Vec<Entry>;
} }
