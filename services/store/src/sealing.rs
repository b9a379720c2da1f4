//! The verbs by which a table is sealed, and what they give.

use async_trait::async_trait;
use hongbao_core::EnvelopeId;
use hongbao_core::id::TableRef;
use hongbao_core::manifest::{Hash, Manifest};

use crate::StoreError;

/// A manifest, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// What it says.
    pub manifest: Manifest,
    /// The hash that was stored with it: [`Manifest::hash`], unless it was changed since.
    pub hash: Hash,
}

/// A row of the manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRow {
    /// Its place in the chain.
    pub number: u64,
    /// The manifest, or why it cannot be read.
    pub manifest: Result<StoredManifest, String>,
}

/// What a dated table shows of itself without its rows being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// No envelope waits for anything, as [`Sealing::is_quiet`] has it.
    pub is_quiet: bool,
    /// The least and the greatest id; `None` without envelopes.
    pub ends: Option<(EnvelopeId, EnvelopeId)>,
    /// Its journals have an entry.
    pub has_entries: bool,
}

/// A dated table that is closed: no row comes into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The table.
    pub table: TableRef,
    /// This closing, unlike those before it that were taken back.
    pub(crate) number: i64,
}

/// What became of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// It is durable.
    Done,
    /// Nothing was written: its place in the chain is another one's, or the closing was taken back.
    Fenced,
}

/// Tables that never change any more, each with its manifest.
///
/// A dated table is closed, then read, then sealed. From its closing on the database refuses
/// every row for it, so what is read is what is sealed, whatever other processes do meanwhile.
#[async_trait]
pub trait Sealing: Send + Sync {
    /// Whether every envelope of a dated table may be closed: none waits for a payment,
    /// a credit or its removal. The answer costs no more for a table with more rows.
    async fn is_quiet(&self, table: TableRef) -> Result<bool, StoreError>;

    /// Closes a dated table, or finds it closed; `None` if it is sealed.
    async fn close(&self, table: TableRef) -> Result<Option<Closed>, StoreError>;

    /// The closing of a table that is closed and not sealed.
    async fn closing(&self, table: TableRef) -> Result<Option<Closed>, StoreError>;

    /// Takes a closing back, unless the table was sealed: it takes rows again.
    async fn reopen(&self, closed: Closed) -> Result<(), StoreError>;

    /// Writes the manifest of a closed table, which then is sealed.
    async fn seal(&self, closed: Closed, manifest: &Manifest) -> Result<Seal, StoreError>;

    /// What a dated table shows of itself; `None` if it, or the table of its journals, is not there, and was
    /// not exported. The answer costs no more for a table with more rows.
    async fn outline(&self, table: TableRef) -> Result<Option<Outline>, StoreError>;

    /// The manifests of a database after this place in the chain, in order. One that cannot be read hides no other.
    async fn manifests(&self, database: u8, after: u64, limit: u32) -> Result<Vec<ManifestRow>, StoreError>;

    /// The last of them.
    async fn last_manifest(&self, database: u8) -> Result<Option<StoredManifest>, StoreError>;
}
