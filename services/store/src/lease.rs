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
    /// Takes the lease of a job, or renews it: it is `holder`'s for this long
    /// from now. False if it is another's.
    async fn hold(&self, job: &str, holder: &str, time: Duration) -> Result<bool, StoreError>;

    /// Ends the holder's lease, so that the next one need not wait. Another's lease stays.
    async fn give_back(&self, job: &str, holder: &str) -> Result<(), StoreError>;
}

/// For a process that has its databases to itself: it holds every lease.
pub struct Alone;

#[async_trait]
impl Leases for Alone {
    async fn hold(&self, _job: &str, _holder: &str, _time: Duration) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn give_back(&self, _job: &str, _holder: &str) -> Result<(), StoreError> {
        Ok(())
    }
}
