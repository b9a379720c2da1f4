//! Files in a folder by their names: put once, and read.

use std::fs::File;
use std::ops::Range;
use std::path::Path as Folder;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hongbao_core::limits::EXPORT_FILE_WITHIN;
use hongbao_store::StoreError;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use tokio::time::timeout;

use crate::about::damaged;
use crate::location::Location;

/// Files by their names.
pub struct Objects {
    location: Location,
}

impl Objects {
    /// Those in this place, which is looked at when it is used.
    pub fn at(location: Location) -> Objects {
        Objects { location }
    }

    /// The files as they can be used now: a folder may have gone since, and come back.
    fn now(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let Location::Folder(folder) = &self.location;
        let unusable = |error: &dyn std::fmt::Display| unavailable(folder, error);
        let files = LocalFileSystem::new_with_prefix(folder).map_err(|error| unusable(&error))?;
        // Without it a file that was put might be empty after the power went.
        Ok(Arc::new(files.with_fsync(true)))
    }

    /// Some bytes of a file, all of which have to be there.
    pub async fn read(&self, path: &str, range: Range<u64>, within: Duration) -> Result<Bytes, StoreError> {
        let wanted = range.end - range.start;
        let files = self.now()?;
        let read = timeout(within, files.get_range(&of(path)?, range)).await;
        let bytes = read.map_err(|_| self.silent())?.map_err(|error| self.unread(path, error))?;
        match bytes.len() as u64 == wanted {
            true => Ok(bytes),
            false => Err(damaged(path, "it is shorter than it was")),
        }
    }

    /// A whole file.
    pub async fn read_all(&self, path: &str) -> Result<Bytes, StoreError> {
        let (files, path_of) = (self.now()?, of(path)?);
        let read = async { files.get(&path_of).await?.bytes().await };
        timeout(EXPORT_FILE_WITHIN, read).await.map_err(|_| self.silent())?.map_err(|error| self.unread(path, error))
    }

    /// Whether there is a file.
    pub async fn is_there(&self, path: &str) -> Result<bool, StoreError> {
        let (files, path_of) = (self.now()?, of(path)?);
        match timeout(EXPORT_FILE_WITHIN, files.head(&path_of)).await.map_err(|_| self.silent())? {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Puts a file, unless there is one.
    pub async fn put(&self, path: &str, file: Vec<u8>) -> Result<(), StoreError> {
        self.put_by(PutMode::Create, path, file).await
    }

    /// Puts a file, in the place of one that is there.
    pub async fn replace(&self, path: &str, file: Vec<u8>) -> Result<(), StoreError> {
        self.put_by(PutMode::Overwrite, path, file).await
    }

    async fn put_by(&self, mode: PutMode, path: &str, file: Vec<u8>) -> Result<(), StoreError> {
        let files = self.now()?;
        let options = PutOptions { mode, ..PutOptions::default() };
        let path_of = of(path)?;
        let put = files.put_opts(&path_of, file.into(), options);
        match timeout(EXPORT_FILE_WITHIN, put).await.map_err(|_| self.silent())? {
            Ok(_) | Err(Error::AlreadyExists { .. }) => self.sync(path).await,
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Makes a file that can be seen durable, with the folders that lead to it: the process that put it there may have
    /// died before, and folders that are made on the way are not synced by the library.
    async fn sync(&self, path: &str) -> Result<(), StoreError> {
        let Location::Folder(folder) = &self.location;
        let (root, file) = (folder.clone(), folder.join(path));
        let syncing = tokio::task::spawn_blocking(move || {
            let within = file.ancestors().take_while(|place| place.starts_with(&root));
            within.into_iter().try_for_each(|place| File::open(place)?.sync_all())
        });
        let done = syncing.await.map_err(|error| unavailable(folder, &error))?;
        done.map_err(|error| unavailable(folder, &format!("{path} cannot be synced: {error}")))
    }

    /// A folder that has gone says of each of its files that it is not there.
    fn unread(&self, path: &str, error: Error) -> StoreError {
        let Location::Folder(folder) = &self.location;
        match error {
            Error::NotFound { .. } if folder.is_dir() => damaged(path, "it is not there"),
            error if error.to_string().contains("Requested range") => damaged(path, "it is shorter than it was"),
            error => self.failed(error),
        }
    }

    fn failed(&self, error: Error) -> StoreError {
        let Location::Folder(folder) = &self.location;
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            if !reason.contains(&cause.to_string()) {
                reason.push_str(&format!(": {cause}"));
            }
            source = cause.source();
        }
        unavailable(folder, &reason)
    }

    fn silent(&self) -> StoreError {
        let Location::Folder(folder) = &self.location;
        unavailable(folder, &"it does not answer")
    }
}

fn of(path: &str) -> Result<Path, StoreError> {
    Path::parse(path).map_err(|error| damaged(path, error))
}

fn unavailable(folder: &Folder, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("the archive {}: {reason}", folder.display()))
}
