//! Stores and wallets that fail on demand: for tests, beside those that break a real one.

mod store;
mod wallet;

use std::sync::Arc;

use hongbao_database::{Barrier, DatabaseError, Generations};
use parking_lot::RwLock;

pub use self::store::{FaultInjectingStore, StoreFaults, StoreVerb};
pub use self::wallet::{FaultInjectingWallet, WalletFaults, WalletVerb};

/// A store or wallet in whose place a test may put another one:
/// what a database server holds after a crash.
pub struct Replaceable<T: ?Sized>(RwLock<Arc<T>>);

impl<T: ?Sized> Replaceable<T> {
    /// Begins with this one.
    pub fn new(first: Arc<T>) -> Replaceable<T> {
        Replaceable(RwLock::new(first))
    }

    /// The one that is there now.
    pub fn now(&self) -> Arc<T> {
        self.0.read().clone()
    }

    /// Calls from now on go to `next`.
    pub fn replace(&self, next: Arc<T>) {
        *self.0.write() = next;
    }
}

/// The generations where starts are counted.
pub fn generations_after(starts: u64, inner: Generations) -> Generations {
    Generations(inner.0.into_iter().chain([starts]).collect())
}

/// The barrier where starts are counted: what was read before one is void.
///
/// # Errors
/// As [`Barrier::barrier`].
pub async fn barrier_after<B: Barrier + ?Sized>(
    starts: u64,
    since: &Generations,
    inner: Arc<B>,
) -> Result<bool, DatabaseError> {
    match since.0.split_last() {
        Some((own, others)) if *own == starts => inner.barrier(&Generations(others.to_vec())).await,
        _ => Ok(false),
    }
}
