//! Files by their names, within some time, and few at once.
//!
//! What is done with a file in a bucket is dropped when its time is over, with its connection; it never keeps a thread.
//! What is done with one in a folder keeps its thread, see `threads`.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hongbao_core::limits::{
    EXPORT_ANSWER_BYTES_MAX, EXPORT_ANSWER_WITHIN, EXPORT_FILE_WITHIN, EXPORT_READ_BYTES_MAX, EXPORT_READ_WITHIN,
};
use hongbao_core::manifest::Hash;
use hongbao_store::StoreError;
use object_store::PutMode;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::about::damaged;
use crate::files::{Files, unavailable};
use crate::folder::in_the_call;
use crate::location::Location;
use crate::threads::{Threads, compute};

/// Files by their names.
pub struct Objects {
    /// The archive, as errors name it.
    name: String,
    place: Place,
}

enum Place {
    Folder { path: PathBuf, id: Option<String>, threads: Arc<Threads> },
    Bucket { files: Files, turns: Arc<Semaphore> },
}

impl Objects {
    /// Those in this place, which is looked at when it is used, if it is the archive of this id.
    pub fn at(location: Location, id: Option<&str>) -> Objects {
        let id = id.map(str::to_owned);
        match location {
            Location::Folder(path) => {
                let (name, threads) = (path.display().to_string(), Threads::of(&path));
                Objects { name, place: Place::Folder { path, id, threads } }
            }
            Location::Bucket(bucket) => {
                let (name, turns) = (bucket.url().to_owned(), bucket.turns());
                let files = Files { name: name.clone(), store: bucket.store(), id, folder: None };
                Objects { name, place: Place::Bucket { files, turns } }
            }
        }
    }

    /// Some bytes of a file, all of which have to be there.
    pub async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let read = |files: Files, path: String| async move { files.read(&path, range).await };
        self.run(EXPORT_ANSWER_WITHIN, path, read).await
    }

    /// A whole file, if it is not larger than this, in parts: users wait for it, so no part may take longer than any
    /// other answer.
    pub async fn read_all(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let size = |files: Files, path: String| async move { files.bytes(&path).await };
        let bytes = self.run(EXPORT_ANSWER_WITHIN, path, size).await?;
        if bytes > bytes_max {
            return Err(damaged(path, format!("it has {bytes} bytes, and {bytes_max} at most if it is sound")));
        }
        let mut all = Vec::with_capacity(bytes as usize);
        while (all.len() as u64) < bytes {
            let from = all.len() as u64;
            all.extend_from_slice(&self.read(path, from..bytes.min(from + EXPORT_ANSWER_BYTES_MAX)).await?);
        }
        Ok(all)
    }

    /// The hash of a whole file that has so many bytes; few of them are in memory at once.
    pub async fn sha256(&self, path: &str, bytes: u64) -> Result<Hash, StoreError> {
        let hashed = timeout(EXPORT_FILE_WITHIN, self.sha256_in_time(path, bytes)).await;
        hashed.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn sha256_in_time(&self, path: &str, bytes: u64) -> Result<Hash, StoreError> {
        let size = |files: Files, path: String| async move {
            files.is_the_archive().await?;
            files.bytes(&path).await
        };
        let found = self.run(EXPORT_ANSWER_WITHIN, path, size).await?;
        if found != bytes {
            return Err(damaged(path, format!("it has {found} bytes, exported were {bytes}")));
        }
        let (mut hash, mut from) = (Sha256::new(), 0);
        while from < bytes {
            let some = from..bytes.min(from + EXPORT_READ_BYTES_MAX);
            from = some.end;
            let read = |files: Files, path: String| async move { files.read(&path, some).await };
            let read = self.run(EXPORT_READ_WITHIN, path, read).await?;
            hash = compute(move || Ok(hash.chain_update(read))).await?;
        }
        Ok(hash.finalize().into())
    }

    /// Whether there is a file.
    pub async fn is_there(&self, path: &str) -> Result<bool, StoreError> {
        let look = |files: Files, path: String| async move { files.is_there(&path).await };
        self.run(EXPORT_ANSWER_WITHIN, path, look).await
    }

    /// Puts a file, unless there is one.
    pub async fn put(&self, path: &str, file: Vec<u8>) -> Result<(), StoreError> {
        self.put_as(PutMode::Create, path, file).await
    }

    /// Puts a file, in the place of one that is there.
    pub async fn replace(&self, path: &str, file: Vec<u8>) -> Result<(), StoreError> {
        self.put_as(PutMode::Overwrite, path, file).await
    }

    async fn put_as(&self, mode: PutMode, path: &str, file: Vec<u8>) -> Result<(), StoreError> {
        let put = |files: Files, path: String| async move { files.put(mode, &path, file.into()).await };
        self.run(EXPORT_FILE_WITHIN, path, put).await
    }

    async fn run<T, Done>(
        &self,
        within: Duration,
        path: &str,
        work: impl FnOnce(Files, String) -> Done + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        Done: Future<Output = Result<T, StoreError>> + Send,
    {
        let path = path.to_owned();
        let done = match &self.place {
            Place::Folder { path: folder, id, threads } => {
                let (folder, id) = (folder.clone(), id.clone());
                threads.run(within, move || in_the_call(work(Files::in_folder(folder, id)?, path))).await
            }
            Place::Bucket { files, turns } => {
                let run = async {
                    let _turn = turns.acquire().await.ok()?;
                    Some(work(files.clone(), path).await)
                };
                timeout(within, run).await.ok().flatten()
            }
        };
        done.unwrap_or_else(|| Err(self.silent()))
    }

    fn silent(&self) -> StoreError {
        unavailable(&self.name, "it does not answer")
    }
}
