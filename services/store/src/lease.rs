//! Leases: who runs a background job, of several that could.
//!
//! A lease is advisory. It keeps processes from doing everything twice, and no
//! more: one that was stopped and goes on may work beside its successor for a
//! moment, and the keys of journals and transfers see to it that nothing is
//! doubled.

use std::time::Duration;

use async_trait::async_trait;

use crate::StoreError;

/// Hands out leases.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Takes the leases of these jobs, or renews them: each is `holder`'s for this long
    /// from now. Gives of each, in their order, whether it is; false if it is another's.
    async fn hold(&self, jobs: &[&str], holder: &str, time: Duration) -> Result<Vec<bool>, StoreError>;

    /// The same, and gives only how many of them are the holder's.
    async fn hold_some(&self, jobs: &[&str], holder: &str, time: Duration) -> Result<usize, StoreError>;

    /// Gives of each of these jobs whether `holder` could hold its lease now. It changes none.
    async fn could_hold(&self, jobs: &[&str], holder: &str) -> Result<Vec<bool>, StoreError>;

    /// Ends the holder's lease, so that the next one need not wait. Another's lease stays.
    async fn give_back(&self, job: &str, holder: &str) -> Result<(), StoreError>;
}

/// For a process that has its databases to itself: it holds every lease.
pub struct Alone;

#[async_trait]
impl Leases for Alone {
    async fn hold(&self, jobs: &[&str], _holder: &str, _time: Duration) -> Result<Vec<bool>, StoreError> {
        Ok(vec![true; jobs.len()])
    }

    async fn hold_some(&self, jobs: &[&str], _holder: &str, _time: Duration) -> Result<usize, StoreError> {
        Ok(jobs.len())
    }

    async fn could_hold(&self, jobs: &[&str], _holder: &str) -> Result<Vec<bool>, StoreError> {
        Ok(vec![true; jobs.len()])
    }

    async fn give_back(&self, _job: &str, _holder: &str) -> Result<(), StoreError> {
        Ok(())
    }
}
