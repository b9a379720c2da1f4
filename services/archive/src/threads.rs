//! Where the archive is waited for, and where much is computed: on no thread that serves requests.
//!
//! A file system that hangs, as one over a network does, keeps the thread that calls it. So it is called on threads of
//! its own, few for each folder; one that hangs keeps its place until it comes back, and once all do, the archive is
//! unavailable at once.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use hongbao_core::limits::EXPORT_THREADS_MAX;
use hongbao_store::StoreError;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// The threads of one folder.
pub struct Threads {
    places: Arc<Semaphore>,
    /// How many have an outcome that is not waited for any more.
    left: Arc<AtomicIsize>,
}

impl Threads {
    /// Those of a folder: a process has them once, however many archives it reads there.
    pub fn of(folder: &Path) -> Arc<Threads> {
        static ALL: Mutex<BTreeMap<PathBuf, Arc<Threads>>> = Mutex::new(BTreeMap::new());
        let new = || Arc::new(Threads { places: Arc::new(Semaphore::new(EXPORT_THREADS_MAX)), left: Arc::default() });
        ALL.lock().entry(folder.to_owned()).or_insert_with(new).clone()
    }

    /// What `work` comes to on one of them; `None` if it does not end within this time, the wait for a thread included,
    /// or if it panics.
    pub async fn run<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.left.load(Ordering::Acquire) >= EXPORT_THREADS_MAX as isize {
            return None;
        }
        let run = async {
            let place = self.places.clone().acquire_owned().await.ok()?;
            let (answer, answered) = oneshot::channel();
            let is_over = Arc::new(AtomicBool::new(false));
            let thread = AtWork { is_over: is_over.clone(), left: self.left.clone() };
            let on_thread = move || {
                let held = (thread, place);
                let done = work();
                drop(held);
                let _ = answer.send(done);
            };
            let _waiting = Waiting { is_over, left: self.left.clone() };
            thread::Builder::new().name("archive".to_owned()).spawn(on_thread).ok()?;
            answered.await.ok()
        };
        timeout(within, run).await.ok().flatten()
    }
}

/// A caller that waits for a thread. If it leaves before the thread ends, the thread is counted.
struct Waiting {
    is_over: Arc<AtomicBool>,
    left: Arc<AtomicIsize>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_over.swap(true, Ordering::AcqRel) {
            self.left.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// A thread at its work. If its caller has left, it is not counted any more from the end on.
struct AtWork {
    is_over: Arc<AtomicBool>,
    left: Arc<AtomicIsize>,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if self.is_over.swap(true, Ordering::AcqRel) {
            self.left.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// What `work` comes to that takes long to compute: on a thread of its own, and on fewer of them than there are cores.
///
/// # Errors
/// [`StoreError::Unavailable`] if it panics.
pub async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Arc::new(Semaphore::new(cores.saturating_sub(1).max(1)))
    });
    let turn = TURNS.clone().acquire_owned().await;
    let computing = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    computing.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
}
