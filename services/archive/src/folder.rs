//! Files in a folder by their names, on the thread that calls: one that may wait as long as the file system does.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path as Place, PathBuf};

use bytes::Bytes;
use futures_util::FutureExt as _;
use hongbao_core::limits::{ARCHIVE_ID_CHARS_MAX, EXPORT_READ_BYTES_MAX};
use hongbao_core::manifest::Hash;
use hongbao_store::StoreError;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions};
use sha2::{Digest as _, Sha256};

use crate::about::damaged;

/// The file by which an archive is known; the operator has put it there.
const MARK: &str = "hongbao-archive";

/// See the module.
#[derive(Clone)]
pub struct Folder {
    pub path: PathBuf,
    /// What its mark says, unless any folder will do.
    pub id: Option<String>,
}

impl Folder {
    /// Whether this is the archive, and not the mount point of its disk, or a folder of that name on another host. What
    /// is read is compared with its hash; but what is put into another folder is lost, and what is not there says
    /// nothing.
    fn is_the_archive(&self) -> Result<(), StoreError> {
        let Some(id) = &self.id else {
            return if self.path.is_dir() { Ok(()) } else { Err(unavailable(&self.path, &"it is not there")) };
        };
        let unmarked = |error| unavailable(&self.path, &format!("it has no file {MARK} that can be read: {error}"));
        let (mut found, file) = (String::new(), File::open(self.path.join(MARK)).map_err(unmarked)?);
        file.take(ARCHIVE_ID_CHARS_MAX as u64 + 2).read_to_string(&mut found).map_err(unmarked)?;
        match found.trim_end() {
            same if same == id => Ok(()),
            other => Err(unavailable(&self.path, &format!("it is another archive, {other:?} and not {id:?}"))),
        }
    }

    /// The files as they can be used now: the folder may have gone since, and come back.
    fn files(&self) -> Result<LocalFileSystem, StoreError> {
        let files = LocalFileSystem::new_with_prefix(&self.path).map_err(|error| unavailable(&self.path, &error))?;
        // Without it a file that was put might be empty after the power went.
        Ok(files.with_fsync(true))
    }

    /// Some bytes of a file, all of which have to be there.
    pub fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let (files, path_of, wanted) = (self.files()?, of(path)?, range.end - range.start);
        let bytes = in_the_call(files.get_range(&path_of, range)).map_err(|error| self.unread(path, error))?;
        match bytes.len() as u64 == wanted {
            true => Ok(bytes),
            false => Err(damaged(path, "it is shorter than it was")),
        }
    }

    /// A whole file, if it is not larger than this.
    pub fn read_all(&self, path: &str, bytes_max: u64) -> Result<Bytes, StoreError> {
        match self.bytes(path)? {
            bytes if bytes <= bytes_max => self.read(path, 0..bytes),
            bytes => Err(damaged(path, format!("it has {bytes} bytes, and {bytes_max} at most if it is sound"))),
        }
    }

    /// The hash of a whole file that has so many bytes; few of them are in memory at once.
    pub fn sha256(&self, path: &str, bytes: u64) -> Result<Hash, StoreError> {
        self.is_the_archive()?;
        let found = self.bytes(path)?;
        if found != bytes {
            return Err(damaged(path, format!("it has {found} bytes, exported were {bytes}")));
        }
        let (mut hash, mut from) = (Sha256::new(), 0);
        while from < bytes {
            let until = bytes.min(from + EXPORT_READ_BYTES_MAX);
            hash.update(self.read(path, from..until)?);
            from = until;
        }
        Ok(hash.finalize().into())
    }

    fn bytes(&self, path: &str) -> Result<u64, StoreError> {
        let (files, path_of) = (self.files()?, of(path)?);
        in_the_call(files.head(&path_of)).map(|meta| meta.size).map_err(|error| self.unread(path, error))
    }

    /// Whether there is a file.
    pub fn is_there(&self, path: &str) -> Result<bool, StoreError> {
        let (files, path_of) = (self.files()?, of(path)?);
        match in_the_call(files.head(&path_of)) {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Puts a file. It is durable then, also one that was there before.
    pub fn put(&self, mode: PutMode, path: &str, file: Vec<u8>) -> Result<(), StoreError> {
        self.is_the_archive()?;
        let (files, path_of) = (self.files()?, of(path)?);
        let options = PutOptions { mode, ..PutOptions::default() };
        match in_the_call(files.put_opts(&path_of, file.into(), options)) {
            Ok(_) | Err(Error::AlreadyExists { .. }) => self.sync(path),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Makes a file that can be seen durable, with the folders that lead to it: the process that put it there may have
    /// died before, and folders that are made on the way are not synced by the library.
    fn sync(&self, path: &str) -> Result<(), StoreError> {
        let file = self.path.join(path);
        let mut within = file.ancestors().take_while(|place| place.starts_with(&self.path));
        let done = within.try_for_each(|place| File::open(place)?.sync_all());
        done.map_err(|error| unavailable(&self.path, &format!("{path} cannot be synced: {error}")))
    }

    /// A folder that has gone says of each of its files that it is not there.
    fn unread(&self, path: &str, error: Error) -> StoreError {
        match error {
            Error::NotFound { .. } => match self.is_the_archive() {
                Ok(()) => damaged(path, "it is not there"),
                Err(absent) => absent,
            },
            error if error.to_string().contains("Requested range") => damaged(path, "it is shorter than it was"),
            error => self.failed(&error),
        }
    }

    fn failed(&self, error: &Error) -> StoreError {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            if !reason.contains(&cause.to_string()) {
                reason.push_str(&format!(": {cause}"));
            }
            source = cause.source();
        }
        unavailable(&self.path, &reason)
    }
}

/// The library gives what it does with a folder to other threads, but only inside of a runtime.
fn in_the_call<T>(done: impl Future<Output = T>) -> T {
    done.now_or_never().expect("outside of a runtime the library does it in the call")
}

fn of(path: &str) -> Result<Path, StoreError> {
    Path::parse(path).map_err(|error| damaged(path, error))
}

/// The error of a folder that cannot be used.
pub fn unavailable(folder: &Place, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("the archive {}: {reason}", folder.display()))
}
