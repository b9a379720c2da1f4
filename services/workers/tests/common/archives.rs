//! An archive that does not take one table.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::manifest::{Hash, Manifest};
use hongbao_core::{Entry, Envelope};
use hongbao_store::{Archive, Archived, ArchivedFile, NewFile, StoreError, TableFile};

/// How it refuses the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its file becomes too large.
    TooLarge,
    /// To add a row of it panics.
    Panics,
    /// Its file cannot be put.
    NoRoom,
}

/// An archive that refuses one table, as long as one is named.
pub struct Refusing {
    inner: Arc<dyn Archive>,
    refused: Mutex<Option<(TableRef, Refusal)>>,
}

impl Refusing {
    /// One that takes each table.
    pub fn new(inner: Arc<dyn Archive>) -> Refusing {
        Refusing { inner, refused: Mutex::default() }
    }

    /// From now on it refuses this one.
    pub fn refuse(&self, refused: Option<(TableRef, Refusal)>) {
        *self.refused.lock().unwrap() = refused;
    }

    fn refusal(&self, manifest: &Manifest) -> Option<Refusal> {
        let refused = *self.refused.lock().unwrap();
        refused.filter(|(table, _)| *table == manifest.table_ref()).map(|(_, refusal)| refusal)
    }
}

/// A file of the refused table.
struct Refused(Refusal);

#[async_trait]
impl NewFile for Refused {
    async fn add(&mut self, _: Envelope, _: Vec<Entry>) -> Result<(), StoreError> {
        match self.0 {
            Refusal::Panics => panic!("the test wants it"),
            _ => Err(StoreError::Unsupported("too large".to_owned())),
        }
    }

    async fn finish(self: Box<Self>) -> Result<Vec<u8>, StoreError> {
        Err(StoreError::Unsupported("too large".to_owned()))
    }
}

#[async_trait]
impl Archive for Refusing {
    fn begin(&self, manifest: &Manifest) -> Result<Box<dyn NewFile>, StoreError> {
        match self.refusal(manifest) {
            Some(refusal @ (Refusal::TooLarge | Refusal::Panics)) => Ok(Box::new(Refused(refusal))),
            _ => self.inner.begin(manifest),
        }
    }

    async fn put(&self, manifest: &Manifest, file: Vec<u8>) -> Result<ArchivedFile, StoreError> {
        match self.refusal(manifest) {
            Some(Refusal::NoRoom) => Err(StoreError::Unavailable("no room".to_owned())),
            _ => self.inner.put(manifest, file).await,
        }
    }

    async fn put_manifest(&self, manifest: &Manifest, file: &ArchivedFile) -> Result<(), StoreError> {
        self.inner.put_manifest(manifest, file).await
    }

    async fn put_chain(&self, database: u8, chain: &[Archived]) -> Result<(), StoreError> {
        self.inner.put_chain(database, chain).await
    }

    async fn chain(&self, database: u8) -> Result<Vec<Archived>, StoreError> {
        self.inner.chain(database).await
    }

    async fn check(&self, file: &ArchivedFile) -> Result<(), StoreError> {
        self.inner.check(file).await
    }

    async fn open(&self, file: &ArchivedFile, manifest_hash: Hash) -> Result<Arc<dyn TableFile>, StoreError> {
        self.inner.open(file, manifest_hash).await
    }
}
