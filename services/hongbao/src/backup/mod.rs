//! `hongbao backup`: a copy of everything as of one moment, while it is served.
//!
//! Store and wallet are several databases, and what is in one follows from what
//! is in another. Copies of different moments would hold credits without their
//! openings, or paid envelopes without their payments; so all are of one moment,
//! as if everything had lost its power then. From that it goes on by itself: the
//! journals say what is still to be credited, and a credit happens once.

mod servers;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use hongbao_core::Traffic;
use hongbao_database::sqlite::copy::{Copy, copy};
use hongbao_database::sqlite::mark;

use crate::folder::{self, FolderState, folder_of};
use crate::roles::Role;

/// What a copy is called until it is complete.
const UNFINISHED: &str = "unfinished";

/// Copies a folder of `hongbao dev`.
pub fn run_folder(data: &Path, traffic: Traffic, to: &Path) -> Result<ExitCode, String> {
    block_on(async {
        let data = folder_of(data, traffic);
        let (names, state) = folder::check_to_read(&data).await.map_err(|error| format!("--data: {error}"))?;
        let making = Making::begin(to)?;
        let file = |name: &String| Copy { from: data.join(name), to: making.path.join(name) };
        let files: Vec<Copy> = names.iter().map(file).collect();
        let waited = copy(&files).await.map_err(|error| error.to_string())?;
        if state != FolderState::Unmarked {
            mark_as_a_folder_of_its_own(&making.path, &names).await?;
        }
        for file in &files {
            flush(&file.to)?;
        }
        making.finish(to)?;
        tell(names.len(), "files", to, waited);
        println!("check it: hongbao audit --data {}", to.display());
        Ok(ExitCode::SUCCESS)
    })
}

/// Copies all SETs and the wallet of an installation, as SQL.
pub fn run_installation(config: &Path, traffic: Traffic, to: &Path) -> Result<ExitCode, String> {
    let role = Role::load(config)?;
    block_on(async {
        let making = Making::begin(to)?;
        let (dumps, waited) = servers::dump(&role.installation, &role.file(), traffic, &making.path).await?;
        for dump in &dumps {
            flush(dump)?;
        }
        making.finish(to)?;
        tell(dumps.len(), "dumps", to, waited);
        Ok(ExitCode::SUCCESS)
    })
}

fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(work)
}

fn tell(count: usize, what: &str, to: &Path, waited: Duration) {
    println!("{count} {what} of one moment in {}; writers waited {} ms", to.display(), waited.as_millis());
}

/// The copy gets an id of its own: none of its files may ever be put among those
/// of the folder that it was copied from, which has gone on since.
async fn mark_as_a_folder_of_its_own(path: &Path, names: &[String]) -> Result<(), String> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| error.to_string())?;
    let mark = mark::Mark { id, files: names.to_vec(), starts: 1, complete: true };
    for name in names {
        let file = path.join(name);
        mark::put(&file, &mark).await.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

/// A folder that gets its name when it is complete.
struct Making {
    path: PathBuf,
}

impl Making {
    fn begin(to: &Path) -> Result<Making, String> {
        let named = |path: &Path, why: &dyn std::fmt::Display| format!("--to: {}: {why}", path.display());
        match std::fs::read_dir(to).map(Iterator::count) {
            Ok(1..) => return Err(named(to, &"this folder is not empty")),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(named(to, &error)),
            _ => {}
        }
        let mut name = to.as_os_str().to_owned();
        name.push(".");
        name.push(UNFINISHED);
        let path = PathBuf::from(name);
        std::fs::create_dir(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                named(&path, &"a backup is under way or was ended half way: remove this folder if none runs")
            }
            _ => named(&path, &error),
        })?;
        Ok(Making { path })
    }

    /// Durable under its own name when it returns.
    fn finish(mut self, to: &Path) -> Result<(), String> {
        flush(&self.path)?;
        std::fs::rename(&self.path, to).map_err(|error| format!("--to: {}: {error}", to.display()))?;
        let to = std::path::absolute(to).map_err(|error| error.to_string())?;
        self.path = PathBuf::new();
        to.parent().map_or(Ok(()), flush)
    }
}

impl Drop for Making {
    /// What is there of a copy that failed is worthless.
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Puts a file, or the names in a folder, on the disk.
fn flush(path: &Path) -> Result<(), String> {
    let flushed = File::open(path).and_then(|file| file.sync_all());
    flushed.map_err(|error| format!("{}: {error}", path.display()))
}
