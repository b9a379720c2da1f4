//! Ports that fail on demand: before a verb, after it, or by never coming back.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hongbao_core::audit::Books;
use hongbao_core::id::TableRef;
use hongbao_core::{
    Entry, Envelope, EnvelopeId, Fen, Journal, Opened, Stage, Timestamp, Transfer, TransferId, TransferKind,
    TransferOutcome, UserId,
};
use hongbao_database::DatabaseError;
use hongbao_database::{Barrier, Durability, Generations};
use hongbao_store::{Append, Settlement, Store, StoreError, TailEntry};
use hongbao_wallet::{AccountRow, BalanceLine, Posted, Wallet, WalletError};

/// A verb that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Append,
    Activate,
    Cancel,
    Settle,
    Purge,
    Transfer,
}

/// Where the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nothing was written.
    Before,
    /// It was written, but nobody was told.
    After,
    /// As before, but the verb never returns.
    HangsBefore,
    /// As after, but the verb never returns.
    HangsAfter,
}

pub const DEATHS: [Death; 4] = [Death::Before, Death::After, Death::HangsBefore, Death::HangsAfter];

/// What goes wrong.
#[derive(Default)]
pub struct Faults {
    next: Mutex<Option<(Verb, Death)>>,
    /// Settlements of this database fail.
    pub broken_database: Mutex<Option<u8>>,
    /// The tail does not show these entries.
    pub hidden: Mutex<HashSet<(EnvelopeId, u32)>>,
    /// These entries are lost: no read shows them.
    pub lost: Mutex<HashSet<(EnvelopeId, u32)>>,
    /// Reading the tail of this table fails.
    pub unreadable: Mutex<Option<TableRef>>,
    /// These are written just before the next append.
    pub racers: Mutex<Vec<Entry>>,
    /// The database's own clock.
    pub database_clock: Mutex<Option<Timestamp>>,
    /// What others do after each read of the audit, in order.
    pub meanwhile: Mutex<VecDeque<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Faults {
    /// The next call of this verb dies.
    pub fn arm(&self, verb: Verb, death: Death) {
        *self.next.lock().unwrap() = Some((verb, death));
    }

    /// Whether the armed fault has not struck.
    pub fn is_armed(&self) -> bool {
        self.next.lock().unwrap().is_some()
    }

    async fn after_read(&self) {
        let next = self.meanwhile.lock().unwrap().pop_front();
        if let Some(next) = next {
            next.await;
        }
    }

    fn take(&self, verb: Verb) -> Option<Death> {
        let mut next = self.next.lock().unwrap();
        next.take_if(|(armed, _)| *armed == verb).map(|(_, death)| death)
    }

    async fn strike<T, E>(
        &self,
        verb: Verb,
        error: fn() -> E,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.take(verb) {
            None => call.await,
            Some(Death::Before) => Err(error()),
            Some(Death::HangsBefore) => std::future::pending().await,
            Some(Death::After) => call.await.and_then(|_| Err(error())),
            Some(Death::HangsAfter) => {
                let _ = call.await;
                std::future::pending().await
            }
        }
    }
}

fn store_died() -> StoreError {
    StoreError::Unknown("died".to_owned())
}

fn wallet_died() -> WalletError {
    WalletError::Unknown("died".to_owned())
}

pub struct FaultyStore {
    pub inner: Arc<dyn Store>,
    pub faults: Arc<Faults>,
}

#[async_trait]
impl Barrier for FaultyStore {
    fn generations(&self) -> Generations {
        self.inner.generations()
    }

    async fn barrier(&self, since: &Generations) -> Result<bool, DatabaseError> {
        self.inner.barrier(since).await
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn table_of(&self, id: EnvelopeId) -> TableRef {
        self.inner.table_of(id)
    }

    fn tables(&self) -> Vec<TableRef> {
        self.inner.tables()
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn ping(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(*self.faults.database_clock.lock().unwrap())
    }

    async fn create(&self, envelopes: &[Envelope]) -> Result<(), StoreError> {
        self.inner.create(envelopes).await
    }

    async fn load(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
        let found = self.inner.load(id).await;
        self.faults.after_read().await;
        found
    }

    async fn load_for(
        &self,
        id: EnvelopeId,
        user: &UserId,
    ) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
        self.inner.load_for(id, user).await
    }

    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.inner.entries(id, after_seq, limit).await?;
        self.faults.after_read().await;
        let lost = self.faults.lost.lock().unwrap();
        entries.retain(|entry| !lost.contains(&(id, entry.seq)));
        Ok(entries)
    }

    async fn append(&self, entries: &[Entry]) -> Result<Append, StoreError> {
        let racers = std::mem::take(&mut *self.faults.racers.lock().unwrap());
        for racer in racers {
            assert_eq!(self.inner.append(&[racer]).await.unwrap(), Append::Done);
        }
        self.faults.strike(Verb::Append, store_died, self.inner.append(entries)).await
    }

    async fn activate(
        &self,
        id: EnvelopeId,
        expires_at: Timestamp,
    ) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
        self.faults.strike(Verb::Activate, store_died, self.inner.activate(id, expires_at)).await
    }

    async fn cancel(&self, id: EnvelopeId) -> Result<Option<Stage>, StoreError> {
        self.faults.strike(Verb::Cancel, store_died, self.inner.cancel(id)).await
    }

    async fn tail(&self, table: TableRef, position: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        if *self.faults.unreadable.lock().unwrap() == Some(table) {
            return Err(StoreError::Damaged("a row".to_owned()));
        }
        let unseen = self.faults.hidden.lock().unwrap().len() + self.faults.lost.lock().unwrap().len();
        let mut rows = self.inner.tail(table, position, limit + unseen as u32).await?;
        let (hidden, lost) = (self.faults.hidden.lock().unwrap(), self.faults.lost.lock().unwrap());
        rows.retain(|row| {
            let key = (row.entry.envelope_id, row.entry.seq);
            !hidden.contains(&key) && !lost.contains(&key)
        });
        rows.truncate(limit as usize);
        Ok(rows)
    }

    async fn tail_position(&self, table: TableRef) -> Result<i64, StoreError> {
        self.inner.tail_position(table).await
    }

    async fn unsettled(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        self.inner.unsettled(table, after, limit).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        let database = settlements.first().map(|settlement| self.table_of(settlement.envelope_id).database);
        if database.is_some() && database == *self.faults.broken_database.lock().unwrap() {
            return Err(StoreError::Unavailable("broken".to_owned()));
        }
        self.faults.strike(Verb::Settle, store_died, self.inner.settle(settlements)).await
    }

    async fn unpaid(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        self.inner.unpaid(table, created_before, after, limit).await
    }

    async fn cancelled(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<EnvelopeId>, StoreError> {
        self.inner.cancelled(table, created_before, after, limit).await
    }

    async fn purge(&self, table: TableRef, envelopes: &[EnvelopeId]) -> Result<u64, StoreError> {
        self.faults.strike(Verb::Purge, store_died, self.inner.purge(table, envelopes)).await
    }

    async fn expired(
        &self,
        table: TableRef,
        now: Timestamp,
        after: Option<(Timestamp, EnvelopeId)>,
        limit: u32,
    ) -> Result<Vec<(Envelope, Journal)>, StoreError> {
        self.inner.expired(table, now, after, limit).await
    }

    async fn scan(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<(Envelope, u32)>, StoreError> {
        let page = self.inner.scan(table, after, limit).await?;
        if !page.is_empty() {
            self.faults.after_read().await;
        }
        Ok(page)
    }

    async fn scan_entries(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        until: EnvelopeId,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let page = self.inner.scan_entries(table, after, until, limit).await?;
        if !page.is_empty() {
            self.faults.after_read().await;
        }
        Ok(page)
    }
}

pub struct FaultyWallet {
    pub inner: Arc<dyn Wallet>,
    pub faults: Arc<Faults>,
}

#[async_trait]
impl Barrier for FaultyWallet {
    fn generations(&self) -> Generations {
        self.inner.generations()
    }

    async fn barrier(&self, since: &Generations) -> Result<bool, DatabaseError> {
        self.inner.barrier(since).await
    }
}

#[async_trait]
impl Wallet for FaultyWallet {
    async fn transfer(&self, transfers: Vec<Transfer>) -> Result<Vec<TransferOutcome>, WalletError> {
        self.faults.strike(Verb::Transfer, wallet_died, self.inner.transfer(transfers)).await
    }

    async fn balance(&self, user: &UserId) -> Result<Fen, WalletError> {
        self.inner.balance(user).await
    }

    async fn history(
        &self,
        user: &UserId,
        kinds: &[TransferKind],
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posted>, WalletError> {
        self.inner.history(user, kinds, before, limit).await
    }

    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Transfer>, WalletError> {
        let found = self.inner.of_envelopes(envelopes).await;
        self.faults.after_read().await;
        found
    }

    async fn find(&self, ids: &[TransferId]) -> Result<Vec<Transfer>, WalletError> {
        self.inner.find(ids).await
    }

    async fn scan(&self, after: i64, limit: u32) -> Result<Vec<Posted>, WalletError> {
        self.inner.scan(after, limit).await
    }

    async fn accounts(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccountRow>, WalletError> {
        self.inner.accounts(after, limit).await
    }

    async fn balances(&self, after: Option<(&UserId, i64)>, limit: u32) -> Result<Vec<BalanceLine>, WalletError> {
        self.inner.balances(after, limit).await
    }

    async fn books(&self) -> Result<Books, WalletError> {
        self.inner.books().await
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn ping(&self) -> Result<Vec<Timestamp>, WalletError> {
        self.inner.ping().await
    }

    fn queue_depth(&self) -> usize {
        self.inner.queue_depth()
    }
}

/// Runs a job once with a fault armed; a run that hangs is dropped, like a process that is killed.
pub async fn run_and_die(job: &mut dyn hongbao_workers::Job, limit: u32) {
    let within = std::time::Duration::from_millis(150);
    let _ = tokio::time::timeout(within, job.run_once(limit)).await;
}
