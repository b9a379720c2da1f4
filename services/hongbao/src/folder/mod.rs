//! A folder of SQLite files: one process owns it, and its files belong together.
//!
//! Each file carries a mark, with the folder's id and how often it was started
//! ([`hongbao_database::sqlite::mark`]). The order of a start makes a stop at any
//! point harmless: the first file says that a start is under way, then every
//! other file takes part in it, then the first file says that all have.

mod agree;
mod watch;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::Traffic;
use hongbao_core::id::Fold;
use hongbao_core::limits::FOLDER_READ_TRIES;
use hongbao_database::sqlite::file::{Mode, SqliteFile};
use hongbao_database::sqlite::mark::{self, Found, Mark};
use hongbao_store::sqlite::{SqliteStore, file_name};
use hongbao_wallet::sqlite::{FILE as WALLET_FILE, SqliteWallet};

pub use self::agree::FolderState;
pub use self::watch::watch;

/// Where the files of the rehearsal are, in the folder of the real ones.
const SHADOW_FOLDER: &str = "shadow";
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Where the files of a kind of traffic are, of those in `data`.
pub fn folder_of(data: &Path, traffic: Traffic) -> PathBuf {
    match traffic {
        Traffic::Live => data.to_owned(),
        Traffic::Shadow => data.join(SHADOW_FOLDER),
    }
}

/// A folder that is ours, its files open and watched.
pub struct Folder {
    path: PathBuf,
    /// The envelopes.
    pub store: Arc<SqliteStore>,
    /// The ledger.
    pub wallet: Arc<SqliteWallet>,
    /// Given back by the system when this process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Opens the folder, and makes it if nothing is in it.
    ///
    /// # Errors
    /// For the operator: another process has it, or which file is missing,
    /// empty, another folder's, an old copy, or cannot be used.
    pub async fn open(path: &Path, fold: Fold, zone_offset_s: i32) -> Result<Folder, String> {
        let path = std::path::absolute(path).map_err(|error| named(path, &error))?;
        std::fs::create_dir_all(&path).map_err(|error| named(&path, &error))?;
        let lock = lock(&path)?;
        let names = names(fold);
        // A folder of another fold is refused by the store, whose message names the folds.
        if fold_agrees(&path, &names).await? {
            let found = find_all(&path, &names, true).await?;
            agree::check(&found).map_err(|reason| refused(&path, &reason))?;
        }
        let store = SqliteStore::open(&path, fold, zone_offset_s, Mode::Durable).await;
        let store = Arc::new(store.map_err(|error| error.to_string())?);
        let wallet = SqliteWallet::open(&path, Mode::Durable).await;
        let wallet = Arc::new(wallet.map_err(|error| error.to_string())?);
        let folder = Folder { path, store, wallet, _lock: lock };
        folder.start(names).await?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn files(&self) -> Vec<Arc<SqliteFile>> {
        self.store.files().iter().chain([self.wallet.file()]).cloned().collect()
    }

    /// Marks all files with a further start, and watches them from here on.
    async fn start(&self, names: Vec<String>) -> Result<(), String> {
        let files = self.files();
        let (first, others) = files.split_first().expect("a folder has a database and a wallet");
        let Found::Marked(found) = mark::find(first.path(), false).await? else {
            return Err(named(first.path(), &"it has no mark of its folder"));
        };
        // One that did not end is gone on with.
        let starts = if found.complete { found.starts + 1 } else { found.starts.max(1) };
        let whole = Mark { id: found.id, files: names, starts, complete: true };
        write(first, &Mark { complete: false, ..whole.clone() }).await?;
        for file in others {
            write(file, &whole).await?;
        }
        write(first, &whole).await?;
        for file in &files {
            file.watch().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Puts everything into the files themselves and closes them, so that copies
    /// of them alone are complete. To be called when they are not used any more.
    ///
    /// # Errors
    /// A message that names the files whose logs still hold something.
    pub async fn close(self) -> Result<(), String> {
        let mut failures = Vec::new();
        for file in self.files() {
            failures.extend(file.close().await.err());
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }
}

/// Opens a folder that another process may be serving, to read it.
///
/// # Errors
/// As [`Folder::open`]; nothing is made or taken over.
pub async fn open_to_read(path: &Path) -> Result<(SqliteStore, SqliteWallet), String> {
    check_to_read(path).await?;
    let store = SqliteStore::open_existing(path, Mode::ReadOnly).await.map_err(|error| error.to_string())?;
    let wallet = SqliteWallet::open(path, Mode::ReadOnly).await.map_err(|error| error.to_string())?;
    Ok((store, wallet))
}

/// The names of the files of a folder, which belong together.
///
/// # Errors
/// As [`open_to_read`].
pub async fn check_to_read(path: &Path) -> Result<(Vec<String>, FolderState), String> {
    let mut tries = 0;
    loop {
        let checked = check_once(path).await;
        tries += 1;
        if checked.is_ok() || tries == FOLDER_READ_TRIES {
            return checked;
        }
        tokio::time::sleep(READ_PAUSE).await;
    }
}

async fn check_once(path: &Path) -> Result<(Vec<String>, FolderState), String> {
    let names = match mark::find(&path.join(file_name(0)), false).await? {
        Found::Absent | Found::Empty => vec![file_name(0), WALLET_FILE.to_owned()],
        Found::Marked(mark) if mark.starts > 0 => mark.files,
        Found::Marked(_) | Found::Unmarked => {
            names(SqliteStore::fold_in(path).await.map_err(|error| error.to_string())?)
        }
    };
    let state = agree::check(&find_all(path, &names, false).await?).map_err(|reason| refused(path, &reason))?;
    if state == FolderState::New {
        return Err(named(path, &"no Hongbao data here"));
    }
    Ok((names, state))
}

/// The files that a folder has with this fold, the first one first.
fn names(fold: Fold) -> Vec<String> {
    (0..fold.databases()).map(file_name).chain([WALLET_FILE.to_owned()]).collect()
}

async fn find_all(path: &Path, names: &[String], may_be_mended: bool) -> Result<Vec<(String, Found)>, String> {
    let mut found = Vec::new();
    for name in names {
        found.push((name.clone(), mark::find(&path.join(name), may_be_mended).await?));
    }
    Ok(found)
}

async fn fold_agrees(path: &Path, names: &[String]) -> Result<bool, String> {
    match mark::find(&path.join(file_name(0)), true).await? {
        Found::Absent | Found::Empty => Ok(true),
        Found::Marked(mark) if mark.starts > 0 => Ok(mark.files == names),
        Found::Marked(_) | Found::Unmarked => match SqliteStore::fold_in(path).await {
            Ok(fold) => Ok(self::names(fold) == names),
            // It is no file of ours: the store says so.
            Err(_) => Ok(false),
        },
    }
}

/// The lock is on the folder itself: a file for it could be removed.
fn lock(path: &Path) -> Result<File, String> {
    let folder = File::open(path).map_err(|error| named(path, &error))?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => {
            Err(named(path, &"another process is serving this folder: end that one, or choose another folder"))
        }
        Err(TryLockError::Error(error)) => Err(named(path, &format!("the folder cannot be locked: {error}"))),
    }
}

async fn write(file: &SqliteFile, mark: &Mark) -> Result<(), String> {
    mark::write(file, mark).await.map_err(|error| named(file.path(), &error))
}

fn refused(path: &Path, reason: &str) -> String {
    named(path, &format!("{reason}. Nothing was changed: put back what belongs here, or all of a backup"))
}

fn named(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}
