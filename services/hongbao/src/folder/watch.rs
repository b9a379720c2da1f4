//! Looks after an open folder while it is being served, so that `/readyz`
//! answers at once.

use hongbao_core::limits::{DISK_ANSWER_WITHIN, DISK_FREE_BYTES_MIN};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hongbao_database::sqlite::file::SqliteFile;
use hongbao_http::health::Check;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Folder;

/// How often each file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Starts looking; gives what `/readyz` checks, and the task, to be aborted.
pub fn watch(folder: &Folder) -> (Check, JoinHandle<()>) {
    let trouble: Arc<Mutex<Option<String>>> = Arc::default();
    let shown = trouble.clone();
    let check = Check::new("data", move || shown.lock().clone().map_or(Ok(()), Err));
    let (path, files) = (folder.path().to_owned(), folder.files());
    let task = tokio::spawn(async move {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let found = look(&path, &files).await.err();
            note(trouble.lock().as_deref(), found.as_deref());
            *trouble.lock() = found;
        }
    });
    (check, task)
}

async fn look(path: &Path, files: &[Arc<SqliteFile>]) -> Result<(), String> {
    for file in files {
        let looked = timeout(DISK_ANSWER_WITHIN, file.look()).await;
        let looked =
            looked.map_err(|_| format!("{}: no answer within {DISK_ANSWER_WITHIN:?}", file.path().display()))?;
        looked.map_err(|error| error.to_string())?;
    }
    let room = rustix::fs::statvfs(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let bytes = room.f_bavail.saturating_mul(room.f_frsize);
    if bytes < DISK_FREE_BYTES_MIN {
        return Err(format!("{}: the disk is full, {bytes} bytes are free", path.display()));
    }
    Ok(())
}

/// Logs when trouble begins, and when it is over.
fn note(before: Option<&str>, now: Option<&str>) {
    match (before, now) {
        (None, Some(trouble)) => {
            tracing::error!(error = trouble, "the data folder is in trouble: not ready until it is over")
        }
        (Some(_), None) => tracing::info!("the data folder is in order again"),
        _ => {}
    }
}
