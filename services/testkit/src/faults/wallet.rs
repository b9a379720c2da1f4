//! A wallet with a guard before and after every call: for tests that make a
//! wallet fail on demand, beside those that break a real one.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::audit::Books;
use hongbao_core::{EnvelopeId, Fen, Timestamp, Transfer, TransferId, TransferKind, TransferOutcome, UserId};
use hongbao_database::returns::Returning;
use hongbao_database::{Barrier, DatabaseError, Durability, Generations};

use hongbao_wallet::{AccountRow, BalanceLine, Posted, Wallet, WalletError};

use super::{Replaceable, barrier_after, generations_after};

/// The kind of call that a guard is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the first and the last are the calls of these names")]
pub enum WalletVerb {
    Transfer,
    /// All that changes nothing.
    Read,
    Barrier,
}

/// Decides whether a call fails.
pub trait WalletFaults: Send + Sync + 'static {
    /// Before the call: an error, and it is not executed.
    fn before(&self, verb: WalletVerb) -> Result<(), WalletError>;

    /// After the call: an error, and nobody learns that it was executed.
    fn after(&self, verb: WalletVerb) -> Result<(), WalletError>;

    /// As of [`StoreFaults`](super::StoreFaults).
    fn starts(&self) -> u64 {
        0
    }

    /// As of [`StoreFaults`](super::StoreFaults).
    fn start_of_readings(&self) -> u64 {
        self.starts()
    }
}

/// A wallet behind a guard.
pub struct FaultInjectingWallet<G> {
    inner: Arc<Replaceable<dyn Wallet>>,
    guard: Arc<G>,
}

impl<G: WalletFaults> FaultInjectingWallet<G> {
    /// The real wallet, and who decides.
    pub fn new(inner: Arc<dyn Wallet>, guard: Arc<G>) -> FaultInjectingWallet<G> {
        FaultInjectingWallet::replaceable(Arc::new(Replaceable::new(inner)), guard)
    }

    /// The same for a wallet in whose place another may be put.
    pub fn replaceable(inner: Arc<Replaceable<dyn Wallet>>, guard: Arc<G>) -> FaultInjectingWallet<G> {
        FaultInjectingWallet { inner, guard }
    }

    async fn guarded<T, F: Future<Output = Result<T, WalletError>>>(
        &self,
        verb: WalletVerb,
        call: impl FnOnce(Arc<dyn Wallet>) -> F,
    ) -> Result<T, WalletError> {
        self.guard.before(verb)?;
        let starts = self.guard.starts();
        let done = call(self.inner.now()).await?;
        self.guard.after(verb)?;
        match self.guard.starts() == starts {
            true => Ok(done),
            false => Err(WalletError::Unknown("the connection is gone".to_owned())),
        }
    }
}

#[async_trait]
impl<G: WalletFaults> Barrier for FaultInjectingWallet<G> {
    fn generations(&self) -> Generations {
        generations_after(self.guard.start_of_readings(), self.inner.now().generations())
    }
    async fn barrier(&self, since: &Generations) -> Result<bool, DatabaseError> {
        let passed = self.guarded(WalletVerb::Barrier, |inner| async move {
            Ok(barrier_after(self.guard.start_of_readings(), since, inner).await?)
        });
        passed.await.map_err(|error| DatabaseError::Unknown(error.to_string()))
    }
}

#[async_trait]
impl<G: WalletFaults> Wallet for FaultInjectingWallet<G> {
    async fn transfer(&self, transfers: Vec<Transfer>) -> Result<Vec<TransferOutcome>, WalletError> {
        self.guarded(WalletVerb::Transfer, |inner| async move { inner.transfer(transfers).await }).await
    }
    async fn balance(&self, user: &UserId) -> Result<Fen, WalletError> {
        self.guarded(WalletVerb::Read, |inner| async move { inner.balance(user).await }).await
    }
    async fn history(
        &self,
        user: &UserId,
        kinds: &[TransferKind],
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posted>, WalletError> {
        self.guarded(WalletVerb::Read, |inner| async move { inner.history(user, kinds, before, limit).await }).await
    }
    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Transfer>, WalletError> {
        self.guarded(WalletVerb::Read, |inner| async move { inner.of_envelopes(envelopes).await }).await
    }
    async fn find(&self, ids: &[TransferId]) -> Result<Vec<Transfer>, WalletError> {
        self.guarded(WalletVerb::Read, |inner| async move { inner.find(ids).await }).await
    }
    async fn scan(&self, after: i64, limit: u32) -> Result<Vec<Posted>, WalletError> {
        self.guarded(WalletVerb::Read, |inner| async move { inner.scan(after, limit).await }).await
    }
    async fn accounts(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccountRow>, WalletError> {
        self.guarded(WalletVerb::Read, |inner| async move { inner.accounts(after, limit).await }).await
    }
    async fn balances(&self, after: Option<(&UserId, i64)>, limit: u32) -> Result<Vec<BalanceLine>, WalletError> {
        self.guarded(WalletVerb::Read, |inner| async move { inner.balances(after, limit).await }).await
    }
    async fn books(&self) -> Result<Books, WalletError> {
        self.guarded(WalletVerb::Read, |inner| async move { inner.books().await }).await
    }
    fn durability(&self) -> Durability {
        self.inner.now().durability()
    }
    fn refusal(&self) -> Option<String> {
        self.inner.now().refusal()
    }
    fn unguarded(&self) -> Option<String> {
        self.inner.now().unguarded()
    }
    fn returns(&self) -> Returning {
        self.inner.now().returns()
    }
    async fn ping(&self) -> Result<Vec<Timestamp>, WalletError> {
        self.guarded(WalletVerb::Read, |inner| async move { inner.ping().await }).await
    }
    fn queue_depth(&self) -> usize {
        self.inner.now().queue_depth()
    }
}
