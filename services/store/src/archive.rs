//! The port of an archive: files of rows, one for each exported table.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::manifest::{Hash, Manifest};
use hongbao_core::{Entry, Envelope, EnvelopeId};

use crate::{StoreError, StoredManifest};

/// Envelopes in the order of their ids, each with its whole journal.
pub type Rows = Vec<(Envelope, Vec<Entry>)>;

/// A file of an archive, and by what it is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedFile {
    /// Its name within the archive.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The hash of all of it.
    pub sha256: Hash,
    /// The size of its last part, which says where everything else in it lies.
    pub footer_bytes: u64,
    /// The hash of that.
    pub footer_sha256: Hash,
}

/// A sealed table, without its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Its manifest.
    pub stored: StoredManifest,
    /// The file that has its rows; `None` for one without rows that was not exported.
    pub file: Option<ArchivedFile>,
}

/// Where files of exported tables are. What cannot be reached, or takes no file, is
/// [`StoreError::Unavailable`]; a file that is missing, or not what it should be, [`StoreError::Damaged`]; one that
/// a later version has made, [`StoreError::Unsupported`].
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// Begins the file of the table that this manifest is of.
    fn begin(&self, manifest: &Manifest) -> Result<Box<dyn NewFile>, StoreError>;

    /// Puts a file to its place, which is named after its bytes, unless one is there: none is ever overwritten. It is
    /// durable then. What is known of it is known from these bytes: what is in the place has to be
    /// [checked](Archive::check).
    async fn put(&self, manifest: &Manifest, file: Vec<u8>) -> Result<ArchivedFile, StoreError>;

    /// Puts a copy of the manifest beside the file, so that the file can be checked without a database.
    async fn put_manifest(&self, manifest: &Manifest, file: &ArchivedFile) -> Result<(), StoreError>;

    /// Puts the chain of manifests of a database beside its files, each with the file of its table, for readers without
    /// the database. One that is there has to be its beginning.
    async fn put_chain(&self, database: u8, chain: &[Archived]) -> Result<(), StoreError>;

    /// The chain of a database, as it was put there.
    async fn chain(&self, database: u8) -> Result<Vec<Archived>, StoreError>;

    /// Reads all of a file, if it has the size that is known of it, and compares it with its hash.
    async fn check(&self, file: &ArchivedFile) -> Result<(), StoreError>;

    /// Opens a file to read single envelopes: reads its footer. It has to be that of the manifest with this hash.
    async fn open(&self, file: &ArchivedFile, manifest_hash: Hash) -> Result<Arc<dyn TableFile>, StoreError>;
}

/// A file that is being made, in memory.
#[async_trait]
pub trait NewFile: Send + Sync {
    /// Adds the next envelope with its whole journal.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] when the file becomes larger than one may be.
    async fn add(&mut self, envelope: Envelope, journal: Vec<Entry>) -> Result<(), StoreError>;

    /// Ends the file and gives its bytes.
    ///
    /// # Errors
    /// As [`NewFile::add`].
    async fn finish(self: Box<Self>) -> Result<Vec<u8>, StoreError>;
}

/// An open file of an exported table. Whatever is read of it was compared with its hash first.
#[async_trait]
pub trait TableFile: Send + Sync {
    /// The first and the last id of each part, in order; a part is read at once.
    fn parts(&self) -> &[(EnvelopeId, EnvelopeId)];

    /// All entries of the table.
    fn entries(&self) -> u64;

    /// The ids of a part, in order: a small piece of it.
    async fn ids(&self, number: usize) -> Result<Vec<EnvelopeId>, StoreError>;

    /// The rows of a part.
    async fn part(&self, number: usize) -> Result<Rows, StoreError>;
}
