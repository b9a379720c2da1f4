//! Files by their names: put once, and read, within some time.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hongbao_core::limits::{EXPORT_ANSWER_WITHIN, EXPORT_FILE_WITHIN};
use hongbao_core::manifest::Hash;
use hongbao_store::StoreError;
use object_store::PutMode;

use crate::folder::{Folder, unavailable};
use crate::location::Location;
use crate::threads::Threads;

/// Files by their names.
pub struct Objects {
    folder: Folder,
    threads: Arc<Threads>,
}

impl Objects {
    /// Those in this place, which is looked at when it is used, if it is the archive of this id.
    pub fn at(location: Location, id: Option<&str>) -> Objects {
        let Location::Folder(path) = location;
        Objects { threads: Threads::of(&path), folder: Folder { path, id: id.map(str::to_owned) } }
    }

    /// Some bytes of a file, all of which have to be there.
    pub async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(EXPORT_ANSWER_WITHIN, path, move |folder, path| folder.read(path, range)).await
    }

    /// A whole file, if it is not larger than this.
    pub async fn read_all(&self, path: &str, bytes_max: u64) -> Result<Bytes, StoreError> {
        self.run(EXPORT_FILE_WITHIN, path, move |folder, path| folder.read_all(path, bytes_max)).await
    }

    /// The hash of a whole file that has so many bytes.
    pub async fn sha256(&self, path: &str, bytes: u64) -> Result<Hash, StoreError> {
        self.run(EXPORT_FILE_WITHIN, path, move |folder, path| folder.sha256(path, bytes)).await
    }

    /// Whether there is a file.
    pub async fn is_there(&self, path: &str) -> Result<bool, StoreError> {
        self.run(EXPORT_ANSWER_WITHIN, path, Folder::is_there).await
    }

    /// Puts a file, unless there is one.
    pub async fn put(&self, path: &str, file: Vec<u8>) -> Result<(), StoreError> {
        self.run(EXPORT_FILE_WITHIN, path, move |folder, path| folder.put(PutMode::Create, path, file)).await
    }

    /// Puts a file, in the place of one that is there.
    pub async fn replace(&self, path: &str, file: Vec<u8>) -> Result<(), StoreError> {
        self.run(EXPORT_FILE_WITHIN, path, move |folder, path| folder.put(PutMode::Overwrite, path, file)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        within: Duration,
        path: &str,
        work: impl FnOnce(&Folder, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (folder, path) = (self.folder.clone(), path.to_owned());
        let done = self.threads.run(within, move || work(&folder, &path)).await;
        done.unwrap_or_else(|| Err(unavailable(&self.folder.path, &"it does not answer")))
    }
}
