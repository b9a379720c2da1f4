//! What a job is.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use hongbao_core::Clock;
use hongbao_core::limits::WORKER_BATCH_SIZE_MAX;
use hongbao_database::DatabaseError;
use hongbao_store::{Store, StoreError};
use hongbao_wallet::{Wallet, WalletError};

/// What every job works with.
#[derive(Clone)]
pub struct Ports {
    /// The envelopes and their journals.
    pub store: Arc<dyn Store>,
    /// The balances.
    pub wallet: Arc<dyn Wallet>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What one run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Rows that were moved forward.
    pub rows: u32,
    /// Rows that came in addition to what there was to do since these tables
    /// were visited before; `None` where that is not known.
    pub arrived: Option<u32>,
    /// Tables and databases that could not be used; they were logged and are tried again.
    pub failures: u32,
    /// The bound was reached: there is more to do at once.
    pub more: bool,
    /// Nothing is to be done for so long, as far as this run saw; `None`: the job looks again after its interval.
    pub quiet_for: Option<Duration>,
}

/// Why a whole run failed. What it had done stands; the next run finds the rest.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive failed, or what it has is not what it should be.
    #[error(transparent)]
    Archive(StoreError),
    /// The wallet failed.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The barrier failed: what was read is not known to be durable.
    #[error(transparent)]
    Barrier(#[from] DatabaseError),
    /// The job panicked: a defect.
    #[error("the job panicked")]
    Panicked,
}

/// A background job.
#[async_trait]
pub trait Job: Send + 'static {
    /// Its name in logs and metrics.
    fn name(&self) -> &'static str;

    /// One bounded step: at most about `limit` rows. Dropping the future half
    /// way loses nothing and doubles nothing.
    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError>;

    /// Forgets where it was: another process has run the job since.
    fn start_over(&mut self) {}

    /// Takes back what its metrics say is there now: another process runs the job from here on, and says it.
    fn hand_over(&mut self) {}

    /// Tries again at once what it has left out because it failed: a database has come back.
    fn forget_failures(&mut self) {}
}

/// Keeps a caller's limit within what one wallet transaction takes.
pub(crate) fn bounded(limit: u32) -> u32 {
    limit.clamp(1, WORKER_BATCH_SIZE_MAX)
}

/// A job that panics has a defect, but its money must go on moving: the panic
/// is a failed run. The job's own state are hints, so it is fit for use after.
pub(crate) async fn catch_panic<T>(run: impl Future<Output = Result<T, JobError>>) -> Result<T, JobError> {
    AssertUnwindSafe(run).catch_unwind().await.unwrap_or(Err(JobError::Panicked))
}
