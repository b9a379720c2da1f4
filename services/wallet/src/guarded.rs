//! A wallet with a guard before and after every call: for tests that make a
//! wallet fail on demand, beside those that break a real one.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::audit::Books;
use hongbao_core::{EnvelopeId, Fen, Timestamp, Transfer, TransferId, TransferKind, TransferOutcome, UserId};
use hongbao_store::returns::Returning;
use hongbao_store::{Barrier, Durability, Generations, StoreError};

use crate::{AccountRow, BalanceLine, Posted, Wallet, WalletError};

/// Decides whether a call fails.
pub trait Guard: Send + Sync + 'static {
    /// Before the call: an error, and it is not executed.
    fn before(&self) -> Result<(), WalletError>;

    /// After the call: an error, and nobody learns that it was executed.
    fn after(&self) -> Result<(), WalletError>;
}

/// A wallet behind a guard.
pub struct GuardedWallet<G> {
    /// The real wallet.
    pub inner: Arc<dyn Wallet>,
    /// Who decides.
    pub guard: Arc<G>,
}

impl<G: Guard> GuardedWallet<G> {
    async fn guarded<T>(&self, call: impl Future<Output = Result<T, WalletError>>) -> Result<T, WalletError> {
        self.guard.before()?;
        let done = call.await?;
        self.guard.after()?;
        Ok(done)
    }
}

#[async_trait]
impl<G: Guard> Barrier for GuardedWallet<G> {
    fn generations(&self) -> Generations {
        self.inner.generations()
    }
    async fn barrier(&self, since: &Generations) -> Result<bool, StoreError> {
        self.inner.barrier(since).await
    }
}

#[async_trait]
impl<G: Guard> Wallet for GuardedWallet<G> {
    async fn transfer(&self, transfers: Vec<Transfer>) -> Result<Vec<TransferOutcome>, WalletError> {
        self.guarded(self.inner.transfer(transfers)).await
    }
    async fn balance(&self, user: &UserId) -> Result<Fen, WalletError> {
        self.guarded(self.inner.balance(user)).await
    }
    async fn history(
        &self,
        user: &UserId,
        kinds: &[TransferKind],
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posted>, WalletError> {
        self.guarded(self.inner.history(user, kinds, before, limit)).await
    }
    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Transfer>, WalletError> {
        self.guarded(self.inner.of_envelopes(envelopes)).await
    }
    async fn find(&self, ids: &[TransferId]) -> Result<Vec<Transfer>, WalletError> {
        self.guarded(self.inner.find(ids)).await
    }
    async fn scan(&self, after: i64, limit: u32) -> Result<Vec<Posted>, WalletError> {
        self.guarded(self.inner.scan(after, limit)).await
    }
    async fn accounts(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccountRow>, WalletError> {
        self.guarded(self.inner.accounts(after, limit)).await
    }
    async fn balances(&self, after: Option<(&UserId, i64)>, limit: u32) -> Result<Vec<BalanceLine>, WalletError> {
        self.guarded(self.inner.balances(after, limit)).await
    }
    async fn books(&self) -> Result<Books, WalletError> {
        self.guarded(self.inner.books()).await
    }
    fn durability(&self) -> Durability {
        self.inner.durability()
    }
    fn refusal(&self) -> Option<String> {
        self.inner.refusal()
    }
    fn unguarded(&self) -> Option<String> {
        self.inner.unguarded()
    }
    fn returns(&self) -> Returning {
        self.inner.returns()
    }
    async fn ping(&self) -> Result<Vec<Timestamp>, WalletError> {
        self.guarded(self.inner.ping()).await
    }
    fn queue_depth(&self) -> usize {
        self.inner.queue_depth()
    }
}
