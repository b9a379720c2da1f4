//! A fuse in front of the databases: after so many calls the process "dies",
//! just before a call or just after it. From then on every call fails, so that
//! nothing the dying code still does can reach a database.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use hongbao_store::StoreError;
use hongbao_testkit::faults::{StoreFaults, StoreVerb};
use hongbao_testkit::faults::{WalletFaults, WalletVerb};
use hongbao_wallet::WalletError;

/// Counts calls down and blows.
#[derive(Default)]
pub struct Fuse {
    armed: AtomicBool,
    after_call: AtomicBool,
    calls_left: AtomicI64,
    blown: AtomicBool,
}

impl Fuse {
    /// Blows at the `calls`-th call from now, before or after it is executed.
    pub fn arm(&self, calls: i64, after_call: bool) {
        self.calls_left.store(calls, Ordering::SeqCst);
        self.after_call.store(after_call, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Whole again.
    pub fn reset(&self) {
        self.armed.store(false, Ordering::SeqCst);
        self.blown.store(false, Ordering::SeqCst);
    }

    pub fn is_blown(&self) -> bool {
        self.blown.load(Ordering::SeqCst)
    }

    fn dies_before(&self) -> bool {
        let last = self.armed.load(Ordering::SeqCst) && self.calls_left.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && !self.after_call.load(Ordering::SeqCst) {
            self.blown.store(true, Ordering::SeqCst);
        }
        self.is_blown()
    }

    fn dies_after(&self) -> bool {
        let was_last = self.armed.load(Ordering::SeqCst) && self.calls_left.load(Ordering::SeqCst) <= 0;
        if was_last {
            self.blown.store(true, Ordering::SeqCst);
        }
        self.is_blown()
    }
}

impl StoreFaults for Fuse {
    async fn before(&self, _: StoreVerb<'_>) -> Result<(), StoreError> {
        if self.dies_before() { Err(StoreError::Unknown("the process died".to_owned())) } else { Ok(()) }
    }

    async fn after(&self, _: StoreVerb<'_>) -> Result<(), StoreError> {
        if self.dies_after() { Err(StoreError::Unknown("the process died".to_owned())) } else { Ok(()) }
    }
}

impl WalletFaults for Fuse {
    async fn before(&self, _: WalletVerb) -> Result<(), WalletError> {
        if self.dies_before() { Err(WalletError::Unknown("the process died".to_owned())) } else { Ok(()) }
    }

    async fn after(&self, _: WalletVerb) -> Result<(), WalletError> {
        if self.dies_after() { Err(WalletError::Unknown("the process died".to_owned())) } else { Ok(()) }
    }
}
