//! The archive of a SET: where its files are, and what is put there and read.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::limits::EXPORT_FILE_BYTES_MAX;
use hongbao_core::manifest::{Hash, Manifest};
use hongbao_store::{Archive, Archived, ArchivedFile, NewFile, StoreError, StoredManifest, TableFile};
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use crate::about::{AboutTable, damaged, hex};
use crate::copy::{copies, copy, read_copies};
use crate::location::Location;
use crate::objects::Objects;
use crate::reader::{FileReader, check, footer_of};
use crate::threads::compute;
use crate::writer::FileWriter;

/// Digits of a file's hash in its name.
const HASH_DIGITS: usize = 16;
/// How the name of a file with rows ends.
const FILE_ENDING: &str = ".parquet";

/// The archive of the tables of one SET.
pub struct FileArchive {
    objects: Arc<Objects>,
    set: String,
    database_suffix: String,
}

impl FileArchive {
    /// That of a SET, whose databases are called `db_07` with this suffix. The location is looked at when it is used; it
    /// has to be the archive of this id, if one is given.
    pub fn new(location: Location, id: Option<&str>, set: &str, database_suffix: &str) -> FileArchive {
        let (set, database_suffix) = (set.to_owned(), database_suffix.to_owned());
        FileArchive { objects: Arc::new(Objects::at(location, id)), set, database_suffix }
    }

    fn about(&self, manifest: &Manifest) -> AboutTable {
        let database = format!("db_{:02}{}", manifest.database, self.database_suffix);
        AboutTable::new(&self.set, database, manifest)
    }

    /// `a/db_07/20260217/envelope_3.0123456789abcdef.parquet`: what another version of the library makes of the same
    /// rows, or the rows of another history of the table, has another name, and is never looked at.
    fn path(&self, manifest: &Manifest, sha256: &Hash) -> String {
        let AboutTable { set, database, table, date, .. } = self.about(manifest);
        let digits = &hex(sha256)[..HASH_DIGITS];
        format!("{}/{database}/{date}/envelope_{table}.{digits}{FILE_ENDING}", Path::from(set))
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

    async fn put(&self, manifest: &Manifest, file: Vec<u8>) -> Result<ArchivedFile, StoreError> {
        let (file, bytes, sha256, footer) = compute(move || {
            let (sha256, footer) = (Sha256::digest(&file).into(), footer_of(&file)?);
            let bytes = file.len() as u64;
            Ok((file, bytes, sha256, footer))
        })
        .await?;
        let (footer_bytes, footer_sha256) = footer;
        let known = ArchivedFile { path: self.path(manifest, &sha256), bytes, sha256, footer_bytes, footer_sha256 };
        self.objects.put(&known.path, file).await?;
        Ok(known)
    }

    async fn put_manifest(&self, manifest: &Manifest, file: &ArchivedFile) -> Result<(), StoreError> {
        let stored = StoredManifest { manifest: manifest.clone(), hash: manifest.hash() };
        let stem = file.path.strip_suffix(FILE_ENDING).unwrap_or(&file.path);
        let (path, copy) = (format!("{stem}.manifest.json"), copy(self.about(manifest), &stored, Some(file)));
        self.objects.put(&path, copy.clone()).await?;
        match self.objects.read_all(&path, copy.len() as u64).await? == copy {
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
        let is_beginning =
            before.len() <= chain.len() && before.iter().zip(chain).all(|(was, is)| was.stored == is.stored);
        if !is_beginning {
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
        let json = self.objects.read_all(&path, EXPORT_FILE_BYTES_MAX as u64).await?;
        let name = format!("db_{database:02}{}", self.database_suffix);
        compute(move || read_copies(&path, &json, (database, &name))).await
    }

    async fn check(&self, file: &ArchivedFile) -> Result<(), StoreError> {
        let sha256 = self.objects.sha256(&file.path, file.bytes).await?;
        check(&file.path, &sha256, &file.sha256, "it")
    }

    async fn open(&self, file: &ArchivedFile, manifest_hash: Hash) -> Result<Arc<dyn TableFile>, StoreError> {
        let opened = FileReader::open(self.objects.clone(), file).await?;
        opened.check_manifest(manifest_hash)?;
        Ok(Arc::new(opened))
    }
}
