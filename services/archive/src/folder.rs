//! Files in a folder, on the thread that calls: one that may wait as long as the file system does.

use std::fs::File;
use std::path::Path;

use futures_util::FutureExt as _;
use object_store::local::LocalFileSystem;

/// The files as they can be used now: the folder may have gone since, and come back. An error is the reason.
pub fn open(folder: &Path) -> Result<LocalFileSystem, String> {
    if !folder.is_dir() {
        return Err("it is not there".to_owned());
    }
    let files = LocalFileSystem::new_with_prefix(folder).map_err(|error| error.to_string())?;
    // Without it a file that was put might be empty after the power went.
    Ok(files.with_fsync(true))
}

/// What is done with files of a folder. The library gives such work to other threads, but only inside of a runtime.
pub fn in_the_call<T>(done: impl Future<Output = T>) -> T {
    done.now_or_never().expect("outside of a runtime the library does it in the call")
}

/// Makes a file that can be seen durable, with the folders that lead to it: the process that put it there may have
/// died before, and folders that are made on the way are not synced by the library. An error is the reason.
pub fn sync(folder: &Path, path: &str) -> Result<(), String> {
    let file = folder.join(path);
    let mut within = file.ancestors().take_while(|place| place.starts_with(folder));
    let done = within.try_for_each(|place| File::open(place)?.sync_all());
    done.map_err(|error| format!("{path} cannot be synced: {error}"))
}
