//! Entry permits: how many transactions of one envelope may be in the database.
//!
//! A permit only throttles. With lanes on, all openings of a batch share one;
//! with lanes off every opening needs its own, and this is what keeps a hot
//! row from drowning the database.

pub mod local;
pub mod memcached;

use async_trait::async_trait;
use hongbao_core::EnvelopeId;

pub use local::LocalPermits;
pub use memcached::MemcachedPermits;

/// Counts entries per envelope against a cap that can change while running.
#[async_trait]
pub trait Permits: Send + Sync + 'static {
    /// Takes one permit for each of these envelopes, all different; false where
    /// the cap is reached. The answers come in the order of the ids. The
    /// caller waits for the answer, since permits that it does not know of are never left.
    async fn enter(&self, ids: &[EnvelopeId]) -> Vec<bool>;

    /// Gives back permits that were taken.
    fn leave(&self, ids: &[EnvelopeId]);

    /// Transactions of one envelope that may be in the database at once.
    fn cap(&self) -> u32;

    /// Changes the cap; those inside stay inside.
    fn set_cap(&self, cap: u32);

    /// Who counts just now.
    fn counter(&self) -> Counter;

    /// Gives back what is kept for later: no transaction will enter any more.
    async fn close(&self) {}
}

/// Who counts the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PermitCounter)]
pub enum Counter {
    /// The memcached of this host, for all its processes.
    Memcached,
    /// This process, for itself alone.
    Local,
}

/// Permits that are given back when this is dropped.
pub struct PermitGuard<'a> {
    permits: &'a dyn Permits,
    ids: Vec<EnvelopeId>,
}

impl<'a> PermitGuard<'a> {
    /// Takes a permit for each of these envelopes, all different, and says for
    /// which there was one.
    pub async fn enter(permits: &'a dyn Permits, ids: &[EnvelopeId]) -> (PermitGuard<'a>, Vec<bool>) {
        let entered = permits.enter(ids).await;
        let inside = ids.iter().zip(&entered).filter(|(_, entered)| **entered).map(|(id, _)| *id).collect();
        (PermitGuard { permits, ids: inside }, entered)
    }
}

impl Drop for PermitGuard<'_> {
    fn drop(&mut self) {
        if !self.ids.is_empty() {
            self.permits.leave(&self.ids);
        }
    }
}
