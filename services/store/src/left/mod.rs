//! A SET that has left: its envelopes are read from the archive, by the SETs that got its slots and by the audit.
//!
//! It has no database any more. What its databases said of their tables was put into the archive when it left: the
//! chain of manifests of each, with the file of each table.

mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hongbao_core::held::HeldSlots;
use hongbao_core::id::TableRef;
use hongbao_core::manifest::Chain;
use hongbao_core::{Date, Entry, Envelope, EnvelopeId};
use parking_lot::Mutex;

use crate::exported::{self, ExportedReads, ExportedSource};
use crate::{Archive, Archived, Exported, StoreError, StoredManifest};

/// What a SET that has left held, and where it is read.
pub struct LeftStore {
    name: String,
    held: HeldSlots,
    zone_offset_s: i32,
    reads: ExportedReads,
    /// Read once, when it is needed first.
    tables: Mutex<Option<Arc<LeftTables>>>,
}

/// The tables of a SET that has left.
#[derive(Default)]
struct LeftTables {
    by_table: BTreeMap<TableRef, Archived>,
    /// By database, in the order of the chain.
    chains: BTreeMap<u8, Vec<StoredManifest>>,
}

impl LeftStore {
    /// That of a SET that held this; nothing is read yet. Without an archive nothing of it can be.
    pub fn new(name: &str, held: HeldSlots, zone_offset_s: i32, archive: Option<Arc<dyn Archive>>) -> LeftStore {
        let reads = ExportedReads::default();
        if let Some(archive) = archive {
            reads.read_in(archive);
        }
        LeftStore { name: name.to_owned(), held, zone_offset_s, reads, tables: Mutex::default() }
    }

    /// Whether an envelope was this SET's.
    pub fn held(&self, id: EnvelopeId) -> bool {
        self.held.holds(id)
    }

    /// What was this SET's.
    pub fn held_slots(&self) -> &HeldSlots {
        &self.held
    }

    async fn find<T>(&self, id: EnvelopeId, read: impl Fn(&Envelope, &[Entry]) -> T) -> Result<Option<T>, StoreError> {
        let (tables, table) = (self.tables().await?, self.table_for(id));
        let may_have = |archived: &&Archived| {
            archived.stored.manifest.content.ends.is_some_and(|(first, last)| first <= id && id <= last)
        };
        match tables.by_table.get(&table).filter(may_have) {
            Some(_) => exported::find(self, table, id, read).await,
            None => Ok(None),
        }
    }

    /// The table that had an envelope.
    fn table_for(&self, id: EnvelopeId) -> TableRef {
        let placement = id.placement(self.zone_offset_s);
        let day_table = self.held.at(id.minted_at()).fold.table_of(placement);
        day_table.dated(Date::of(id.minted_at(), self.zone_offset_s))
    }

    async fn tables(&self) -> Result<Arc<LeftTables>, StoreError> {
        if let Some(tables) = self.known() {
            return Ok(tables);
        }
        let archive = self.reads.archive().ok_or_else(|| {
            StoreError::Unavailable(format!("SET {} has left, and no archive is configured ([archive])", self.name))
        })?;
        let mut tables = LeftTables::default();
        for database in self.held.databases() {
            let mut chain = Chain::default();
            for archived in archive.chain(database).await? {
                let StoredManifest { manifest, hash } = &archived.stored;
                if !chain.take(manifest, *hash).is_empty() {
                    let number = manifest.number;
                    let reason =
                        format!("of SET {} database {database:02} manifest {number} is not the next one", self.name);
                    return Err(StoreError::Damaged(reason));
                }
                tables.chains.entry(database).or_default().push(archived.stored.clone());
                tables.by_table.insert(archived.stored.manifest.table_ref(), archived);
            }
        }
        Ok(self.tables.lock().insert(Arc::new(tables)).clone())
    }

    fn known(&self) -> Option<Arc<LeftTables>> {
        self.tables.lock().clone()
    }

    /// The tables that were known last, of which `is_wanted`.
    fn known_where(&self, is_wanted: impl Fn(&Archived) -> bool) -> BTreeSet<TableRef> {
        let tables = self.known().unwrap_or_default();
        tables.by_table.iter().filter(|(_, archived)| is_wanted(archived)).map(|(table, _)| *table).collect()
    }

    /// Why it takes nothing.
    fn has_left(&self) -> StoreError {
        StoreError::Unavailable(format!("SET {} has left, and takes nothing", self.name))
    }
}

impl ExportedSource for LeftStore {
    fn exported_reads(&self) -> &ExportedReads {
        &self.reads
    }

    async fn exported_as(&self, table: TableRef) -> Result<Option<Exported>, StoreError> {
        let tables = self.tables().await?;
        let Some(Archived { stored, file: Some(file) }) = tables.by_table.get(&table) else { return Ok(None) };
        Ok(Some(Exported { number: stored.manifest.number, manifest_hash: stored.hash, file: file.clone() }))
    }
}
