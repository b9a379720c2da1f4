//! The archive of a SET: where its files are, and what is put there and read.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::manifest::{Hash, Manifest};
use hongbao_store::{Archive, Archived, ArchivedFile, NewFile, StoreError, StoredManifest, TableFile};
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use crate::about::{AboutTable, damaged};
use crate::copy::{copies, copy, read_copies};
use crate::location::Location;
use crate::objects::Objects;
use crate::reader::{FileReader, TAIL_BYTES, check};
use crate::threads::compute;
use crate::writer::FileWriter;

/// Digits of the manifest's hash in the name of a file: tables of a restored database that were sealed anew have other
/// files than those of before.
const HASH_DIGITS: usize = 16;

/// The archive of the tables of one SET.
pub struct FileArchive {
    objects: Arc<Objects>,
    set: String,
    database_suffix: String,
}

impl FileArchive {
    /// That of a SET, whose databases are called `db_07` with this suffix. The location is looked at when it is used.
    pub fn new(location: Location, set: &str, database_suffix: &str) -> FileArchive {
        let (set, database_suffix) = (set.to_owned(), database_suffix.to_owned());
        FileArchive { objects: Arc::new(Objects::at(location)), set, database_suffix }
    }

    fn about(&self, manifest: &Manifest) -> AboutTable {
        let database = format!("db_{:02}{}", manifest.database, self.database_suffix);
        AboutTable::new(&self.set, database, manifest)
    }

    /// The name without what says the kind of file: `a/db_07/20261126/envelope_3.0123456789abcdef`.
    fn stem(&self, manifest: &Manifest) -> String {
        let AboutTable { set, database, table, date, manifest_hash, .. } = self.about(manifest);
        format!("{}/{database}/{date}/envelope_{table}.{}", Path::from(set), &manifest_hash[..HASH_DIGITS])
    }

    fn path(&self, manifest: &Manifest) -> String {
        format!("{}.parquet", self.stem(manifest))
    }

    /// Where the chain of a database is when its SET has left: `a/db_07/manifests.json`.
    fn chain_path(&self, database: u8) -> String {
        format!("{}/db_{database:02}{}/manifests.json", Path::from(self.set.as_str()), self.database_suffix)
    }
}

#[async_trait]
impl Archive for FileArchive {
    fn begin(&self, manifest: &Manifest) -> Result<Box<dyn NewFile>, StoreError> {
        Ok(Box::new(FileWriter::new(self.about(manifest))?))
    }

    async fn put(&self, manifest: &Manifest, file: Vec<u8>) -> Result<(), StoreError> {
        self.objects.put(&self.path(manifest), file).await
    }

    async fn find(&self, manifest: &Manifest) -> Result<ArchivedFile, StoreError> {
        let path = self.path(manifest);
        let all = self.objects.read_all(&path).await?;
        compute(move || {
            let bytes = all.len() as u64;
            let length = bytes.checked_sub(TAIL_BYTES).map(|at| &all[at as usize..][..4]);
            let length =
                length.and_then(|length| length.try_into().ok()).map(|length| u64::from(u32::from_le_bytes(length)));
            let footer_bytes = length.map(|length| length + TAIL_BYTES).filter(|footer_bytes| *footer_bytes <= bytes);
            let footer_bytes = footer_bytes.ok_or_else(|| damaged(&path, "it is cut off, or no file of ours"))?;
            let hash = |from: u64| -> Hash { Sha256::digest(&all[from as usize..]).into() };
            Ok(ArchivedFile { path, bytes, sha256: hash(0), footer_bytes, footer_sha256: hash(bytes - footer_bytes) })
        })
        .await
    }

    async fn put_manifest(&self, manifest: &Manifest, file: &ArchivedFile) -> Result<(), StoreError> {
        let stored = StoredManifest { manifest: manifest.clone(), hash: manifest.hash() };
        let (path, copy) =
            (format!("{}.manifest.json", self.stem(manifest)), copy(self.about(manifest), &stored, Some(file)));
        self.objects.put(&path, copy.clone()).await?;
        match self.objects.read_all(&path).await? == copy {
            true => Ok(()),
            false => Err(damaged(&path, "the copy of its manifest is another one")),
        }
    }

    async fn put_chain(&self, database: u8, chain: &[Archived]) -> Result<(), StoreError> {
        let path = self.chain_path(database);
        let before = match self.objects.is_there(&path).await? {
            true => self.chain(database).await?,
            false => Vec::new(),
        };
        if !chain.starts_with(&before) {
            return Err(damaged(&path, "it is not the beginning of what is to be put there"));
        }
        let all: Vec<_> =
            chain.iter().map(|archived| (self.about(&archived.stored.manifest), archived.clone())).collect();
        let copies = compute(move || Ok(copies(&all))).await?;
        self.objects.replace(&path, copies).await?;
        match self.chain(database).await? == chain {
            true => Ok(()),
            false => Err(damaged(&path, "what is read of it is not what was put there")),
        }
    }

    async fn chain(&self, database: u8) -> Result<Vec<Archived>, StoreError> {
        let path = self.chain_path(database);
        let json = self.objects.read_all(&path).await?;
        compute(move || read_copies(&path, &json, database)).await
    }

    async fn check(&self, file: &ArchivedFile) -> Result<(), StoreError> {
        let (sha256, _) = self.objects.sha256(&file.path).await?;
        check(&file.path, &sha256, &file.sha256, "it")
    }

    async fn open(&self, file: &ArchivedFile, manifest_hash: Hash) -> Result<Arc<dyn TableFile>, StoreError> {
        let opened = FileReader::open(self.objects.clone(), file).await?;
        opened.check_manifest(manifest_hash)?;
        Ok(Arc::new(opened))
    }
}
