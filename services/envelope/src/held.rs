//! Which ids are this server's: those that the fence of its databases accepts, read again and again.

use std::sync::Arc;

use hongbao_core::EnvelopeId;
use hongbao_core::fence::{Fence, Holds};
use hongbao_core::limits::{FENCE_READ_EVERY_MAX, FENCE_READ_GAP};
use hongbao_store::Store;
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::refusal::Refusal;

/// The fence as it was read last.
#[derive(Debug)]
pub(crate) struct HeldIds {
    fence: RwLock<Fence>,
    /// It does not say whose an id is.
    outdated: Notify,
}

impl HeldIds {
    pub(crate) fn new(fence: Fence) -> HeldIds {
        HeldIds { fence: RwLock::new(fence), outdated: Notify::new() }
    }

    /// Refuses an id that is not ours, or of which the fence that was read last does not say whose it is.
    pub(crate) fn check(&self, id: EnvelopeId) -> Result<(), Refusal> {
        match self.fence.read().holds(id) {
            Holds::Here => Ok(()),
            Holds::Elsewhere => Err(Refusal::Misdirected),
            Holds::Unknown => {
                self.outdated.notify_one();
                Err(Refusal::Unavailable("the fence that was read last does not reach as far as this id".to_owned()))
            }
        }
    }

    /// Reads it again and again, until it is aborted. What was read holds for minutes, and a reading that
    /// fails is repeated.
    pub(crate) async fn follow_forever(self: Arc<HeldIds>, store: Arc<dyn Store>) {
        let mut failed = false;
        loop {
            tokio::time::sleep(FENCE_READ_GAP).await;
            // A machine that was suspended, or a clock that was set, needs it at once.
            let _ = timeout(FENCE_READ_EVERY_MAX, self.outdated.notified()).await;
            match store.fence().await {
                Ok(fence) => {
                    failed = false;
                    *self.fence.write() = fence;
                }
                Err(error) if failed => tracing::debug!(%error, "the fence cannot be read"),
                Err(error) => {
                    failed = true;
                    tracing::warn!(%error, "the fence cannot be read, and is tried again");
                }
            }
        }
    }
}
