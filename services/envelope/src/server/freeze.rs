//! Freeze: an operator keeps a user's money where it is.

use hongbao_wallet::{FreezeChange, SetFrozen};

use super::{Server, spawn_uncancellable};
use crate::refusal::Refusal;

impl Server {
    /// Freezes a user or sets one free, and tells whether anything has changed. This server knows it at once, others
    /// when they read it next.
    pub async fn set_frozen(&self, change: FreezeChange) -> Result<bool, Refusal> {
        let wallet = self.parts.wallet.clone();
        let done = spawn_uncancellable(async move { wallet.set_frozen(&change).await }).await??;
        self.frozen.read(&*self.parts.wallet).await;
        Ok(done == SetFrozen::Changed)
    }
}
