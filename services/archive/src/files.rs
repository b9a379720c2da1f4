//! Files by their names, in a folder or a bucket: how they are read and put, and what it means that one is not there.

use std::error::Error as _;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use hongbao_core::limits::ARCHIVE_ID_CHARS_MAX;
use hongbao_store::StoreError;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};

use crate::about::damaged;
use crate::folder;

/// The file by which an archive is known; the operator has put it there.
const MARK: &str = "hongbao-archive";

/// See the module.
#[derive(Clone)]
pub struct Files {
    /// The archive, as errors name it.
    pub name: String,
    pub store: Arc<dyn ObjectStore>,
    /// What its mark says, unless any archive will do.
    pub id: Option<String>,
    /// The folder that the files are in; none if they are in a bucket.
    pub folder: Option<PathBuf>,
}

impl Files {
    /// Those in a folder, as it is now.
    pub fn in_folder(folder: PathBuf, id: Option<String>) -> Result<Files, StoreError> {
        let name = folder.display().to_string();
        let store = folder::open(&folder).map_err(|reason| unavailable(&name, &reason))?;
        Ok(Files { name, store: Arc::new(store), id, folder: Some(folder) })
    }

    /// Whether this is the archive, and not the mount point of its disk, or a folder or bucket of that name elsewhere.
    /// What is read is compared with its hash; but what is put into another one is lost, and what is not there says
    /// nothing.
    pub async fn is_the_archive(&self) -> Result<(), StoreError> {
        // A folder was opened, so it is there; a bucket is not known to be before something is read in it.
        if self.id.is_none() && self.folder.is_some() {
            return Ok(());
        }
        // Two bytes more than an id has, to tell a longer one.
        let some = 0..ARCHIVE_ID_CHARS_MAX as u64 + 2;
        let read = self.store.get_range(&Path::from(MARK), some).await.map_err(|error| {
            let reason = format!("it has no file {MARK} that can be read: {}", reason_of(&error));
            unavailable(&self.name, &reason)
        })?;
        let found = String::from_utf8_lossy(&read);
        match &self.id {
            Some(id) if found.trim_end() != id => {
                let reason = format!("it is another archive, {:?} and not {id:?}", found.trim_end());
                Err(unavailable(&self.name, &reason))
            }
            _ => Ok(()),
        }
    }

    /// Some bytes of a file, all of which have to be there.
    pub async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let (path_of, wanted) = (of(path)?, range.end - range.start);
        match self.store.get_range(&path_of, range).await {
            Ok(bytes) if bytes.len() as u64 == wanted => Ok(bytes),
            Ok(_) => Err(damaged(path, "it is shorter than it was")),
            Err(error) => Err(self.unread(path, error).await),
        }
    }

    /// How many bytes a file has.
    pub async fn bytes(&self, path: &str) -> Result<u64, StoreError> {
        match self.store.head(&of(path)?).await {
            Ok(meta) => Ok(meta.size),
            Err(error) => Err(self.unread(path, error).await),
        }
    }

    /// Whether there is a file.
    pub async fn is_there(&self, path: &str) -> Result<bool, StoreError> {
        match self.store.head(&of(path)?).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(unavailable(&self.name, &reason_of(&error))),
        }
    }

    /// Puts a file. It is durable then, also one that was there before.
    pub async fn put(&self, mode: PutMode, path: &str, file: Bytes) -> Result<(), StoreError> {
        self.is_the_archive().await?;
        let is_first = mode == PutMode::Create;
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.store.put_opts(&of(path)?, file.into(), options).await {
            Ok(_) => {}
            // S3 says the same while another one puts it, which may come to nothing.
            Err(Error::AlreadyExists { .. }) if is_first && self.is_there(path).await? => {}
            Err(error) => return Err(unavailable(&self.name, &reason_of(&error))),
        }
        match &self.folder {
            Some(folder) => folder::sync(folder, path).map_err(|reason| unavailable(&self.name, &reason)),
            None => Ok(()),
        }
    }

    /// An archive that is another one, or has gone, says of each of its files that it is not there.
    async fn unread(&self, path: &str, error: Error) -> StoreError {
        let reason = reason_of(&error);
        match error {
            Error::NotFound { .. } => match self.is_the_archive().await {
                Ok(()) => damaged(path, "it is not there"),
                Err(absent) => absent,
            },
            // The words of a folder, and the status of S3, for a range that begins behind the end.
            _ if reason.contains("Requested range") || reason.contains("416 Range Not Satisfiable") => {
                damaged(path, "it is shorter than it was")
            }
            _ => unavailable(&self.name, &reason),
        }
    }
}

/// An error with its causes, each of them once.
pub fn reason_of(error: &Error) -> String {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if !reason.contains(&cause.to_string()) {
            reason.push_str(&format!(": {cause}"));
        }
        source = cause.source();
    }
    reason
}

fn of(path: &str) -> Result<Path, StoreError> {
    Path::parse(path).map_err(|error| damaged(path, error))
}

/// The error of an archive that cannot be used.
pub fn unavailable(name: &str, reason: &str) -> StoreError {
    StoreError::Unavailable(format!("the archive {name}: {reason}"))
}
