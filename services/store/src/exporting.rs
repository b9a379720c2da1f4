//! The verbs by which a sealed table goes to an archive.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::manifest::{Hash, Manifest};

use crate::{Archive, ArchivedFile, StoreError, StoredManifest};

/// An exported table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The place of its manifest in the chain.
    pub number: u64,
    /// The hash of its manifest.
    pub manifest_hash: Hash,
    /// Where its rows are.
    pub file: ArchivedFile,
}

/// Sealed tables whose rows go to an archive.
///
/// A file is made, read back and compared with the manifest; then that is noted in the database, and
/// then the table is dropped. From the drop on, envelopes of the table are read from the file.
#[async_trait]
pub trait Exporting: Send + Sync {
    /// Where exported tables are read, if this process knows it.
    fn archive(&self) -> Option<Arc<dyn Archive>>;

    /// Sealed tables that are in the database, as far as this process knows.
    fn sealed_tables(&self) -> Vec<TableRef>;

    /// Exported tables, as far as this process knows.
    fn exported_tables(&self) -> Vec<TableRef>;

    /// Whether a table is among these.
    fn is_exported(&self, table: TableRef) -> bool;

    /// Whether an exported table is still in the database, as it says now.
    async fn is_in_database(&self, table: TableRef) -> Result<bool, StoreError>;

    /// The manifest of a table.
    async fn manifest(&self, table: TableRef) -> Result<Option<StoredManifest>, StoreError>;

    /// Where the rows of a table went.
    async fn exported(&self, table: TableRef) -> Result<Option<Exported>, StoreError>;

    /// Notes that the rows of the table of this manifest are in a file. False if nothing was written: another process
    /// has noted it, or the manifest is not in the database as it is here.
    async fn note_exported(&self, manifest: &Manifest, file: &ArchivedFile) -> Result<bool, StoreError>;

    /// Drops an exported table, whatever of it is there. False if statements use it.
    ///
    /// # Errors
    /// Also if the table was not noted as exported.
    async fn drop_exported(&self, table: TableRef) -> Result<bool, StoreError>;
}
