//! What the files of one database look like on the disk, from outside of SQLite.
//!
//! SQLite goes on with the files that it has opened, wherever their names have
//! gone: a commit into a file that was removed succeeds, and is lost with the
//! process. So their names are looked up again, before and after each write.
//!
//! They are looked up and never opened: a process that closes any descriptor of a file
//! gives up all of its process' locks on it, SQLite's too, and another process
//! could then take away the write-ahead log of a database that is in use.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The files of a database in WAL mode: itself, the log, and the log's index,
/// which also holds the locks between processes.
const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];

/// What a name led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds of the last change of its content.
    modified: (i64, i64),
}

/// What the three names of a database led to at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen([Look; ENDINGS.len()]);

impl Seen {
    /// Looks all of them up. An error names the one that cannot be found, and why.
    pub fn take(path: &Path) -> Result<Seen, String> {
        let look = |ending| -> Result<Look, String> {
            let path = beside(path, ending);
            let found = std::fs::metadata(&path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => format!("{} was removed or renamed", path.display()),
                _ => format!("{} cannot be looked up: {error}", path.display()),
            })?;
            let modified = (found.mtime(), found.mtime_nsec());
            Ok(Look { device: found.dev(), inode: found.ino(), bytes: found.len(), modified })
        };
        let [database, log, index] = ENDINGS;
        Ok(Seen([look(database)?, look(log)?, look(index)?]))
    }

    /// Whether the names still lead to the same files, and the database has not
    /// become shorter, which it never does by itself. An error names the file.
    pub fn same_files(&self, now: &Seen, path: &Path) -> Result<(), String> {
        for ((before, now), ending) in self.0.iter().zip(&now.0).zip(ENDINGS) {
            if (before.device, before.inode) != (now.device, now.inode) {
                return Err(format!("{} was replaced by another file", beside(path, ending).display()));
            }
        }
        if now.0[0].bytes < self.0[0].bytes {
            return Err(truncated(path, "", &self.0[0], &now.0[0]));
        }
        Ok(())
    }

    /// Whether the database and its log are as they were. An error names the file.
    pub fn same_content(&self, now: &Seen, path: &Path) -> Result<(), String> {
        for ((before, now), ending) in self.0.iter().zip(&now.0).zip(ENDINGS).take(2) {
            if now.bytes < before.bytes {
                return Err(truncated(path, ending, before, now));
            }
            if (before.bytes, before.modified) != (now.bytes, now.modified) {
                return Err(format!("{} was written by another program", beside(path, ending).display()));
            }
        }
        Ok(())
    }
}

fn truncated(path: &Path, ending: &str, before: &Look, now: &Look) -> String {
    let path = beside(path, ending);
    format!("{} was truncated from {} to {} bytes", path.display(), before.bytes, now.bytes)
}

/// The name of the file that SQLite keeps beside a database.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
