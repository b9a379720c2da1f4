//! A SET that has left as a store: it can be read, and takes nothing.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::manifest::Manifest;
use hongbao_core::{Date, Entry, Envelope, EnvelopeId, Journal, Opened, Stage, Timestamp, UserId};
use hongbao_database::{Barrier, DatabaseError, Durability, Generations};

use super::LeftStore;
use crate::exported::{self, ExportedSource as _};
use crate::{
    Append, Archive, ArchivedFile, Closed, Creation, Crediting, Exported, Exporting, Journals, Maintenance,
    ManifestRow, Outline, PendingPage, Rotated, Rotation, Scans, Seal, Sealing, Settlement, Store, StoreError,
    StoredManifest, TailEntry, Waiting,
};

impl Store for LeftStore {
    fn table_of(&self, id: EnvelopeId) -> TableRef {
        self.table_for(id)
    }

    fn may_lie_in(&self, table: TableRef, id: EnvelopeId) -> bool {
        self.table_for(id) == table
    }

    fn tables(&self) -> Vec<TableRef> {
        self.known_where(|archived| archived.file.is_none()).into_iter().collect()
    }

    fn unsealed_tables(&self) -> Vec<TableRef> {
        Vec::new()
    }

    fn writer_of(&self, _: u8) -> Option<u8> {
        None
    }

    fn durability(&self) -> Durability {
        Durability { settings: "files that do not change".to_owned(), full: true }
    }
}

/// Files do not change.
#[async_trait]
impl Barrier for LeftStore {
    fn generations(&self) -> Generations {
        Generations(Vec::new())
    }

    async fn barrier(&self, _since: &Generations) -> Result<bool, DatabaseError> {
        Ok(true)
    }
}

#[async_trait]
impl Journals for LeftStore {
    async fn load(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
        self.find(id, |envelope, journal| (envelope.clone(), exported::fold(envelope, journal))).await
    }

    async fn load_for(
        &self,
        id: EnvelopeId,
        user: &UserId,
    ) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
        let read = |envelope: &Envelope, journal: &[Entry]| {
            (envelope.clone(), exported::fold(envelope, journal), exported::opened_by(journal, user))
        };
        self.find(id, read).await
    }

    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
        Ok(self.find(id, |_, journal| exported::page(journal, after_seq, limit)).await?.unwrap_or_default())
    }

    async fn append(&self, _: &[Entry]) -> Result<Append, StoreError> {
        Err(self.has_left())
    }
}

#[async_trait]
impl Scans for LeftStore {
    async fn scan(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<(Envelope, u32)>, StoreError> {
        match self.is_exported(table) {
            true => exported::scan(self, table, after, limit).await,
            false => Ok(Vec::new()),
        }
    }

    async fn count_pending(
        &self,
        _: TableRef,
        _: Stage,
        _: Option<EnvelopeId>,
        _: u32,
    ) -> Result<PendingPage, StoreError> {
        Ok(PendingPage::default())
    }

    async fn scan_entries(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        until: EnvelopeId,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        match self.is_exported(table) {
            true => exported::scan_entries(self, table, after, until, limit).await,
            false => Ok(Vec::new()),
        }
    }
}

#[async_trait]
impl Sealing for LeftStore {
    async fn is_quiet(&self, _: TableRef) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn close(&self, _: TableRef) -> Result<Option<Closed>, StoreError> {
        Ok(None)
    }

    async fn closing(&self, _: TableRef) -> Result<Option<Closed>, StoreError> {
        Ok(None)
    }

    async fn reopen(&self, _: Closed) -> Result<(), StoreError> {
        Err(self.has_left())
    }

    async fn seal(&self, _: Closed, _: &Manifest) -> Result<Seal, StoreError> {
        Err(self.has_left())
    }

    async fn outline(&self, table: TableRef) -> Result<Option<Outline>, StoreError> {
        match self.is_exported(table) {
            true => exported::outline(self, table).await.map(Some),
            false => Ok(Some(Outline { is_quiet: true, ends: None, has_entries: false })),
        }
    }

    async fn manifests(&self, database: u8, after: u64, limit: u32) -> Result<Vec<ManifestRow>, StoreError> {
        let tables = self.tables().await?;
        let behind = tables.chains.get(&database).into_iter().flatten().filter(|row| row.manifest.number > after);
        let row =
            |stored: &StoredManifest| ManifestRow { number: stored.manifest.number, manifest: Ok(stored.clone()) };
        Ok(behind.take(limit as usize).map(row).collect())
    }

    async fn last_manifest(&self, database: u8) -> Result<Option<StoredManifest>, StoreError> {
        Ok(self.tables().await?.chains.get(&database).and_then(|chain| chain.last().cloned()))
    }
}

#[async_trait]
impl Exporting for LeftStore {
    fn archive(&self) -> Option<Arc<dyn Archive>> {
        self.reads.archive()
    }

    fn sealed_tables(&self) -> Vec<TableRef> {
        Vec::new()
    }

    fn exported_tables(&self) -> Vec<TableRef> {
        self.known_where(|archived| archived.file.is_some()).into_iter().collect()
    }

    fn is_exported(&self, table: TableRef) -> bool {
        self.known().is_some_and(|tables| tables.by_table.get(&table).is_some_and(|archived| archived.file.is_some()))
    }

    async fn is_in_database(&self, _: TableRef) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn manifest(&self, table: TableRef) -> Result<Option<StoredManifest>, StoreError> {
        Ok(self.tables().await?.by_table.get(&table).map(|archived| archived.stored.clone()))
    }

    async fn exported(&self, table: TableRef) -> Result<Option<Exported>, StoreError> {
        self.exported_as(table).await
    }

    async fn note_exported(&self, _: &Manifest, _: &ArchivedFile) -> Result<bool, StoreError> {
        Err(self.has_left())
    }

    async fn drop_exported(&self, _: TableRef) -> Result<bool, StoreError> {
        Err(self.has_left())
    }
}

#[async_trait]
impl Rotation for LeftStore {
    async fn rotate(&self, _: Date) -> Result<Rotated, StoreError> {
        Err(self.has_left())
    }

    /// Reads the chains, unless they were read.
    async fn look(&self) -> Result<(), StoreError> {
        self.tables().await.map(|_| ())
    }
}

#[async_trait]
impl Creation for LeftStore {
    async fn create(&self, _: &[Envelope]) -> Result<(), StoreError> {
        Err(self.has_left())
    }

    async fn activate(&self, _: EnvelopeId, _: Timestamp) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
        Err(self.has_left())
    }

    async fn cancel(&self, _: EnvelopeId) -> Result<Option<Stage>, StoreError> {
        Err(self.has_left())
    }
}

#[async_trait]
impl Crediting for LeftStore {
    async fn tail(&self, _: TableRef, _: i64, _: u32) -> Result<Vec<TailEntry>, StoreError> {
        Ok(Vec::new())
    }

    async fn tail_position(&self, _: TableRef) -> Result<i64, StoreError> {
        Ok(0)
    }

    async fn tail_positions(&self, tables: &[TableRef]) -> Result<Vec<i64>, StoreError> {
        Ok(vec![0; tables.len()])
    }

    async fn unsettled(&self, _: TableRef, _: Option<EnvelopeId>, _: i64, _: u32) -> Result<Vec<Envelope>, StoreError> {
        Ok(Vec::new())
    }

    async fn settle(&self, _: &[Settlement]) -> Result<(), StoreError> {
        Err(self.has_left())
    }
}

#[async_trait]
impl Maintenance for LeftStore {
    async fn waiting(&self, tables: &[TableRef]) -> Result<Vec<Waiting>, StoreError> {
        Ok(vec![Waiting::default(); tables.len()])
    }

    async fn unpaid(
        &self,
        _: TableRef,
        _: Timestamp,
        _: Option<EnvelopeId>,
        _: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        Ok(Vec::new())
    }

    async fn cancelled(
        &self,
        _: TableRef,
        _: Timestamp,
        _: Option<EnvelopeId>,
        _: u32,
    ) -> Result<Vec<EnvelopeId>, StoreError> {
        Ok(Vec::new())
    }

    async fn purge(&self, _: TableRef, _: &[EnvelopeId]) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn expired(
        &self,
        _: TableRef,
        _: Timestamp,
        _: Option<(Timestamp, EnvelopeId)>,
        _: u32,
    ) -> Result<Vec<(Envelope, Journal)>, StoreError> {
        Ok(Vec::new())
    }
}
