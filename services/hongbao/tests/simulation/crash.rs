//! A fuse in front of the databases: after so many calls the process "dies",
//! just before a call or just after it. From then on every call fails, so that
//! nothing the dying code still does can reach a database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use hongbao_core::audit::Books;
use hongbao_core::id::TableRef;
use hongbao_core::{
    Entry, Envelope, EnvelopeId, Fen, Journal, Opened, Stage, Timestamp, Transfer, TransferId, TransferKind,
    TransferOutcome, UserId,
};
use hongbao_store::{Append, Settlement, Store, StoreError, TailEntry};
use hongbao_wallet::{AccountRow, Posted, Wallet, WalletError};

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

    /// Runs a call, unless the process is dead or dies right before it; `None` if it died.
    async fn guard<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        if self.is_blown() {
            return None;
        }
        let dies_here = self.armed.load(Ordering::SeqCst) && self.calls_left.fetch_sub(1, Ordering::SeqCst) == 1;
        if !dies_here {
            return Some(call.await);
        }
        if self.after_call.load(Ordering::SeqCst) {
            call.await;
        }
        self.blown.store(true, Ordering::SeqCst);
        None
    }
}

/// A store that a fuse stands before.
pub struct FusedStore {
    pub inner: Arc<dyn Store>,
    pub fuse: Arc<Fuse>,
}

impl FusedStore {
    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let died = || Err(StoreError::Unknown("the process died".to_owned()));
        self.fuse.guard(call).await.unwrap_or_else(died)
    }
}

#[async_trait]
impl Store for FusedStore {
    fn table_of(&self, id: EnvelopeId) -> TableRef {
        self.inner.table_of(id)
    }
    fn tables(&self) -> Vec<TableRef> {
        self.inner.tables()
    }
    fn durability(&self) -> String {
        self.inner.durability()
    }
    async fn create(&self, envelopes: &[Envelope]) -> Result<(), StoreError> {
        self.call(self.inner.create(envelopes)).await
    }
    async fn load(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
        self.call(self.inner.load(id)).await
    }
    async fn load_journal(&self, id: EnvelopeId) -> Result<Option<(Envelope, Vec<Entry>)>, StoreError> {
        self.call(self.inner.load_journal(id)).await
    }
    async fn load_for(
        &self,
        id: EnvelopeId,
        user: &UserId,
    ) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
        self.call(self.inner.load_for(id, user)).await
    }
    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.call(self.inner.entries(id, after_seq, limit)).await
    }
    async fn append(&self, entries: &[Entry]) -> Result<Append, StoreError> {
        self.call(self.inner.append(entries)).await
    }
    async fn activate(
        &self,
        id: EnvelopeId,
        expires_at: Timestamp,
    ) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
        self.call(self.inner.activate(id, expires_at)).await
    }
    async fn cancel(&self, id: EnvelopeId) -> Result<Option<Stage>, StoreError> {
        self.call(self.inner.cancel(id)).await
    }
    async fn tail(&self, table: TableRef, position: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        self.call(self.inner.tail(table, position, limit)).await
    }
    async fn tail_position(&self, table: TableRef) -> Result<i64, StoreError> {
        self.call(self.inner.tail_position(table)).await
    }
    async fn unsettled(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        self.call(self.inner.unsettled(table, after, limit)).await
    }
    async fn settle(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        self.call(self.inner.settle(settlements)).await
    }
    async fn unpaid(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        self.call(self.inner.unpaid(table, created_before, after, limit)).await
    }
    async fn expired(
        &self,
        table: TableRef,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Envelope, Journal)>, StoreError> {
        self.call(self.inner.expired(table, now, limit)).await
    }
    async fn scan(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<(Envelope, Vec<Entry>)>, StoreError> {
        self.call(self.inner.scan(table, after, limit)).await
    }
}

/// A wallet that a fuse stands before.
pub struct FusedWallet {
    pub inner: Arc<dyn Wallet>,
    pub fuse: Arc<Fuse>,
}

impl FusedWallet {
    async fn call<T>(&self, call: impl Future<Output = Result<T, WalletError>>) -> Result<T, WalletError> {
        let died = || Err(WalletError::Unknown("the process died".to_owned()));
        self.fuse.guard(call).await.unwrap_or_else(died)
    }
}

#[async_trait]
impl Wallet for FusedWallet {
    async fn transfer(&self, transfers: Vec<Transfer>) -> Result<Vec<TransferOutcome>, WalletError> {
        self.call(self.inner.transfer(transfers)).await
    }
    async fn balance(&self, user: &UserId) -> Result<Fen, WalletError> {
        self.call(self.inner.balance(user)).await
    }
    async fn history(
        &self,
        user: &UserId,
        kinds: &[TransferKind],
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posted>, WalletError> {
        self.call(self.inner.history(user, kinds, before, limit)).await
    }
    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Transfer>, WalletError> {
        self.call(self.inner.of_envelopes(envelopes)).await
    }
    async fn find(&self, ids: &[TransferId]) -> Result<Vec<Transfer>, WalletError> {
        self.call(self.inner.find(ids)).await
    }
    async fn scan(&self, after: i64, limit: u32) -> Result<Vec<Posted>, WalletError> {
        self.call(self.inner.scan(after, limit)).await
    }
    async fn accounts(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccountRow>, WalletError> {
        self.call(self.inner.accounts(after, limit)).await
    }
    async fn books(&self) -> Result<Books, WalletError> {
        self.call(self.inner.books()).await
    }
    fn queue_depth(&self) -> usize {
        self.inner.queue_depth()
    }
}
